"""flask keys: signing keys and their rotation. How to find and list realms is handed in by app.py."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import click
from sqlalchemy import Connection

from keys import rotation, store
from keys.console import Commands, options, print_json, print_table
from keys.key import IN_JWKS, Key, Material, State, generate
from keys.rotation import RotationPolicy
from keys.sealing import Sealer
from keys.store import LostRace

_COLUMNS = ("kid", "alg", "state", "published_at", "activated_at", "retiring_at", "next_action", "next_action_at")


_ORDER = [*map(str, IN_JWKS), str(State.PENDING)]


class Database(Protocol):
    """Transactions, and the time within one."""

    def read(self) -> AbstractContextManager[Connection]: ...

    def change(self) -> AbstractContextManager[Connection]: ...

    def now(self, connection: Connection) -> int: ...


@dataclass(frozen=True)
class KeyRealm:
    """What key commands need to know of a realm. `max_lifetime` in seconds."""

    id: int
    path: str
    algs: tuple[str, ...]
    rsa_bits: int
    max_lifetime: int


@dataclass(frozen=True)
class Wiring:
    """What app.py hands in."""

    database: Database
    sealer: Callable[[], Sealer]
    policy: RotationPolicy
    find_realm: Callable[[Connection, str], KeyRealm]
    list_realms: Callable[[Connection], Sequence[KeyRealm]]
    record_change: Callable[[Connection, int], None]
    prepare: Callable[[bool], None]
    """Called first, with whether the command only rehearses."""


def group(wiring: Wiring, translate: Callable[[Exception], Any]) -> click.Group:
    """The command group over `wiring`."""
    commands = Commands("keys", help="Signing keys and their rotation.", translate=translate)
    _add_list(commands, wiring)
    _add_rotate(commands, wiring)
    return commands


def _add_list(commands: click.Group, wiring: Wiring) -> None:
    @commands.command("list")
    @options("realm", "json")
    def list_keys(realm_path: str, as_json: bool) -> None:
        """The keys of a realm: state, age, what may happen next and when."""
        with wiring.database.read() as connection:
            realm = wiring.find_realm(connection, realm_path)
            generation, keys = store.load(connection, realm.id)
        shown = [_shape(key, generation, wiring.policy) for key in keys]
        shown.sort(key=lambda key: (key["alg"], _ORDER.index(key["state"])))
        if as_json:
            print_json(shown)
        else:
            print_table(shown, _COLUMNS, f"{realm.path} has no keys")


def _add_rotate(commands: click.Group, wiring: Wiring) -> None:
    @commands.command("rotate")
    @options("realm", "json", "dry_run")
    @click.option("--all", "every", is_flag=True, help="Every realm.")
    @click.option("--alg", help="Only the keys of this algorithm.")
    @click.option("--if-due", is_flag=True, help="Only keys that have signed for KEY_ROTATION_INTERVAL.")
    @click.option("--force", is_flag=True, help="Go past the gate: some verifiers may refuse new tokens for a while.")
    @click.option("--reason", help="Why the gate is passed; goes with --force.")
    def rotate(
        realm_path: str,
        as_json: bool,
        dry_run: bool,
        every: bool,
        alg: str | None,
        if_due: bool,
        force: bool,
        reason: str | None,
    ) -> None:
        """Promotes the standby, demotes the active key and publishes the next standby, in one transaction.

        Exits 3 before the standby may sign, and 5 when another process rotated first (0 with --if-due).
        """
        if force != bool(reason):
            raise click.UsageError("--force and --reason go together")
        wiring.prepare(dry_run)
        with wiring.database.read() as connection:
            realms = wiring.list_realms(connection) if every else [wiring.find_realm(connection, realm_path)]
        results = [_rotate(wiring, realm, alg, if_due=if_due, force=force) for realm in realms]
        if as_json:
            print_json(results if every else results[0])
            return
        for result in results:
            for change in result["rotated"]:
                click.echo(f"{result['realm']}: {change['alg']} is signed by {change['active']} from now on")
            if not result["rotated"]:
                click.echo(f"{result['realm']}: nothing is due")


def _rotate(wiring: Wiring, realm: KeyRealm, alg: str | None, *, if_due: bool, force: bool) -> dict[str, Any]:
    with wiring.database.read() as connection:
        generation, keys = store.load(connection, realm.id)
        now = wiring.database.now(connection)
    algs = [alg] if alg else list(realm.algs)
    if if_due:
        algs = [name for name in algs if rotation.due(keys, name, wiring.policy, now)]
    for name in algs:
        rotation.check_rotation(keys, name, wiring.policy, now, force)
    # Made before the transaction: an RSA key takes a while, and a transaction holds everybody up.
    standbys = [generate(name, realm.rsa_bits) for name in algs]
    try:
        rotated = _apply(wiring, realm, generation, standbys, force=force) if standbys else []
    except LostRace:
        if not if_due:
            raise
        rotated = []
    return {"changed": bool(rotated), "realm": realm.path, "rotated": rotated}


def _apply(
    wiring: Wiring, realm: KeyRealm, generation: int, standbys: Sequence[Material], *, force: bool
) -> list[dict[str, Any]]:
    rotated = []
    with wiring.database.change() as connection:
        now = wiring.database.now(connection)
        store.compare_and_set(connection, realm.id, generation, now)
        _, keys = store.load(connection, realm.id)
        for standby in standbys:
            plan = rotation.plan(keys, wiring.policy, now, standby, force)
            store.apply(
                connection, plan, wiring.sealer(), wiring.policy,
                realm_id=realm.id, max_lifetime=realm.max_lifetime, now=now,
            )  # fmt: skip
            rotated.append(
                {
                    "alg": standby.alg,
                    "active": plan.promote.kid,
                    "retiring": plan.demote.kid if plan.demote else None,
                    "standby": standby.kid,
                    "forced": plan.forced,
                }
            )
        wiring.record_change(connection, realm.id)
    return rotated


def _shape(key: Key, generation: int, policy: RotationPolicy) -> dict[str, Any]:
    action, at = _next(key, policy)
    return {
        "kid": key.kid,
        "alg": key.alg,
        "state": str(key.state),
        "generation": generation,
        "published_at": key.published_at,
        "activated_at": key.activated_at,
        "retiring_at": key.retiring_at,
        "max_exp_bound": key.max_exp_bound,
        "held": key.held,
        "next_action": action,
        "next_action_at": at,
    }


def _next(key: Key, policy: RotationPolicy) -> tuple[str | None, int | None]:
    """What may happen to a key next, and from when on."""
    if key.state is State.PUBLISHED:
        return "promote", max(rotation.promotable_at(key, policy), key.published_at or 0)
    if key.state is State.ACTIVE:
        return "rotate", (key.activated_at or 0) + policy.rotation_interval
    if key.state is State.RETIRING and not key.held:
        return "prune", rotation.droppable_at(key, policy)
    return None, None
