"""flask keys list, show and audit: what is there, and what happened to it."""

from dataclasses import asdict
from typing import Any

import click

from issuer.admin import keys as admin
from issuer.admin.change import find_realm
from issuer.cli.commands import Commands
from issuer.cli.console import print_fields, print_json, print_table, say, span
from issuer.cli.exits import Exit
from issuer.cli.keys.answers import full_option, short_names
from issuer.cli.options import NAME, options
from issuer.realms import Realm
from issuer.runtime import Runtime
from keys import store
from keys.audit import Entry, broken_at
from keys.key import Key, State, public_pem
from keys.names import Names
from keys.plan import Situation
from keys.policy import droppable_at, promotable_at
from keys.transfer import public_jwk

_AUDIT_COLUMNS = ("seq", "happened_at", "event", "kid", "actor", "reason")
_COLUMNS = ("kid", "alg", "state", "age", "held", "next", "from")
_ORDER = [State.ACTIVE, State.PUBLISHED, State.RETIRING, State.PENDING, State.RETIRED, State.REVOKED]
_LIVE = tuple(map(str, _ORDER[:4]))


def add(commands: Commands, runtime: Runtime) -> None:
    """Adds these commands."""
    for part in (_add_list, _add_show, _add_audit):
        part(commands, runtime)


def _add_list(commands: Commands, runtime: Runtime) -> None:
    @commands.command("list")
    @options("realm", "json")
    @full_option
    @click.option("--state", "states", multiple=True, type=click.Choice([*map(str, _ORDER), "all"]),
                  help="Only keys in this state; repeats. All but dead ones without it.")  # fmt: skip
    def list_keys(realm_path: str, as_json: bool, full: bool, states: tuple[str, ...]) -> None:
        """The keys of a realm: state, age, what may happen next and from when on."""
        wanted = set(map(str, _ORDER)) if "all" in states else set(states or _LIVE)
        with runtime.database.read() as connection:
            realm = find_realm(connection, realm_path)
            at = admin.look(connection, runtime.administration, realm)
            keys = [key for key in store.history(connection, realm.id) if str(key.state) in wanted]
        keys.sort(key=lambda key: (key.alg, _ORDER.index(key.state), -_since(key), key.kid))
        if as_json:
            print_json([shape(key, at) for key in keys])
        else:
            names = short_names((key.kid for key in keys), full=full)
            rows = [_line(key, at) | {"kid": names[key.kid]} for key in keys]
            print_table(rows, _COLUMNS, f"{realm.path} has no such keys")


def _add_show(commands: Commands, runtime: Runtime) -> None:
    @commands.command("show")
    @click.argument("kid", type=NAME)
    @options("realm", "json")
    @click.option("--public-jwk", "as_jwk", is_flag=True, help="The public half as a JWK.")
    @click.option("--pem", "as_pem", is_flag=True, help="The public half as PEM.")
    def show(kid: str, realm_path: str, as_json: bool, as_jwk: bool, as_pem: bool) -> None:
        """One key, dead ones too, never its private half. KID may be the start of its name."""
        if as_jwk + as_pem + as_json > 1:
            raise click.UsageError("--json, --public-jwk and --pem exclude each other")
        with runtime.database.read() as connection:
            realm = find_realm(connection, realm_path)
            at = admin.look(connection, runtime.administration, realm)
            key = Names(connection, realm.id, realm.path).find(kid)
        if as_jwk:
            say(public_jwk(key.public_jwk).decode().rstrip())
        elif as_pem:
            say(public_pem(key.public_jwk).decode().rstrip())
        else:
            shown = shape(key, at) | _history(key)
            print_json(shown) if as_json else print_fields(shown)


def _add_audit(commands: Commands, runtime: Runtime) -> None:
    @commands.command("audit")
    @options("realm", "json")
    @full_option
    @click.option("--limit", type=click.IntRange(1), help="Only the newest rows.")
    @click.pass_context
    def audit(context: click.Context, realm_path: str, as_json: bool, full: bool, limit: int | None) -> None:
        """What happened to the keys of a realm, when, by whom and why. Exits 1 when rows were changed or taken away."""
        with runtime.database.read() as connection:
            realm = find_realm(connection, realm_path)
            entries = store.audit_of(connection, realm.id)
            broken = broken_at(entries, store.load(connection, realm.id).audit_head)
        rows = [_row(entry, realm, stored) for entry, stored in entries if entry.of_key][-(limit or 0) :]
        if as_json:
            print_json(rows)
        else:
            names = short_names((row["kid"] for row in rows), full=full)
            shown = [row | {"happened_at": row["at"], "kid": names[row["kid"]]} for row in rows]
            print_table(shown, _AUDIT_COLUMNS, f"{realm.path} has no audit")
        if broken is not None:
            click.echo(f"The audit of {realm.path} does not hold from row {broken} on", err=True)
            context.exit(Exit.FINDINGS)


def _row(entry: Entry, realm: Realm, stored: str) -> dict[str, Any]:
    row = {**asdict(entry), "realm": realm.path, "hash": stored}
    return {name: value for name, value in row.items() if name not in ("target", "details")}


def shape(key: Key, at: Situation) -> dict[str, Any]:
    """A key as --json shows it; more members may be added, none renamed."""
    action, instant = next_action(key, at)
    return {
        "kid": key.kid,
        "alg": key.alg,
        "state": str(key.state),
        "generation": at.generation,
        "published_at": key.published_at,
        "activated_at": key.activated_at,
        "retiring_at": key.retiring_at,
        "max_exp_bound": key.max_exp_bound,
        "held": key.held,
        "next_action": action,
        "next_action_at": instant,
    }


def _history(key: Key) -> dict[str, Any]:
    names = ("thumbprint", "backend", "kek_id", "created_at", "last_absent_at", "not_signed_after", "max_lifetime",
             "retired_at", "revoked_at", "reason")  # fmt: skip
    return {name: getattr(key, name) for name in names}


def next_action(key: Key, at: Situation) -> tuple[str | None, int | None]:
    """What may happen to a key next, and from when on."""
    policy = at.policy
    if key.state is State.PENDING:
        return "publish", key.created_at
    if key.state is State.PUBLISHED:
        return "promote", max(promotable_at(key, policy), key.published_at or 0)
    if key.state is State.ACTIVE:
        standby = at.one(key.alg, State.PUBLISHED)
        gate = promotable_at(standby, policy) if standby else 0
        return "rotate", max((key.activated_at or 0) + policy.rotation_interval, gate)
    if key.state is State.RETIRING and not key.held:
        return "prune", droppable_at(key, policy)
    return None, None


def _since(key: Key) -> int:
    """When a key came into its state."""
    instants = {State.PUBLISHED: key.published_at, State.ACTIVE: key.activated_at, State.RETIRING: key.retiring_at,
                State.RETIRED: key.retired_at, State.REVOKED: key.revoked_at}  # fmt: skip
    return instants.get(key.state) or key.created_at


def _line(key: Key, at: Situation) -> dict[str, Any]:
    """A key as people read it: how long it has been what it is, and what may happen next."""
    action, instant = next_action(key, at)
    now = at.now
    when = None if instant is None else "now" if instant <= now else f"in {span(instant - now)}"
    names = {"kid": key.kid, "alg": key.alg, "state": str(key.state), "held": key.held or None}
    return {**names, "age": span(now - _since(key)), "next": action, "from": when}
