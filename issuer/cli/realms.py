"""flask realms: creating and changing realms."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import click
from sqlalchemy import Connection

from issuer import provisioning, stores
from issuer.cli.changes import log_change
from issuer.cli.refusals import translate
from issuer.db import record_change
from issuer.grants import GRANTS_BY_NAME
from issuer.realms import REALM_DEFAULTS, Addresses, Realm
from issuer.runtime import Runtime
from issuer.tokens import FORMATS_BY_NAME
from keys import rotation
from keys import store as key_store
from keys.audit import Actor
from keys.cli.wiring import Fresh
from keys.console import (
    PATH,
    REHEARSED,
    Commands,
    Duration,
    Exit,
    Refused,
    confirm,
    operator,
    options,
    outcome,
    print_fields,
    print_json,
    print_table,
    say,
    words,
)
from keys.key import ALGORITHMS, RSA_BITS
from keys.plan import NOTHING, Plan, Situation
from keys.policy import read_clock
from keys.store import LostRace
from realmint.protocol.names import MAX_SCOPE, ScopeError, parse_scope

_COLUMNS = ("realm", "enabled", "access_token_lifetime", "token_format", "created_at", "signing_algs")


def group(runtime: Runtime) -> click.Group:
    """The command group over `runtime`."""
    commands = Commands(
        "realms",
        help="Isolated issuers, each with its own clients and keys.",
        translate=translate,
        first=runtime.refuse_other_schema,
    )
    for add in (_add_create, _add_reading, _add_update, _add_switches, _add_delete):
        add(commands, runtime)
    return commands


def _policy_options(command: Any) -> Any:
    several: dict[str, Any] = {"multiple": True, "default": None}
    made = [
        click.option("--alg", "signing_algs", type=click.Choice(list(ALGORITHMS)), help="The first signs.", **several),
        click.option("--rsa-bits", type=click.Choice([str(bits) for bits in RSA_BITS]), help="Size of RSA keys."),
        click.option("--access-token-lifetime", type=Duration()),
        click.option("--max-access-token-lifetime", type=Duration(), help="No client may have longer."),
        click.option("--default-audience", help="The aud when nothing else names one.", **several),
        click.option("--scope", "scopes", help="Listed in the metadata.", **several),
        click.option("--default-scope", "default_scopes", help="Granted when a request names none.", **several),
        click.option("--grant-type", "grant_types", type=click.Choice(list(GRANTS_BY_NAME)), **several),
        click.option("--token-format", type=click.Choice(list(FORMATS_BY_NAME))),
        click.option("--am-sub-prefix/--no-am-sub-prefix", default=None, help="sub as (age!client) in format am."),
    ]
    for option in reversed(made):
        command = option(command)
    return command


def _values(runtime: Runtime, given: dict[str, Any], current: dict[str, Any]) -> dict[str, Any]:
    """The members that were given, checked against each other, what stands, and how often keys rotate."""
    values = {name: _listed(value) for name, value in given.items() if value is not None and value != ()}
    if "rsa_bits" in values:
        values["rsa_bits"] = int(values["rsa_bits"])
    for name in ("scopes", "default_scopes"):
        if name in values:
            values[name] = scope_list(values[name])
    if "default_audience" in values:
        values["default_audience"] = words(values["default_audience"])
        check_audiences(values["default_audience"])
    merged = {**current, **values}
    check_fits(merged["default_scopes"], merged["default_audience"])
    if merged["access_token_lifetime"] > merged["max_access_token_lifetime"]:
        raise click.UsageError("--access-token-lifetime may not exceed --max-access-token-lifetime")
    if merged["max_access_token_lifetime"] >= runtime.settings.rotation.rotation_interval:
        raise click.UsageError("--max-access-token-lifetime must be shorter than KEY_ROTATION_INTERVAL")
    return values


def check_audiences(given: Iterable[str]) -> None:
    """Raises a usage error for what could not stand in a token's `aud`."""
    for text in given:
        if not text.isascii() or not text.isprintable() or len(text) > 1000:
            raise click.UsageError("an audience is visible ASCII of at most 1000 characters")


def scope_list(given: tuple[str, ...]) -> list[str]:
    """Scope values of an option that repeats. Raises a usage error for one outside the grammar, and for too many."""
    values = words(given)
    for value in values:
        if "," in value:
            click.echo(f"Warning: {value!r} is one scope value; several are separated by spaces", err=True)
    length = len(" ".join(values))
    if length > MAX_SCOPE:
        raise click.UsageError(f"all scope values have {length} characters; no request can name more than {MAX_SCOPE}")
    try:
        return list(parse_scope(" ".join(values))) if values else []
    except ScopeError:
        raise click.UsageError("a scope value has only visible ASCII without quotes and backslashes") from None


def check_fits(default_scopes: Iterable[str], default_audience: Iterable[str]) -> None:
    """Raises a usage error for defaults that no token could hold: those stand in it all together."""
    length = len(" ".join(default_scopes)) + len(json.dumps(list(default_audience)))
    if length > MAX_DEFAULTS:
        raise click.UsageError(
            f"default scopes and audiences have {length} characters; a token holds {MAX_DEFAULTS} of them at most"
        )


MAX_DEFAULTS = 5000
"""What is left of MAX_TOKEN for them, encoded, beside the other claims and the longest signature."""


def _add_create(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("create")
    @click.argument("path", type=PATH)
    @_policy_options
    @options("json", "dry_run", "if_missing")
    def create(path: str, as_json: bool, dry_run: bool, if_missing: bool, **given: Any) -> None:
        """A new realm with an active key and a standby for each algorithm. `/` is the root realm."""
        values = _values(runtime, given, dict(REALM_DEFAULTS))
        runtime.prepare_change(dry_run, creates=True, root_realm=path != "/")
        try:
            realm = provisioning.create_realm(runtime, path, values, operator())
        except stores.NameTaken:
            if not if_missing:
                raise
            with runtime.database.read() as connection:
                existing = stores.find_realm(connection, path)
            if existing is None:  # one that differs by case is another
                raise
            _print_change(runtime, existing, as_json, changed=False)
            return
        log_change(runtime, "realm_created", realm.path)
        _print_change(runtime, realm, as_json, dry_run=dry_run)


def _add_reading(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("list")
    @options("json")
    def list_realms(as_json: bool) -> None:
        """Every realm."""
        with runtime.database.read() as connection:
            shown = [shape(runtime, realm) for realm in stores.list_realms(connection)]
        if as_json:
            print_json(shown)
        else:
            print_table(shown, _COLUMNS, "there are no realms")

    @commands.command("show")
    @click.argument("path", type=PATH, default="/")
    @options("json")
    def show(path: str, as_json: bool) -> None:
        """One realm."""
        with runtime.database.read() as connection:
            shown = shape(runtime, provisioning.find_realm(connection, path))
        (print_json if as_json else print_fields)(shown)


def _add_update(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("update")
    @click.argument("path", type=PATH, default="/")
    @_policy_options
    @options("json", "dry_run")
    def update(path: str, as_json: bool, dry_run: bool, **given: Any) -> None:
        """Changes what is named; a list is replaced, and "" empties it.

        A new algorithm's key is published at once and signs after the next `flask keys rotate --alg`.
        """
        runtime.prepare_change(dry_run)
        with runtime.database.read() as connection:
            fresh = _fresh(given, provisioning.find_realm(connection, path))
        with runtime.database.change() as connection:
            realm = provisioning.find_realm(connection, path)
            values = _changed_values(runtime, given, realm)
            if values:
                stores.update_realm(connection, realm.id, values)
                realm = provisioning.find_realm(connection, path)
                _check_clients(connection, realm)
                # Before any longer token: the keys that sign them must outlive them (keys.md I10).
                key_store.raise_max_lifetime(connection, realm.id, realm.max_access_token_lifetime)
                if realm.rsa_bits != fresh.rsa_bits:  # somebody changed it while keys were made
                    fresh = Fresh(realm.rsa_bits)
                _change_keys(runtime, connection, realm, partial(_announce, fresh), operator())
                record_change(connection, realm.id)
        if values:
            log_change(runtime, "realm_updated", realm.path, members=sorted(values))
        _print_change(runtime, realm, as_json, changed=bool(values), dry_run=dry_run)


def _fresh(given: dict[str, Any], realm: Realm) -> Fresh:
    """The keys of algorithms that are new, made before the transaction: an RSA key takes a while."""
    fresh = Fresh(int(given.get("rsa_bits") or realm.rsa_bits))
    for alg in given.get("signing_algs") or ():
        if alg not in realm.signing_algs:
            fresh(alg)
    fresh.again()
    return fresh


def _changed_values(runtime: Runtime, given: dict[str, Any], realm: Realm) -> dict[str, Any]:
    """The members that were given and are not so already, checked against the realm as it stands in the transaction."""
    current = {name: getattr(realm, name) for name in REALM_DEFAULTS}
    values = _values(runtime, given, current)
    return {name: value for name, value in values.items() if value != _listed(current[name])}


def _check_clients(connection: Connection, realm: Realm) -> None:
    """After a change of a realm, within it: its clients still fit. Raises ChangeRefused."""
    for client_id, alg in stores.clients_signing_with(connection, realm.id).items():
        if alg not in realm.signing_algs:
            raise provisioning.ChangeRefused(f"client {client_id} signs with {alg}; change that first")
    provisioning.check_borrowed_names(connection, realm)


def _announce(fresh: Fresh, at: Situation) -> Plan:
    """A standby for each algorithm that has none."""
    plan = NOTHING
    for alg in at.algs:
        plan += rotation.generate(at, alg, fresh, pending=False)
    return plan


def _change_keys(
    runtime: Runtime, connection: Connection, realm: Realm, decide: Callable[[Situation], Plan], actor: Actor
) -> None:
    """What a change of a realm means for its keys, in the same transaction."""
    policy = runtime.settings.rotation
    stored = key_store.load(connection, realm.id)
    reading = read_clock(runtime.database.now(connection), stored.watermark, policy)
    plan = decide(Situation(stored.keys, reading, policy, realm.signing_algs, realm.max_access_token_lifetime))
    if plan.steps:
        key_store.apply(connection, realm.id, plan, runtime.sealer(), actor, at=stored.generation, reading=reading)


def _add_switches(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("disable")
    @click.argument("path", type=PATH)
    @click.option("--keep-tokens", is_flag=True, help="Tokens issued so far are active again once it is enabled.")
    @options("json", "dry_run")
    def disable(path: str, keep_tokens: bool, as_json: bool, dry_run: bool) -> None:
        """Refuses tokens; keys and metadata are served on, introspection answers inactive."""
        _switch(runtime, path, False, keep_tokens, as_json, dry_run)

    @commands.command("enable")
    @click.argument("path", type=PATH)
    @options("json", "dry_run")
    def enable(path: str, as_json: bool, dry_run: bool) -> None:
        """Issues tokens again; never revives one that was cut off."""
        _switch(runtime, path, True, True, as_json, dry_run)


def _switch(runtime: Runtime, path: str, enabled: bool, keep_tokens: bool, as_json: bool, dry_run: bool) -> None:
    def change(connection: Connection, realm: Realm, now: int) -> None:
        cut_off = {} if keep_tokens else {"not_before": now}
        stores.update_realm(connection, realm.id, {"enabled": enabled, **cut_off})

    runtime.prepare_change(dry_run)
    with runtime.database.change() as connection:
        realm = provisioning.find_realm(connection, path)
        changed = realm.enabled != enabled
        if changed:
            change(connection, realm, runtime.database.now(connection))
            record_change(connection, realm.id)
        realm = provisioning.find_realm(connection, path)
    if changed:
        what = "realm_enabled" if enabled else "realm_disabled"
        log_change(runtime, what, realm.path, keep_tokens=(keep_tokens and not enabled) or None)
    _print_change(runtime, realm, as_json, changed=changed, dry_run=dry_run)


def _add_delete(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("delete")
    @click.argument("path", type=PATH)
    @options("json", "dry_run", "yes")
    def delete(path: str, as_json: bool, dry_run: bool, yes: bool) -> None:
        """Ends a realm with its clients and keys for good. One with realms below it is refused."""
        runtime.prepare_change(dry_run)
        with runtime.database.read() as connection:
            seen = provisioning.find_realm(connection, path)
            _check_empty(connection, seen)
        if not dry_run:
            confirm(f"Delete realm {path} with its clients and keys?", yes)
        with runtime.database.change() as connection:
            now = runtime.database.now(connection)
            realm = provisioning.find_realm(connection, path)
            if realm.id != seen.id:  # another of this name: nobody was asked about that one
                raise LostRace
            _check_empty(connection, realm)  # once more: there was time while somebody was asked
            stores.delete_realm(connection, realm.id, now)
            _change_keys(runtime, connection, realm, _end_of_realm, operator("realm deleted"))
            record_change(connection, realm.id)
        log_change(runtime, "realm_deleted", realm.path)
        if as_json:
            print_json({**outcome(True, dry_run), "realm": path})
        else:
            say(REHEARSED if dry_run else f"{path} is deleted")


def _check_empty(connection: Connection, realm: Realm) -> None:
    """Raises Refused when there are realms below this one."""
    start = realm.path.rstrip("/") + "/"
    if any(other.path.startswith(start) and other.id != realm.id for other in stores.list_realms(connection)):
        raise Refused("not_empty", f"{realm.path} has realms below it; delete those first", Exit.USAGE)


def _end_of_realm(at: Situation) -> Plan:
    """Every key goes: private halves erased, names blocked for ever."""
    return rotation.revoke_all(replace(at, algs=()), Fresh(0), "realm deleted")


def shape(runtime: Runtime, realm: Realm) -> dict[str, Any]:
    """A realm as --json shows it; more members may be added, none renamed."""
    issuer = Addresses(runtime.settings.base_url, realm.path).issuer
    return {
        "realm": realm.path,
        "issuer": issuer,
        "enabled": realm.enabled,
        "signing_algs": list(realm.signing_algs),
        "rsa_bits": realm.rsa_bits,
        "access_token_lifetime": realm.access_token_lifetime,
        "max_access_token_lifetime": realm.max_access_token_lifetime,
        "default_audience": list(realm.default_audience or (issuer,)),
        "scopes": list(realm.scopes),
        "default_scopes": list(realm.default_scopes),
        "token_format": realm.token_format,
        "am_sub_prefix": realm.am_sub_prefix,
        "grant_types": list(realm.grant_types),
        "created_at": realm.created_at,
    }


def _print_change(
    runtime: Runtime, realm: Realm, as_json: bool, *, changed: bool = True, dry_run: bool = False
) -> None:
    if as_json:
        print_json({**outcome(changed, dry_run), **shape(runtime, realm)})
        return
    print_fields(shape(runtime, realm))
    if dry_run:
        say(REHEARSED)


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
