"""How the keys of a realm are changed: look, decide, look again in the transaction, decide again, apply.

What is to happen is decided by a function that the caller hands in, from keys/rotation.py mostly; so are the actor, the
database and what else belongs into the transaction.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from sqlalchemy import Connection

from keys import store
from keys.audit import Actor
from keys.jwks import open_signer
from keys.key import Material, State, generate
from keys.names import Names
from keys.plan import Plan, RotationRefused, Situation
from keys.policy import Reading, RotationPolicy, read_clock
from keys.rotation import check_clock
from keys.sealing import Sealer
from keys.store import LostRace


class Transactions(Protocol):
    """What a change needs of a database, whichever that is."""

    def read(self) -> AbstractContextManager[Connection]:
        """One consistent view of the data."""

    def change(self, *, rehearse: bool = False) -> AbstractContextManager[Connection]:
        """A transaction, one at a time; rolled back at its end when it is only rehearsed."""

    def now(self, connection: Connection) -> int:
        """What the clock tells within a transaction, in seconds since the epoch."""


@dataclass(frozen=True)
class Owner:
    """Whose keys they are, and what is asked of them: a realm as its keys know it.

    algs: what it signs with, the first by default. rsa_bits: of keys made from now on. max_lifetime: the longest
    lifetime in seconds that it allows a token.
    """

    id: int
    path: str
    algs: tuple[str, ...]
    rsa_bits: int
    max_lifetime: int


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


Find = Callable[[Connection], Owner]
"""Finds the owner in whichever transaction; raises what the caller knows when there is none."""
Decide = Callable[[Situation, Names, Fresh], Plan]
"""Called twice. Raises RotationRefused, NoSuchKey or KeyRefused when it may not happen."""
Record = Callable[[Connection, Owner], object]
"""What else belongs into the transaction of a change, such as telling other processes of it."""


@dataclass(frozen=True)
class Ask:
    """How a change was asked for."""

    force: bool = False
    """Past a gate that has not come; the actor says why."""
    automatic: bool = False
    """Nobody looks at what the clock says: a routine."""
    clock_matters: bool = True
    believe: bool = False
    """Somebody who knows says that the clock is right."""
    expect_generation: int | None = None
    routine: bool = False
    """When another process was first, it looks again: what is due then is what counts."""


@dataclass(frozen=True)
class Outcome:
    """What was done to the keys of one realm, or would be where it was only rehearsed."""

    owner: Owner
    plan: Plan
    generation: int
    rehearsed: bool = False

    @property
    def changed(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.plan.steps)


def look(
    connection: Connection, owner: Owner, policy: RotationPolicy, told: int, *, believe: bool = False
) -> Situation:
    """The keys of a realm within a transaction whose clock tells `told`; with `believe`, that counts as it is."""
    held = store.load(connection, owner.id)
    reading = Reading(told, told) if believe else read_clock(told, held.watermark, policy)
    return Situation(held.keys, reading, policy, owner.algs, owner.max_lifetime, held.generation)


_LOOKS = 8
"""How often a routine looks again before it gives up; each time, another process has done something."""


def carry_out(
    database: Transactions,
    sealer: Sealer,
    policy: RotationPolicy,
    find: Find,
    decide: Decide,
    actor: Actor,
    ask: Ask,
    record: Record,
    *,
    rehearse: bool = False,
) -> Outcome:
    """Decides what to do to the keys of a realm and does it in one transaction, by `actor`.

    Nothing is written, and `record` not called, where nothing is to do. Raises RotationRefused, LostRace when another
    process was first, SealingError, and what `find` and `decide` raise; then nothing was changed.
    """
    if ask.force and not actor.reason:
        raise RotationRefused("reason_missing", "going past a gate needs a reason, for the audit")
    once = partial(_once, database, sealer, policy, find, decide, actor, ask, record, rehearse=rehearse)
    for _ in range(_LOOKS - 1 if ask.routine else 0):
        with suppress(LostRace):
            return once()
    return once()


def _once(
    database: Transactions, sealer: Sealer, policy: RotationPolicy, find: Find, decide: Decide, actor: Actor, ask: Ask,
    record: Record, *, rehearse: bool,
) -> Outcome:  # fmt: skip
    with database.read() as connection:
        owner = find(connection)
        seen = look(connection, owner, policy, database.now(connection), believe=ask.believe)
        if ask.expect_generation not in (None, seen.generation):
            raise LostRace
        if ask.clock_matters:
            check_clock(seen.reading, automatic=ask.automatic, force=ask.force)
        fresh = Fresh(owner.rsa_bits)
        plan = decide(seen, _names(connection, owner), fresh)
    if not plan.steps and not ask.believe:
        return Outcome(owner, plan, seen.generation, rehearse)
    fresh.again()
    with database.change(rehearse=rehearse) as connection:
        # Everything is read again, the realm's longest lifetime too: it may have changed meanwhile (keys.md I10).
        before, owner = owner, find(connection)
        at = look(connection, owner, policy, database.now(connection), believe=ask.believe)
        if (at.generation, owner.id, owner.rsa_bits) != (seen.generation, before.id, before.rsa_bits):
            raise LostRace
        if ask.believe:
            store.believe(connection, owner.id, at.reading.told)
            store.note(connection, owner.id, "clock_believed", owner.path, actor, now=at.now, details={})
        outcome = within(connection, sealer, at, owner, lambda at, names: decide(at, names, fresh), actor)
        if outcome.changed:
            record(connection, owner)
    return Outcome(owner, outcome.plan, outcome.generation, rehearse)


def within(
    connection: Connection,
    sealer: Sealer,
    at: Situation,
    owner: Owner,
    decide: Callable[[Situation, Names], Plan],
    actor: Actor,
) -> Outcome:
    """Decides and applies in a transaction of the caller's, as one that changes the realm too. `at`: see look().

    Making keys takes a while: `decide` has them ready. Raises LostRace, SealingError and what `decide` raises.
    """
    plan = decide(at, _names(connection, owner))
    if at.reading.ahead:
        plan += Plan(note="the clock leapt by more than two rotation intervals; see flask keys doctor")
    if not plan.steps:
        return Outcome(owner, plan, at.generation)
    _check_signers(sealer, at, plan)
    return Outcome(
        owner, plan, store.apply(connection, owner.id, plan, sealer, actor, at=at.generation, reading=at.reading)
    )


def _check_signers(sealer: Sealer, at: Situation, plan: Plan) -> None:
    """What is to sign can be opened; no realm is left with a key that cannot. Raises SealingError (keys.md I7)."""
    chosen = {step.kid for step in plan.steps if step.after is State.ACTIVE and step.material is None}
    for key in at.keys:
        if key.kid in chosen:
            open_signer(key, sealer)


def _names(connection: Connection, owner: Owner) -> Names:
    return Names(connection, owner.id, owner.path)
