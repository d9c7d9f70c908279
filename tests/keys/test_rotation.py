"""Gates and bounds of a rotation, one second before, at and after."""

from dataclasses import replace

import pytest

from keys.key import Key, State, generate
from keys.rotation import (
    FETCH_SECONDS,
    GateNotMet,
    NoStandby,
    RotationPolicy,
    droppable_at,
    due,
    exp_bound,
    plan,
    promotable_at,
)

NOW = 1_000_000
POLICY = RotationPolicy(
    verifier_cache_max=3600, rotation_interval=86400, snapshot_refresh=2, clock_error=60, verifier_leeway=60
)
NEXT = generate("ES256")


def key(state: State, **more: int | None) -> Key:
    born = Key(f"kid-{state}", 1, "ES256", state, {}, "kek", NOW, published_at=NOW, max_lifetime=3600)
    return replace(born, **more)  # type: ignore[arg-type]


def test_a_standby_that_was_always_published_may_sign_at_once() -> None:
    keys = [key(State.ACTIVE, activated_at=NOW), key(State.PUBLISHED, last_absent_at=None)]
    assert not plan(keys, POLICY, NOW, NEXT).forced


@pytest.mark.parametrize(("at", "allowed"), [(-1, False), (0, True), (1, True)])
def test_a_later_standby_may_sign_when_every_cache_without_it_has_run_out(at: int, allowed: bool) -> None:
    standby = key(State.PUBLISHED, last_absent_at=NOW + POLICY.snapshot_refresh)
    gate = NOW + POLICY.snapshot_refresh + POLICY.verifier_cache_max + FETCH_SECONDS
    assert promotable_at(standby, POLICY) == gate
    keys = [key(State.ACTIVE, activated_at=NOW), standby]
    if allowed:
        rotation = plan(keys, POLICY, gate + at, NEXT)
        assert (rotation.promote, rotation.demote, rotation.standby) == (standby, keys[0], NEXT)
    else:
        with pytest.raises(GateNotMet) as refused:
            plan(keys, POLICY, gate + at, NEXT)
        assert refused.value.retry_at == gate


def test_183_force_passes_the_gate_and_says_so() -> None:
    keys = [key(State.ACTIVE), key(State.PUBLISHED, last_absent_at=NOW)]
    assert plan(keys, POLICY, NOW, NEXT, force=True).forced


def test_without_a_standby_nothing_can_be_promoted_even_by_force() -> None:
    with pytest.raises(NoStandby):
        plan([key(State.ACTIVE)], POLICY, NOW, NEXT, force=True)


def test_no_token_of_a_demoted_key_outlives_its_bound() -> None:
    retiring = key(State.ACTIVE, activated_at=NOW, max_lifetime=3600)
    bound = exp_bound(retiring, NOW, POLICY)
    # The last process that has not seen the switch signs until P later, on a clock that is E ahead.
    assert bound == NOW + POLICY.snapshot_refresh + POLICY.clock_error + 3600
    assert droppable_at(replace(retiring, max_exp_bound=bound), POLICY) == bound + 60 + 60


@pytest.mark.parametrize(("at", "expected"), [(-1, False), (0, True), (1, True)])
def test_a_rotation_is_due_when_the_key_has_signed_for_the_interval(at: int, expected: bool) -> None:
    keys = [key(State.ACTIVE, activated_at=NOW)]
    assert due(keys, "ES256", POLICY, NOW + POLICY.rotation_interval + at) is expected


def test_a_policy_that_contradicts_itself_is_reported_whole() -> None:
    assert RotationPolicy().faults() == []
    assert len(RotationPolicy(jwks_max_age=600, verifier_cache_max=300, rotation_interval=100).faults()) == 2
