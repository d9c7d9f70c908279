"""What the key commands work with, and how one of them is carried out."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import click
from sqlalchemy import Connection

from keys import store
from keys.audit import Actor
from keys.console import not_found, operator, outcome
from keys.jwks import open_signer
from keys.key import Key, Material, State, generate
from keys.plan import Plan, Situation
from keys.policy import Reading, RotationPolicy, read_clock
from keys.rotation import check_clock
from keys.sealing import Sealer
from keys.store import LostRace


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
    clock: Callable[[], int]
    """This machine's clock, for doctor to hold beside the store's."""
    find_realm: Callable[[Connection, str], KeyRealm]
    list_realms: Callable[[Connection], Sequence[KeyRealm]]
    record_change: Callable[[Connection, int], None]
    report: Callable[[str, Mapping[str, Any]], None]
    """Writes a line to the log."""
    prepare: Callable[[bool], None]
    """Called first, with whether the command only rehearses."""
    private_files: Callable[[], Sequence[Any]]
    """Paths that must be readable by their owner only."""
    first: Callable[[], None]
    """Called before each command."""
    looked_at: Callable[[], str]
    """Which database and which issuer these are, in words."""


@dataclass(frozen=True)
class Seen(Situation):
    """The keys of a realm as they stand in one transaction."""

    realm: KeyRealm
    generation: int
    find: Callable[[str], Key]
    """The one key, dead ones too, whose name starts so. Ends the command with exit code 4 for none or several."""
    known: Callable[[Material], Key | None]
    """The key of this name or material, in whatever realm and state."""
    confusable: Callable[[str], str | None]
    """The name of a key of the realm that this name is the start of, or that is the start of it."""


class Fresh:
    """New keys for a plan that is decided twice, first to look and then within its transaction, but made once.

    Made while looking: an RSA key takes a while, and a transaction holds everybody up.
    """

    def __init__(self, rsa_bits: int) -> None:
        self.rsa_bits = rsa_bits
        self._made: dict[str, list[Material]] = {}
        self._given: Counter[str] = Counter()

    def __call__(self, alg: str) -> Material:
        made = self._made.setdefault(alg, [])
        if self._given[alg] == len(made):
            made.append(generate(alg, self.rsa_bits))
        self._given[alg] += 1
        return made[self._given[alg] - 1]

    def again(self) -> None:
        """The same keys once more, in the same order."""
        self._given.clear()


Decide = Callable[[Seen, Fresh], Plan]


@dataclass(frozen=True)
class Ask:
    """How a change was asked for."""

    reason: str | None = None
    force: bool = False
    automatic: bool = False
    """Nobody looks at what the clock says: a routine."""
    clock_matters: bool = True
    believe: bool = False
    """Somebody who knows says that the clock is right."""
    expect_generation: int | None = None
    routine: bool = False
    """When another process was first, it looks again: what is due then is what counts."""
    dry_run: bool = False
    operation: str = ""


@dataclass(frozen=True)
class Outcome:
    """What was done to the keys of one realm."""

    realm: KeyRealm
    plan: Plan
    generation: int
    dry_run: bool = False

    @property
    def changed(self) -> bool:
        return bool(self.plan.steps)

    def shape(self) -> dict[str, Any]:
        """As --json shows it."""
        steps = [
            {"event": step.event, "kid": step.kid, "alg": step.alg, "from": step.before, "to": str(step.after)}
            for step in self.plan.steps
        ]
        return {
            "dry_run": False,
            **outcome(self.changed, self.dry_run),
            "realm": self.realm.path,
            "generation": self.generation,
            "forced": self.plan.forced,
            "note": self.plan.note,
            "steps": steps,
        }


def look(
    wiring: Wiring, connection: Connection, find_realm: Callable[[Connection], KeyRealm], *, believe: bool = False
) -> Seen:
    """The keys of a realm within a transaction; with `believe`, the clock counts as it is."""
    realm = find_realm(connection)
    stored = store.load(connection, realm.id)
    told = wiring.database.now(connection)
    reading = Reading(told, told) if believe else read_clock(told, stored.watermark, wiring.policy)
    return Seen(
        keys=stored.keys, reading=reading, policy=wiring.policy, algs=realm.algs, max_lifetime=realm.max_lifetime,
        realm=realm, generation=stored.generation,
        find=lambda prefix: pick(store.history(connection, realm.id), prefix, realm.path),
        known=lambda material: store.find_material(connection, material),
        confusable=lambda kid: _confusable(kid, store.history(connection, realm.id)),
    )  # fmt: skip


_LOOKS = 8
"""How often a routine looks again before it gives up; each time, another process has done something."""


def carry_out(wiring: Wiring, find_realm: Callable[[Connection], KeyRealm], decide: Decide, ask: Ask) -> Outcome:
    """Decides what to do and does it in one transaction. Raises RotationRefused, LostRace and what `decide` raises."""
    for _ in range(_LOOKS - 1 if ask.routine else 0):
        with suppress(LostRace):
            return _carry_out(wiring, find_realm, decide, ask)
    return _carry_out(wiring, find_realm, decide, ask)


def _carry_out(wiring: Wiring, find_realm: Callable[[Connection], KeyRealm], decide: Decide, ask: Ask) -> Outcome:
    with wiring.database.read() as connection:
        seen = look(wiring, connection, find_realm, believe=ask.believe)
        if ask.expect_generation not in (None, seen.generation):
            raise LostRace
        if ask.clock_matters:
            check_clock(seen.reading, automatic=ask.automatic, force=ask.force)
        fresh = Fresh(seen.realm.rsa_bits)
        plan = decide(seen, fresh)
    if not plan.steps and not ask.believe:
        return Outcome(seen.realm, plan, seen.generation, ask.dry_run)
    fresh.again()
    actor = operator(ask.reason, ask.operation)
    generation = seen.generation
    with wiring.database.change() as connection:
        # Everything is read again, the realm's longest lifetime too: it may have changed meanwhile (keys.md I10).
        situation = look(wiring, connection, find_realm, believe=ask.believe)
        same = (situation.generation, situation.realm.id, situation.realm.rsa_bits)
        if same != (seen.generation, seen.realm.id, seen.realm.rsa_bits):
            raise LostRace
        plan = decide(situation, fresh)
        if situation.reading.ahead:
            plan += Plan(note="the clock leapt by more than two rotation intervals; see flask keys doctor")
        if plan.steps:
            _check_signers(wiring, situation, plan)
            generation = store.apply(
                connection, situation.realm.id, plan, wiring.sealer(), actor, at=generation, reading=situation.reading
            )
            wiring.record_change(connection, situation.realm.id)
        else:
            store.believe(connection, situation.realm.id, situation.reading.told)
    if not ask.dry_run and ask.believe:
        wiring.report("clock_believed", {"realm": situation.realm.path, "actor": actor.name, "reason": ask.reason})
    if not ask.dry_run:
        _report(wiring, situation.realm, plan, actor)
    return Outcome(situation.realm, plan, generation, ask.dry_run)


def _check_signers(wiring: Wiring, situation: Seen, plan: Plan) -> None:
    """What is to sign can be opened; no realm is left with a key that cannot. Raises SealingError (keys.md I7)."""
    chosen = {step.kid for step in plan.steps if step.after is State.ACTIVE and step.material is None}
    for key in situation.keys:
        if key.kid in chosen:
            open_signer(key, wiring.sealer())


def _report(wiring: Wiring, realm: KeyRealm, plan: Plan, actor: Actor) -> None:
    for step in plan.steps:
        fields = {"realm": realm.path, "kid": step.kid, "alg": step.alg, "actor": actor.name, "reason": actor.reason}
        wiring.report(f"key_{step.event}", fields | ({"forced": True} if plan.forced else {}))


def pick(keys: Sequence[Key], prefix: str, realm_path: str) -> Key:
    """The one of `keys` whose kid starts with `prefix`, 4 characters or more of it; `=NAME` says a whole name.

    Without the `=` a name that is the start of another is ambiguous: what was meant cannot be told.
    """
    whole = prefix.startswith("=")
    name = prefix.removeprefix("=")
    found = [key for key in keys if (key.kid == name if whole else name and key.kid.startswith(name))]
    exact = any(key.kid == name for key in found)
    if len(found) > 1:
        way_out = f", or ={name} for the one of just this name" if exact else ""
        not_found(f"{len(found)} keys of {realm_path} start with {name}; say more of it{way_out}")
    if not found or (len(name) < 4 and not exact):
        not_found(f"{realm_path} has no key {name}" + ("; say at least 4 characters" if found else ""))
    return found[0]


def _confusable(kid: str, keys: Sequence[Key]) -> str | None:
    others = (key.kid for key in keys if key.kid != kid)
    return next((other for other in others if other.startswith(kid) or kid.startswith(other)), None)


def one_realm(wiring: Wiring, path: str) -> Callable[[Connection], KeyRealm]:
    """Finds the realm at a path, in whichever transaction."""
    return lambda connection: wiring.find_realm(connection, path)


def check_force(force: bool, reason: str | None) -> None:
    """--force is nothing without a reason."""
    if force and not reason:
        raise click.UsageError("--force needs --reason TEXT, for the audit")
