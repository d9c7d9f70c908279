"""Plans: what is to happen to the keys of a realm, and what it is decided from. Pure.

A plan is decided in keys/rotation.py from the stored keys and one reading of the clock, and carried out by
keys/store.py in one transaction.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from keys.key import Key, Material, State
from keys.policy import Reading, RotationPolicy, absent_until, last_signature_at

Fresh = Callable[[str], Material]
"""A new key for an algorithm, not yet stored."""


class RotationRefused(Exception):
    """It may not happen. `error` is a short code, the message says why and names no secrets."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class GateNotMet(RotationRefused):
    """Too early at `now`, or the clock cannot be believed. `retry_at` is the instant of the gate, if there is one."""

    def __init__(self, error: str, message: str, now: int, retry_at: int | None = None) -> None:
        super().__init__(error, message)
        self.now = now
        self.retry_at = retry_at


def utc(instant: int) -> str:
    """An instant as people read it."""
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


@dataclass(frozen=True)
class Step:
    """What happens to one key. `material` is there for a key that is stored for the first time."""

    event: str
    kid: str
    alg: str
    before: State | None
    after: State
    values: Mapping[str, Any] = field(repr=False)
    material: Material | None = None


@dataclass(frozen=True)
class Plan:
    """Steps in the order in which the database takes them.

    gates: the instants that were looked at, by name, for the audit. forced: one of them had not come. note: what the
    operator must know besides.
    """

    steps: tuple[Step, ...] = ()
    gates: Mapping[str, int] = field(default_factory=dict)
    forced: bool = False
    note: str | None = None

    def __add__(self, other: "Plan") -> "Plan":
        """Both, one after the other."""
        notes = "; ".join(dict.fromkeys(filter(None, (self.note, other.note)))) or None
        return Plan(self.steps + other.steps, {**self.gates, **other.gates}, self.forced or other.forced, notes)


NOTHING = Plan()


@dataclass(frozen=True)
class Situation:
    """What a plan is decided from: the keys of a realm that are not dead, and the time.

    algs, max_lifetime: what the realm signs with, and the longest lifetime in seconds that it allows a token.
    generation: how often the key set was changed, 0 where there is none.
    """

    keys: Sequence[Key]
    reading: Reading
    policy: RotationPolicy
    algs: Collection[str]
    max_lifetime: int
    generation: int = 0

    @property
    def now(self) -> int:
        return self.reading.now

    def one(self, alg: str, state: State) -> Key | None:
        """The key of `alg` in `state`; the database allows at most one active and one published."""
        return one(self.keys, alg, state)


def one(keys: Iterable[Key], alg: str, state: State) -> Key | None:
    """The key of `alg` in `state`; the database allows at most one active and one published."""
    return next((key for key in keys if key.alg == alg and key.state is state), None)


def born(material: Material, event: str, state: State, now: int, absent: int | None, **more: Any) -> Step:
    """A key that is stored for the first time. `absent`: the last instant of a JWKS without it, if there was one."""
    values = {"state": str(state), "created_at": now, "held": False, "max_lifetime": 0, **more}
    if state is not State.PENDING:
        values |= {"published_at": now, "last_absent_at": absent}
    return Step(event, material.kid, material.alg, None, state, values, material)


def born_pair(at: Situation, alg: str, fresh: Fresh) -> tuple[Step, Step]:
    """An active key that no verifier holds yet, and its standby: where there is nothing else to sign with."""
    signing = {"activated_at": at.now, "max_lifetime": at.max_lifetime}
    absent = absent_until(at.now, at.policy)
    active = born(fresh(alg), "generated", State.ACTIVE, at.now, absent, **signing)
    return active, born_standby(fresh(alg), at.policy, at.now)


def born_standby(material: Material, policy: RotationPolicy, now: int) -> Step:
    """The next standby of a realm that is being served."""
    return born(material, "generated", State.PUBLISHED, now, absent_until(now, policy))


def changed(key: Key, event: str, after: State, values: Mapping[str, Any]) -> Step:
    """A key goes from one state to the next."""
    return Step(event, key.kid, key.alg, key.state, after, {**values, "state": str(after)})


def promoted(key: Key, now: int, max_lifetime: int) -> Step:
    """It signs from `now` on."""
    event = "promoted" if key.state is State.PUBLISHED else "reactivated"
    # Its bounds are set anew when it stops signing again; what it may have signed before stays counted.
    values = {"activated_at": now, "max_lifetime": max(key.max_lifetime, max_lifetime)}
    return changed(
        key, event, State.ACTIVE, values | dict.fromkeys(("retiring_at", "not_signed_after", "max_exp_bound"))
    )


def demoted(key: Key, policy: RotationPolicy, now: int) -> Step:
    """It stops signing at `now`; no token it signed outlives the bound that is fixed here."""
    last = last_signature_at(now, policy)
    values = {"retiring_at": now, "not_signed_after": last, "max_exp_bound": last + key.max_lifetime}
    return changed(key, "demoted", State.RETIRING, values)


def ended(key: Key, event: str, now: int) -> Step:
    """It leaves the JWKS; its private half is erased, its name stays blocked."""
    return changed(key, event, State.RETIRED, {"retired_at": now, **_ERASED})


def revoked(key: Key, now: int, reason: str) -> Step:
    """The same at once, whatever state it is in, and for a reason."""
    values = {"revoked_at": now, "reason": reason, "held": False, **_ERASED}
    return changed(key, "revoked", State.REVOKED, values)


# The proof too: a row that somebody puts back among the published ones is none of ours any more.
_ERASED: Mapping[str, Any] = {"sealed": None, "proof": None, "kek_id": None}
