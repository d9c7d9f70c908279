"""flask keys list, show, audit and doctor: what is there, what happened to it, and whether it is sound."""

import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection

from keys import store
from keys.audit import broken_at
from keys.cli.wiring import KeyRealm, Seen, Wiring, look, one_realm
from keys.console import NAME, PATH, Commands, Exit, be_quiet, options, print_fields, print_json, print_table, say, span
from keys.doctor import Finding, Patient, examine
from keys.key import Key, State, public_pem
from keys.policy import droppable_at, promotable_at
from keys.sealing import Sealer, SealingError
from keys.transfer import public_jwk

_AUDIT_COLUMNS = ("seq", "happened_at", "event", "kid", "actor", "reason")
_COLUMNS = ("kid", "alg", "state", "age", "held", "next", "from")
_ORDER = [State.ACTIVE, State.PUBLISHED, State.RETIRING, State.PENDING, State.RETIRED, State.REVOKED]
_LIVE = tuple(map(str, _ORDER[:4]))
_SHORT = 8
_full = click.option("--full", is_flag=True, help="Whole names of keys; --json has them always.")


def add(commands: Commands, wiring: Wiring) -> None:
    """Adds these commands."""
    for part in (_add_list, _add_show, _add_audit, _add_doctor):
        part(commands, wiring)


def _add_list(commands: Commands, wiring: Wiring) -> None:
    @commands.command("list")
    @options("realm", "json")
    @_full
    @click.option("--state", "states", multiple=True, type=click.Choice([*map(str, _ORDER), "all"]),
                  help="Only keys in this state; repeats. All but dead ones without it.")  # fmt: skip
    def list_keys(realm_path: str, as_json: bool, full: bool, states: tuple[str, ...]) -> None:
        """The keys of a realm: state, age, what may happen next and from when on."""
        wanted = set(map(str, _ORDER)) if "all" in states else set(states or _LIVE)
        with wiring.database.read() as connection:
            seen = look(wiring, connection, one_realm(wiring, realm_path))
            keys = [key for key in store.history(connection, seen.realm.id) if str(key.state) in wanted]
        keys.sort(key=lambda key: (key.alg, _ORDER.index(key.state), -_since(key), key.kid))
        if as_json:
            print_json([shape(key, seen) for key in keys])
        else:
            names = _names((key.kid for key in keys), full=full)
            rows = [_line(key, seen) | {"kid": names[key.kid]} for key in keys]
            print_table(rows, _COLUMNS, f"{seen.realm.path} has no such keys")


def _add_show(commands: Commands, wiring: Wiring) -> None:
    @commands.command("show")
    @click.argument("kid", type=NAME)
    @options("realm", "json")
    @click.option("--public-jwk", "as_jwk", is_flag=True, help="The public half as a JWK.")
    @click.option("--pem", "as_pem", is_flag=True, help="The public half as PEM.")
    def show(kid: str, realm_path: str, as_json: bool, as_jwk: bool, as_pem: bool) -> None:
        """One key, dead ones too, never its private half. KID may be the start of its name."""
        if as_jwk + as_pem + as_json > 1:
            raise click.UsageError("--json, --public-jwk and --pem exclude each other")
        with wiring.database.read() as connection:
            seen = look(wiring, connection, one_realm(wiring, realm_path))
            key = seen.find(kid)
        if as_jwk:
            say(public_jwk(key.public_jwk).decode().rstrip())
        elif as_pem:
            say(public_pem(key.public_jwk).decode().rstrip())
        else:
            shown = shape(key, seen) | _history(key)
            print_json(shown) if as_json else print_fields(shown)


def _add_audit(commands: Commands, wiring: Wiring) -> None:
    @commands.command("audit")
    @options("realm", "json")
    @_full
    @click.option("--limit", type=click.IntRange(1), help="Only the newest rows.")
    @click.pass_context
    def audit(context: click.Context, realm_path: str, as_json: bool, full: bool, limit: int | None) -> None:
        """What happened to the keys of a realm, when, by whom and why. Exits 1 when rows were changed or taken away."""
        with wiring.database.read() as connection:
            realm = wiring.find_realm(connection, realm_path)
            entries = store.audit(connection, realm.id)
            broken = broken_at(entries, store.load(connection, realm.id).audit_head)
        rows = [{**asdict(entry), "realm": realm.path, "hash": stored} for entry, stored in entries][-(limit or 0) :]
        if as_json:
            print_json(rows)
        else:
            names = _names((row["kid"] for row in rows), full=full)
            shown = [row | {"happened_at": row["at"], "kid": names[row["kid"]]} for row in rows]
            print_table(shown, _AUDIT_COLUMNS, f"{realm.path} has no audit")
        if broken is not None:
            click.echo(f"The audit of {realm.path} does not hold from row {broken} on", err=True)
            context.exit(Exit.FINDINGS)


def _add_doctor(commands: Commands, wiring: Wiring) -> None:
    @commands.command("doctor")
    @click.option("--realm", "realm_path", type=PATH, help="Only this realm.")
    @options("json", "quiet")
    @_full
    @click.pass_context
    def doctor(context: click.Context, realm_path: str | None, as_json: bool, quiet: bool, full: bool) -> None:
        """Looks for whatever could break a verifier: states, bounds, sealed halves, a signature by each key, clocks,
        file modes, the audit. For cron and CI: exits 1 when it finds something."""
        be_quiet(quiet)
        found = [{"realm": None, **asdict(finding)} for finding in _machine(wiring)]
        sealer = _sealer(wiring)
        with wiring.database.read() as connection:
            realms = [wiring.find_realm(connection, realm_path)] if realm_path else wiring.list_realms(connection)
            found += [{"realm": None, **asdict(finding)} for finding in _realms(realms, realm_path)]
            for realm in realms:
                found += [
                    {"realm": realm.path, **asdict(finding)} for finding in _realm(wiring, connection, realm, sealer)
                ]
        if quiet and not found:
            return
        if as_json:
            print_json(found)
        else:
            say(wiring.looked_at())
            names = _names((row["kid"] for row in found if row["kid"]), full=full)
            print_table(
                [row | {"kid": names.get(row["kid"])} for row in found],
                ("realm", "check", "kid", "message"),
                f"{len(realms)} realm{'s are' if len(realms) != 1 else ' is'} sound",
            )
        context.exit(Exit.FINDINGS if found else Exit.DONE)


def _names(kids: Iterable[str], *, full: bool) -> dict[str, str]:
    """How a table calls keys: by as many first characters as tell them apart, as git calls commits, and 8 at least."""
    every = sorted(set(kids))
    length = _SHORT
    while not full and len({kid[:length] for kid in every}) < len(every):
        length += 1
    return {kid: kid if full else kid[:length] for kid in every}


def _realm(wiring: Wiring, connection: Connection, realm: KeyRealm, sealer: Sealer | None) -> list[Finding]:
    stored = store.load(connection, realm.id)
    seen = look(wiring, connection, lambda _: realm)
    patient = Patient(
        realm.algs, realm.max_lifetime, store.history(connection, realm.id), store.audit(connection, realm.id),
        stored.audit_head, stored.generation, exists=stored.generation > 0,
    )  # fmt: skip
    return examine(patient, sealer, wiring.policy, seen.reading)


def _machine(wiring: Wiring) -> Iterator[Finding]:
    """What concerns this machine and not one realm."""
    try:
        wiring.sealer()
    except SealingError as error:
        yield Finding("key_encryption_key", f"{error}")
    for path in wiring.private_files():
        yield from _private(path)
    with wiring.database.read() as connection:
        apart = wiring.clock() - wiring.database.now(connection)
    if abs(apart) > wiring.policy.clock_error:
        yield Finding("clocks", f"this machine's clock and the database's are {abs(apart)} s apart")


def _realms(realms: Sequence[KeyRealm], said: str | None) -> Iterator[Finding]:
    """A database that is merely empty is sound in all else, and mostly not the one that was meant."""
    if not realms:
        yield Finding("no_realm", "there is no realm; see flask realms create, and whether this is the right database")
    elif said is None and not any(realm.path == "/" for realm in realms):
        yield Finding("no_root_realm", "there is no root realm, so no process is ever ready: flask realms create /")


def _private(path: Path) -> Iterator[Finding]:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        yield Finding("file_mode", f"{path} is a link")
    elif status.st_mode & 0o077:
        yield Finding("file_mode", f"{path} can be read by others than its owner ({status.st_mode & 0o777:o})")


def _sealer(wiring: Wiring) -> Sealer | None:
    try:
        return wiring.sealer()
    except SealingError:
        return None  # reported by _machine


def shape(key: Key, seen: Seen) -> dict[str, Any]:
    """A key as --json shows it; more members may be added, none renamed."""
    action, at = next_action(key, seen)
    return {
        "kid": key.kid,
        "alg": key.alg,
        "state": str(key.state),
        "generation": seen.generation,
        "published_at": key.published_at,
        "activated_at": key.activated_at,
        "retiring_at": key.retiring_at,
        "max_exp_bound": key.max_exp_bound,
        "held": key.held,
        "next_action": action,
        "next_action_at": at,
    }


def _history(key: Key) -> dict[str, Any]:
    names = ("thumbprint", "backend", "kek_id", "created_at", "last_absent_at", "not_signed_after", "max_lifetime",
             "retired_at", "revoked_at", "reason")  # fmt: skip
    return {name: getattr(key, name) for name in names}


def next_action(key: Key, seen: Seen) -> tuple[str | None, int | None]:
    """What may happen to a key next, and from when on."""
    policy = seen.policy
    if key.state is State.PENDING:
        return "publish", key.created_at
    if key.state is State.PUBLISHED:
        return "promote", max(promotable_at(key, policy), key.published_at or 0)
    if key.state is State.ACTIVE:
        standby = seen.one(key.alg, State.PUBLISHED)
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


def _line(key: Key, seen: Seen) -> dict[str, Any]:
    """A key as people read it: how long it has been what it is, and what may happen next."""
    action, at = next_action(key, seen)
    now = seen.now
    when = None if at is None else "now" if at <= now else f"in {span(at - now)}"
    names = {"kid": key.kid, "alg": key.alg, "state": str(key.state), "held": key.held or None}
    return {**names, "age": span(now - _since(key)), "next": action, "from": when}
