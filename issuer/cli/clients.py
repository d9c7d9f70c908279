"""flask clients: registering and changing clients."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import click

from issuer import provisioning, stores
from issuer.cli import client_secrets
from issuer.cli.changes import log_change
from issuer.cli.client_options import client_options, client_values
from issuer.cli.refusals import translate
from issuer.clients import MARKERS, Client
from issuer.db import record_change
from issuer.realms import Realm
from issuer.runtime import Runtime
from keys.console import (
    NAME,
    REHEARSED,
    Commands,
    Duration,
    Exit,
    check_shown,
    confirm,
    options,
    outcome,
    print_fields,
    print_json,
    print_table,
    say,
)
from keys.store import LostRace

_COLUMNS = ("client_id", "enabled", "created_at", "last_used_at", "scopes")
_EXPIRING_SOON = 14 * 86400
_UNUSED = 30 * 86400


def group(runtime: Runtime) -> click.Group:
    """The command group over `runtime`."""
    commands = Commands(
        "clients", help="Machines that authenticate.", translate=translate, first=runtime.refuse_other_schema
    )
    for add in (_add_create, _add_reading, _add_update, _add_switches, _add_delete, _add_health):
        add(commands, runtime)
    commands.add_command(client_secrets.group(runtime))
    return commands


def _add_create(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("create")
    @click.argument("client_id", required=False, type=NAME)
    @client_options
    @click.option("--secret-stdin", is_flag=True, help="Import the secret from standard input.")
    @click.option("--expires-in", type=Duration(), help="The secret ends after this time.")
    @options("realm", "json", "dry_run", "if_missing")
    def create(
        client_id: str | None,
        realm_path: str,
        as_json: bool,
        dry_run: bool,
        if_missing: bool,
        secret_stdin: bool,
        expires_in: int | None,
        **given: Any,
    ) -> None:
        """A new client; prints its client_id and its client_secret, once."""
        imported = client_secrets.read_secret() if secret_stdin else None
        check_shown()
        runtime.prepare_change(dry_run, creates=True)
        defaults = dict(provisioning.CLIENT_DEFAULTS)
        try:
            made = provisioning.create_client(
                runtime, realm_path, client_id, partial(client_values, given, defaults),
                imported=imported, expires_in=expires_in,
            )  # fmt: skip
        except stores.NameTaken:
            if not if_missing or client_id is None:
                raise
            _print_change(*_found(runtime, realm_path, client_id), as_json, changed=False)
            return
        realm = made.realm
        log_change(
            runtime, "client_created", realm.path, client_id=made.client.client_id, secret_id=made.stored.secret_id
        )
        audiences = realm.default_audience or made.client.default_audience or made.client.audiences
        if made.client.scopes - MARKERS and not audiences:
            click.echo(
                "Warning: neither client nor realm names an audience; tokens are for"
                f" {'the client' if (made.client.token_format or realm.token_format) == 'am' else 'the issuer'} itself",
                err=True,
            )
        with client_secrets.shown_once(made, realm_path):
            _print_change(realm, made.client, as_json, dry_run=dry_run, more=client_secrets.once(made, dry_run=dry_run))


def _add_reading(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("list")
    @click.option("--unused-for", type=Duration(), help="Only clients not used for this long.")
    @options("realm", "json")
    def list_clients(realm_path: str, as_json: bool, unused_for: int | None) -> None:
        """The clients of a realm."""
        with runtime.database.read() as connection:
            realm = provisioning.find_realm(connection, realm_path)
            found = stores.list_clients(connection, realm.id)
            now = runtime.database.now(connection)
        if unused_for is not None:
            found = [client for client in found if _last_sign(client) <= now - unused_for]
        shown = [shape(realm, client) for client in found]
        if as_json:
            print_json(shown)
        else:
            print_table(shown, _COLUMNS, f"{realm.path} has no such clients")

    @commands.command("show")
    @click.argument("client_id", type=NAME)
    @options("realm", "json")
    def show(client_id: str, realm_path: str, as_json: bool) -> None:
        """One client, without its secrets."""
        with runtime.database.read() as connection:
            realm = provisioning.find_realm(connection, realm_path)
            shown = shape(realm, provisioning.find_client(connection, realm, client_id))
        (print_json if as_json else print_fields)(shown)


def _add_update(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("update")
    @click.argument("client_id", type=NAME)
    @client_options
    @options("realm", "json", "dry_run")
    def update(client_id: str, realm_path: str, as_json: bool, dry_run: bool, **given: Any) -> None:
        """Changes what is named; a list is replaced, and "" empties it."""
        runtime.prepare_change(dry_run)
        with runtime.database.change() as connection:
            realm = provisioning.find_realm(connection, realm_path)
            client = provisioning.find_client(connection, realm, client_id)
            current = {name: getattr(client, name) for name in provisioning.CLIENT_DEFAULTS}
            given_values = client_values(given, current, realm)
            values = {name: value for name, value in given_values.items() if not _same(value, current[name])}
            if values:
                stores.update_client(connection, client.id, values)
                provisioning.check_borrowed_names(connection, realm)
                record_change(connection, realm.id, client_id)
            client = provisioning.find_client(connection, realm, client_id)
        if values:
            log_change(runtime, "client_updated", realm.path, client_id=client_id, members=sorted(values))
        _print_change(realm, client, as_json, changed=bool(values), dry_run=dry_run)


def _same(value: Any, current: Any) -> bool:
    """Whether a setting is so already; scopes are a set, every other list has an order."""
    if isinstance(current, frozenset):
        return set(value) == current
    return bool(value == (list(current) if isinstance(current, tuple) else current))


def _found(runtime: Runtime, realm_path: str, client_id: str) -> tuple[Realm, Client]:
    with runtime.database.read() as connection:
        realm = provisioning.find_realm(connection, realm_path)
        return realm, provisioning.find_client(connection, realm, client_id)


def _add_switches(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("disable")
    @click.argument("client_id", type=NAME)
    @click.option("--keep-tokens", is_flag=True, help="Tokens issued so far are active again once it is enabled.")
    @options("realm", "json", "dry_run")
    def disable(client_id: str, realm_path: str, keep_tokens: bool, as_json: bool, dry_run: bool) -> None:
        """Refuses the client; its tokens are inactive at introspection from now on."""
        _switch(runtime, realm_path, client_id, False, keep_tokens, as_json, dry_run)

    @commands.command("enable")
    @click.argument("client_id", type=NAME)
    @options("realm", "json", "dry_run")
    def enable(client_id: str, realm_path: str, as_json: bool, dry_run: bool) -> None:
        """Accepts the client again; never revives a token that was cut off."""
        _switch(runtime, realm_path, client_id, True, True, as_json, dry_run)


def _switch(
    runtime: Runtime, realm_path: str, client_id: str, enabled: bool, keep_tokens: bool, as_json: bool, dry_run: bool
) -> None:
    runtime.prepare_change(dry_run)
    with runtime.database.change() as connection:
        realm = provisioning.find_realm(connection, realm_path)
        client = provisioning.find_client(connection, realm, client_id)
        changed = client.enabled != enabled
        if changed:
            cut_off = {} if keep_tokens else {"not_before": runtime.database.now(connection)}
            stores.update_client(connection, client.id, {"enabled": enabled, **cut_off})
            record_change(connection, realm.id, client_id)
        client = provisioning.find_client(connection, realm, client_id)
    if changed:
        what = "client_enabled" if enabled else "client_disabled"
        log_change(runtime, what, realm.path, client_id=client_id, keep_tokens=(keep_tokens and not enabled) or None)
    _print_change(realm, client, as_json, changed=changed, dry_run=dry_run)


def _add_delete(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("delete")
    @click.argument("client_id", type=NAME)
    @options("realm", "json", "dry_run", "yes")
    def delete(client_id: str, realm_path: str, as_json: bool, dry_run: bool, yes: bool) -> None:
        """Ends a client for good; another of the same name never gets its tokens back."""
        runtime.prepare_change(dry_run)
        seen = _found(runtime, realm_path, client_id)[1]
        if not dry_run:
            confirm(f"Delete client {client_id} of {realm_path}?", yes)
        with runtime.database.change() as connection:
            realm = provisioning.find_realm(connection, realm_path)
            client = provisioning.find_client(connection, realm, client_id)
            if client.id != seen.id:  # another of this name: nobody was asked about that one
                raise LostRace
            stores.delete_client(connection, client.id, runtime.database.now(connection))
            record_change(connection, realm.id, client_id)
        log_change(runtime, "client_deleted", realm.path, client_id=client_id)
        if as_json:
            print_json({**outcome(True, dry_run), "realm": realm_path, "client_id": client_id})
        else:
            say(REHEARSED if dry_run else f"{client_id} of {realm_path} is deleted")


def _add_health(commands: click.Group, runtime: Runtime) -> None:
    @commands.command("health")
    @options("realm", "json")
    @click.pass_context
    def health(context: click.Context, realm_path: str, as_json: bool) -> None:
        """Credentials that want attention: dead, expiring or unused. Exits 1 when there are any."""
        with runtime.database.read() as connection:
            realm = provisioning.find_realm(connection, realm_path)
            now = runtime.database.now(connection)
            found = [
                {"client_id": client.client_id, "finding": text}
                for client in stores.list_clients_whole(connection, realm.id)
                for text in _findings(client, now)
            ]
        if as_json:
            print_json(found)
        else:
            print_table(found, ("client_id", "finding"), "nothing wants attention")
        context.exit(Exit.FINDINGS if found else Exit.DONE)


def _findings(client: Client, now: int) -> list[str]:
    live = [secret for secret in client.secrets if secret.live(now)]
    findings = []
    if not live:
        findings.append("has no live secret")
    elif all(secret.expires_at is not None and secret.expires_at < now + _EXPIRING_SOON for secret in live):
        findings.append("its last secret expires within 14 days")
    if _last_sign(client) <= now - _UNUSED:
        findings.append("not used for 30 days")
    findings += [
        f"secret {secret.secret_id} not used for 30 days"
        for secret in live
        if len(live) > 1 and (secret.last_used_at or secret.created_at) <= now - _UNUSED
    ]
    return findings


def _last_sign(client: Client) -> int:
    return client.last_used_at or client.created_at


def shape(realm: Realm, client: Client) -> dict[str, Any]:
    """A client as --json shows it; more members may be added, none renamed."""
    return {
        "realm": realm.path,
        "client_id": client.client_id,
        "name": client.name,
        "enabled": client.enabled,
        "scopes": sorted(client.scopes),
        "default_scopes": list(client.default_scopes),
        "audiences": list(client.audiences),
        "default_audience": list(client.default_audience),
        "resource_identifiers": list(client.resource_identifiers),
        "grant_types": list(client.grant_types),
        "auth_method": client.auth_method,
        "access_token_lifetime": client.access_token_lifetime,
        "signing_alg": client.signing_alg,
        "token_format": client.token_format,
        "created_at": client.created_at,
        "last_used_at": client.last_used_at,
    }


def _print_change(
    realm: Realm, client: Client, as_json: bool, *, changed: bool = True, dry_run: bool = False,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> None:  # fmt: skip
    shown = {**shape(realm, client), **more}
    if as_json:
        print_json({**outcome(changed, dry_run), **shown})
        return
    print_fields(shown)
    if dry_run:
        say(REHEARSED)
