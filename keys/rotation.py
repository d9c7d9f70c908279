"""When keys may change hands: the policy, its gates, and the plan of a rotation. Pure.

A gate is computed from stored instants, so that a change of policy never strands a key. Symbols of the
comments: C verifier_cache_max, F fetch time, P snapshot_refresh, E clock_error, K verifier_leeway.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from keys.key import Key, Material, State

FETCH_SECONDS = 5
"""F: longest time a verifier's fetch of the JWKS takes."""


class RotationRefused(Exception):
    """The rotation may not happen. `error` is a short code, the message says why and names no secrets."""

    error = "refused"


class GateNotMet(RotationRefused):
    """Too early: some verifier may not know the standby yet. `retry_at` is the instant of the gate."""

    error = "gate_not_met"

    def __init__(self, alg: str, retry_at: int) -> None:
        super().__init__(f"the {alg} standby may not sign before {retry_at}: a verifier may not have fetched it yet")
        self.retry_at = retry_at


class NoStandby(RotationRefused):
    """There is no published key to promote."""

    error = "no_standby"


@dataclass(frozen=True)
class RotationPolicy:
    """Durations in seconds, validated together."""

    jwks_max_age: int = 300
    verifier_cache_max: int = 86400
    rotation_interval: int = 7776000
    clock_error: int = 60
    verifier_leeway: int = 60
    snapshot_refresh: int = 2

    def faults(self) -> list[str]:
        """What contradicts itself; empty when the policy is sound."""
        found = []
        if self.verifier_cache_max < self.jwks_max_age:
            found.append("VERIFIER_CACHE_MAX must be at least JWKS_MAX_AGE")
        if self.snapshot_refresh + self.verifier_cache_max + FETCH_SECONDS >= self.rotation_interval:
            found.append(
                "KEY_ROTATION_INTERVAL must be longer than REALMINT_VERIFIER_CACHE_MAX + REALMINT_SNAPSHOT_REFRESH + 5"
            )
        return found


@dataclass(frozen=True)
class Rotation:
    """What a rotation of one algorithm changes: one key starts signing, one stops, one is published."""

    promote: Key
    demote: Key | None
    standby: Material
    forced: bool


def promotable_at(standby: Key, policy: RotationPolicy) -> int:
    """The gate: from this instant every verifier holds `standby` (0 when every JWKS ever served held it).

    C + F after the last JWKS without it may have been served.
    """
    if standby.last_absent_at is None:
        return 0
    return standby.last_absent_at + policy.verifier_cache_max + FETCH_SECONDS


def droppable_at(retiring: Key, policy: RotationPolicy) -> int:
    """From this instant no token of `retiring` is accepted anywhere: its bound + K + E."""
    return (retiring.max_exp_bound or 0) + policy.verifier_leeway + policy.clock_error


def exp_bound(key: Key, now: int, policy: RotationPolicy) -> int:
    """No token signed by `key`, which stops signing at `now`, expires later: now + P + E + its longest lifetime."""
    return now + policy.snapshot_refresh + policy.clock_error + key.max_lifetime


def check_rotation(keys: Sequence[Key], alg: str, policy: RotationPolicy, now: int, force: bool) -> bool:
    """Whether a rotation of `alg` has to be forced past its gate at `now`.

    Raises NoStandby, or GateNotMet when it is too early and `force` is false.
    """
    standby = one(keys, alg, State.PUBLISHED)
    if standby is None:
        raise NoStandby(f"there is no published {alg} key to promote")
    retry_at = promotable_at(standby, policy)
    if now < retry_at and not force:
        raise GateNotMet(alg, retry_at)
    return now < retry_at


def plan(keys: Sequence[Key], policy: RotationPolicy, now: int, standby: Material, force: bool = False) -> Rotation:
    """The rotation of the algorithm of `standby`, the next standby. Raises as check_rotation does."""
    forced = check_rotation(keys, standby.alg, policy, now, force)
    promote = one(keys, standby.alg, State.PUBLISHED)
    assert promote is not None
    return Rotation(promote, one(keys, standby.alg, State.ACTIVE), standby, forced)


def due(keys: Sequence[Key], alg: str, policy: RotationPolicy, now: int) -> bool:
    """Whether the active key of `alg` has signed for the rotation interval."""
    active = one(keys, alg, State.ACTIVE)
    return active is None or now >= (active.activated_at or 0) + policy.rotation_interval


def one(keys: Sequence[Key], alg: str, state: State) -> Key | None:
    """The key of `alg` in `state`; the database allows at most one active and one published."""
    return next((key for key in keys if key.alg == alg and key.state is state), None)
