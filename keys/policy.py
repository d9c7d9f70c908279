"""The durations of the key lifecycle, the gates that follow from them, and what a clock may be trusted for. Pure.

A gate is computed from stored instants, so that a change of policy never strands a key. Symbols of the
comments: M jwks_max_age, C verifier_cache_max, F fetch time, I rotation_interval, P snapshot_refresh,
S snapshot_max_age, E clock_error, K verifier_leeway, L the longest token lifetime.
"""

from dataclasses import dataclass

from keys.key import Key

FETCH_SECONDS = 5
"""F: longest time a verifier's fetch of the JWKS takes."""
STALE_FACTOR = 10
"""A process that cannot read the store for this many refreshes stops signing."""


@dataclass(frozen=True)
class RotationPolicy:
    """Durations in seconds, validated together.

    clock_error: how far two clocks may be apart. verifier_cache_max: the age of the oldest JWKS copy that any verifier
    may hold, all caches between it and us added up.
    """

    jwks_max_age: int = 300
    verifier_cache_max: int = 86400
    rotation_interval: int = 7776000
    clock_error: int = 60
    verifier_leeway: int = 60
    snapshot_refresh: int = 2

    @property
    def snapshot_max_age(self) -> int:
        """S: the oldest snapshot that a process cut off from the store still signs from."""
        return self.snapshot_refresh * STALE_FACTOR

    @property
    def exposure(self) -> int:
        """How long after a revocation a verifier may still hold the revoked key: P + F + C."""
        return self.snapshot_refresh + FETCH_SECONDS + self.verifier_cache_max

    def faults(self) -> list[str]:
        """What contradicts itself; empty when the policy is sound."""
        found = []
        if self.verifier_cache_max < self.jwks_max_age:
            found.append("VERIFIER_CACHE_MAX must be at least JWKS_MAX_AGE")
        if self.snapshot_max_age + self.verifier_cache_max + FETCH_SECONDS >= self.rotation_interval:
            found.append(
                "KEY_ROTATION_INTERVAL must be longer than REALMINT_VERIFIER_CACHE_MAX"
                f" + {STALE_FACTOR} x REALMINT_SNAPSHOT_REFRESH + {FETCH_SECONDS}"
            )
        return found


@dataclass(frozen=True)
class Reading:
    """An instant that the store's clock told, beside the latest one it told before (the watermark).

    told: what the clock says. now: what counts; time that was once told is never taken back. behind: the clock fell
    back by more than E, so that a key's end would be dated too early. ahead: it leapt by more than 2 I since anybody
    last looked, so that keys with live tokens may seem to have outlived them.
    """

    told: int
    now: int
    behind: bool = False
    ahead: bool = False


def read_clock(told: int, watermark: int, policy: RotationPolicy) -> Reading:
    """What the clock of the store says, and whether it may be believed."""
    return Reading(
        told=told,
        now=max(told, watermark),
        behind=told < watermark - policy.clock_error,
        ahead=told > watermark + 2 * policy.rotation_interval,
    )


def absent_until(published_at: int, policy: RotationPolicy) -> int:
    """The last instant at which a JWKS without a key published then may have been served: S later."""
    return published_at + policy.snapshot_max_age


def promotable_at(key: Key, policy: RotationPolicy) -> int:
    """Gate G1: from this instant every verifier holds `key` (0 when every JWKS ever served held it).

    C + F after the last JWKS without it may have been served.
    """
    if key.last_absent_at is None:
        return 0
    return key.last_absent_at + policy.verifier_cache_max + FETCH_SECONDS


def last_signature_at(demoted_at: int, policy: RotationPolicy) -> int:
    """The last instant, on any node's clock, at which a key demoted then may have signed: S + E later."""
    return demoted_at + policy.snapshot_max_age + policy.clock_error


def droppable_at(retiring: Key, policy: RotationPolicy) -> int:
    """Gate G2: from this instant no token of `retiring` is accepted anywhere: its bound + K + E."""
    return (retiring.max_exp_bound or 0) + policy.verifier_leeway + policy.clock_error
