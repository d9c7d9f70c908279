"""The state machine of keys: gates and bounds one second before, at and after; what may become of what."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from keys import rotation
from keys.key import Key, Material, State, generate
from keys.plan import NOTHING, GateNotMet, Plan, RotationRefused, Situation
from keys.policy import FETCH_SECONDS, Reading, RotationPolicy, droppable_at, promotable_at, read_clock

NOW = 1_000_000
POLICY = RotationPolicy(
    verifier_cache_max=3600, rotation_interval=86400, snapshot_refresh=2, clock_error=60, verifier_leeway=60
)
LONGEST = 3600
MADE = [generate("ES256") for _ in range(4)]


def key(state: State, name: str = "", **more: Any) -> Key:
    name = name or f"kid-{state}"
    born = Key(name, name, 1, "ES256", state, {}, "local", "kek", NOW, published_at=NOW, max_lifetime=LONGEST)
    return replace(born, **more)


def at(*keys: Key, now: int = NOW, algs: Sequence[str] = ("ES256",), **more: Any) -> Situation:
    return Situation(keys, Reading(now, now), POLICY, algs, more.pop("max_lifetime", LONGEST))


def fresh() -> Callable[[str], Material]:
    made = iter(MADE)
    return lambda _alg: next(made)


def told(plan: Plan) -> list[tuple[str, str, str | None, str]]:
    """What becomes of which key, by names that a test reads easily."""
    born = {material.kid: f"new-{number}" for number, material in enumerate(MADE)}
    return [(step.event, born.get(step.kid, step.kid), step.before, str(step.after)) for step in plan.steps]


ACTIVE = key(State.ACTIVE, activated_at=NOW)
STANDBY = key(State.PUBLISHED)
RETIRING = key(State.RETIRING, retiring_at=NOW - 10, max_exp_bound=NOW + 5000)
GATE = NOW + POLICY.snapshot_max_age + POLICY.verifier_cache_max + FETCH_SECONDS
YOUNG = key(State.PUBLISHED, "young", last_absent_at=NOW + POLICY.snapshot_max_age)
ROTATED = [
    ("demoted", "kid-active", "active", "retiring"),
    ("promoted", "kid-published", "published", "active"),
    ("generated", "new-0", None, "published"),
]


def test_a_standby_that_was_always_published_may_sign_at_once() -> None:
    plan = rotation.rotate(at(ACTIVE, STANDBY), "ES256", fresh(), force=False)
    assert told(plan) == ROTATED
    assert (plan.forced, plan.gates) == (False, {"promotable_at": 0})


@pytest.mark.parametrize(("seconds", "allowed"), [(-1, False), (0, True), (1, True)])
def test_a_later_standby_may_sign_when_every_cache_without_it_has_run_out(seconds: int, allowed: bool) -> None:
    assert promotable_at(YOUNG, POLICY) == GATE
    situation = at(ACTIVE, YOUNG, now=GATE + seconds)
    if allowed:
        assert not rotation.rotate(situation, "ES256", fresh(), force=False).forced
        return
    with pytest.raises(GateNotMet) as refused:
        rotation.rotate(situation, "ES256", fresh(), force=False)
    assert (refused.value.retry_at, refused.value.now) == (GATE, GATE + seconds)


def test_183_force_passes_the_gate_and_says_so() -> None:
    plan = rotation.rotate(at(ACTIVE, YOUNG), "ES256", fresh(), force=True)
    assert plan.forced
    assert plan.gates == {"promotable_at": GATE}


def test_without_a_standby_nothing_can_be_promoted_even_by_force() -> None:
    with pytest.raises(RotationRefused) as refused:
        rotation.rotate(at(ACTIVE), "ES256", fresh(), force=True)
    assert refused.value.error == "no_standby"


def test_no_token_of_a_demoted_key_outlives_its_bound() -> None:
    demoted = rotation.rotate(at(ACTIVE, STANDBY), "ES256", fresh(), force=False).steps[0].values
    # The last process that is cut off from the store signs until S later, on a clock that is E ahead.
    assert demoted["not_signed_after"] == NOW + POLICY.snapshot_max_age + POLICY.clock_error
    assert demoted["max_exp_bound"] == demoted["not_signed_after"] + LONGEST
    retiring = replace(ACTIVE, max_exp_bound=demoted["max_exp_bound"])
    assert droppable_at(retiring, POLICY) == demoted["max_exp_bound"] + POLICY.verifier_leeway + POLICY.clock_error


def test_the_longest_lifetime_a_key_ever_signed_for_counts_though_the_realm_has_shortened_it_since() -> None:
    before = key(State.ACTIVE, max_lifetime=7200)
    plan = rotation.rotate(at(before, STANDBY, max_lifetime=600), "ES256", fresh(), force=False)
    demoted, promoted = plan.steps[0].values, plan.steps[1].values
    assert demoted["max_exp_bound"] - demoted["not_signed_after"] == 7200
    assert promoted["max_lifetime"] == LONGEST  # its own, from when it was made


def test_a_way_back_to_a_retiring_key_keeps_the_standby_and_sets_its_bounds_anew() -> None:
    plan = rotation.activate(at(ACTIVE, STANDBY, RETIRING), RETIRING, fresh(), force=False)
    assert told(plan) == [
        ("demoted", "kid-active", "active", "retiring"),
        ("reactivated", "kid-retiring", "retiring", "active"),
    ]
    assert plan.steps[1].values["max_exp_bound"] is None


def test_activating_what_signs_already_is_nothing_to_do() -> None:
    assert rotation.activate(at(ACTIVE, STANDBY), ACTIVE, fresh(), force=False) == NOTHING


@pytest.mark.parametrize("state", [State.PENDING, State.RETIRED, State.REVOKED])
def test_a_key_that_is_not_published_can_not_be_activated_even_by_force(state: State) -> None:
    with pytest.raises(RotationRefused) as refused:
        rotation.activate(at(ACTIVE, STANDBY), key(state), fresh(), force=True)
    assert refused.value.error == "wrong_state"


@pytest.mark.parametrize(("seconds", "expected"), [(-1, False), (0, True), (1, True)])
def test_a_rotation_is_due_when_the_key_has_signed_for_the_interval(seconds: int, expected: bool) -> None:
    assert rotation.due(at(ACTIVE, STANDBY, now=NOW + POLICY.rotation_interval + seconds), "ES256") is expected


def test_a_rotation_that_would_be_due_waits_in_silence_for_a_young_standby() -> None:
    late = NOW + 2 * POLICY.rotation_interval
    young = key(State.PUBLISHED, last_absent_at=late)
    assert not rotation.due(at(ACTIVE, young, now=late), "ES256")
    assert rotation.due(at(ACTIVE, now=late), "ES256")  # and a missing one is refused aloud


@pytest.mark.parametrize(("seconds", "expected"), [(-1, False), (0, True)])
def test_an_algorithm_added_later_is_due_when_its_standby_may_sign(seconds: int, expected: bool) -> None:
    assert rotation.due(at(YOUNG, now=GATE + seconds), "ES256") is expected


def test_generate_makes_what_is_missing_and_no_more() -> None:
    both = rotation.generate(at(), "ES256", fresh(), pending=False)
    assert told(both) == [("generated", "new-0", None, "active"), ("generated", "new-1", None, "published")]
    standby = [("generated", "new-0", None, "published")]
    assert told(rotation.generate(at(ACTIVE), "ES256", fresh(), pending=False)) == standby
    # Another algorithm signs already: this one is published first.
    other = replace(ACTIVE, alg="RS256")
    assert told(rotation.generate(at(other), "ES256", fresh(), pending=False)) == standby
    assert rotation.generate(at(ACTIVE, STANDBY), "ES256", fresh(), pending=False) == NOTHING
    pending = rotation.generate(at(ACTIVE, STANDBY), "ES256", fresh(), pending=True)
    assert told(pending) == [("generated", "new-0", None, "pending")]
    assert "published_at" not in pending.steps[0].values


def test_a_pending_key_becomes_the_standby_only_where_there_is_none_or_in_its_place() -> None:
    pending = key(State.PENDING, published_at=None)
    published = ("published", "kid-pending", "pending", "published")
    assert told(rotation.publish(at(ACTIVE, pending), pending, event="published", replace=False)) == [published]
    with pytest.raises(RotationRefused) as refused:
        rotation.publish(at(ACTIVE, STANDBY, pending), pending, event="published", replace=False)
    assert refused.value.error == "standby_exists"
    plan = rotation.publish(at(ACTIVE, STANDBY, pending), pending, event="published", replace=True)
    assert told(plan) == [("discarded", "kid-published", "published", "retired"), published]
    assert plan.steps[1].values["last_absent_at"] == NOW + POLICY.snapshot_max_age


@pytest.mark.parametrize(("seconds", "allowed"), [(-1, False), (0, True), (1, True)])
def test_183_a_retiring_key_leaves_the_jwks_when_its_last_token_has_died(seconds: int, allowed: bool) -> None:
    gate = droppable_at(RETIRING, POLICY)
    situation = at(ACTIVE, STANDBY, RETIRING, now=gate + seconds)
    gone = [("retired", "kid-retiring", "retiring", "retired")]
    assert told(rotation.prune(situation)) == (gone if allowed else [])
    assert told(rotation.prune(situation, older_than=10)) == []
    if allowed:
        assert told(rotation.retire(situation, RETIRING, force=False)) == gone
        return
    with pytest.raises(GateNotMet) as refused:
        rotation.retire(situation, RETIRING, force=False)
    assert refused.value.retry_at == gate
    forced = rotation.retire(situation, RETIRING, force=True)
    assert (told(forced), forced.forced) == (gone, True)
    assert forced.steps[0].values["sealed"] is None


def test_a_held_key_is_not_taken_out_by_anything_but_revocation() -> None:
    held = replace(RETIRING, held=True)
    situation = at(ACTIVE, STANDBY, held, now=NOW + 10**9)
    for older_than in (0, 1):
        assert rotation.prune(situation, older_than) == NOTHING
    for force in (False, True):
        with pytest.raises(RotationRefused) as refused:
            rotation.retire(situation, held, force=force)
        assert refused.value.error == "held"
    assert told(rotation.revoke(situation, held, fresh(), "leaked"))[0][0] == "revoked"


def test_a_held_standby_is_not_replaced() -> None:
    held, pending = replace(STANDBY, held=True), key(State.PENDING)
    with pytest.raises(RotationRefused) as refused:
        rotation.publish(at(ACTIVE, held, pending), pending, event="published", replace=True)
    assert refused.value.error == "held"


def test_184_a_realm_whose_new_algorithm_may_not_sign_yet_still_gets_a_successor() -> None:
    plan = rotation.revoke(at(ACTIVE, STANDBY, algs=("RS256",)), ACTIVE, fresh(), "leaked")
    assert told(plan)[1] == ("promoted", "kid-published", "published", "active")


def test_hold_and_unhold_change_the_flag_alone_and_once() -> None:
    plan = rotation.hold(RETIRING, held=True)
    assert told(plan) == [("held", "kid-retiring", "retiring", "retiring")]
    assert rotation.hold(RETIRING, held=False) == NOTHING
    with pytest.raises(RotationRefused):
        rotation.hold(key(State.REVOKED), held=True)


@pytest.mark.parametrize("used", [ACTIVE, STANDBY])
def test_what_the_realm_signs_with_or_needs_next_can_not_be_retired(used: Key) -> None:
    for force in (False, True):
        with pytest.raises(RotationRefused) as refused:
            rotation.retire(at(ACTIVE, STANDBY), used, force=force)
        assert refused.value.error == "in_use"


def test_an_algorithm_that_is_no_longer_used_is_retired_step_by_step() -> None:
    with pytest.raises(RotationRefused):  # nothing of RS256 signs yet
        rotation.retire(at(ACTIVE, STANDBY, algs=("RS256",)), ACTIVE, force=False)
    situation = at(ACTIVE, STANDBY, replace(ACTIVE, kid="other", alg="RS256"), algs=("RS256",))
    assert told(rotation.retire(situation, ACTIVE, force=False)) == [("demoted", "kid-active", "active", "retiring")]
    gone = [("discarded", "kid-published", "published", "retired")]
    assert told(rotation.retire(situation, STANDBY, force=False)) == gone
    assert told(rotation.retire(situation, key(State.PENDING), force=False))[0][0] == "discarded"


REVOKED = ("revoked", "kid-active", "active", "revoked")


def test_184_in_the_place_of_a_revoked_active_key_the_standby_signs() -> None:
    plan = rotation.revoke(at(ACTIVE, STANDBY, RETIRING), ACTIVE, fresh(), "leaked")
    assert told(plan) == [REVOKED, ("promoted", "kid-published", "published", "active"), ROTATED[2]]
    assert not plan.forced
    assert plan.steps[0].values == {
        "state": "revoked", "revoked_at": NOW, "reason": "leaked", "sealed": None, "proof": None, "kek_id": None, "held": False,
    }  # fmt: skip


def test_184_a_young_standby_is_spared_where_everybody_holds_a_retiring_key() -> None:
    older = key(State.RETIRING, "older", retiring_at=NOW - 100)
    situation = at(ACTIVE, YOUNG, older, RETIRING)
    plan = rotation.revoke(situation, ACTIVE, fresh(), "leaked")
    assert told(plan) == [REVOKED, ("reactivated", "kid-retiring", "retiring", "active")]
    assert plan.note is not None
    insisted = rotation.revoke(situation, ACTIVE, fresh(), "leaked", standby=True)
    assert told(insisted)[1] == ("promoted", "young", "published", "active")
    assert insisted.forced


def test_184_with_nothing_better_a_young_standby_or_new_keys_sign_and_it_is_said() -> None:
    plan = rotation.revoke(at(ACTIVE, YOUNG), ACTIVE, fresh(), "leaked")
    assert told(plan)[1] == ("promoted", "young", "published", "active")
    assert plan.forced
    assert plan.note is not None
    alone = rotation.revoke(at(ACTIVE), ACTIVE, fresh(), "leaked")
    assert told(alone)[1:] == [("generated", "new-0", None, "active"), ("generated", "new-1", None, "published")]
    assert alone.forced


def test_184_another_key_is_simply_revoked_and_a_standby_replaced() -> None:
    assert told(rotation.revoke(at(ACTIVE, STANDBY, RETIRING), RETIRING, fresh(), "x")) == [
        ("revoked", "kid-retiring", "retiring", "revoked")
    ]
    assert told(rotation.revoke(at(ACTIVE, STANDBY), STANDBY, fresh(), "x")) == [
        ("revoked", "kid-published", "published", "revoked"), ROTATED[2],
    ]  # fmt: skip
    assert rotation.revoke(at(ACTIVE, STANDBY), key(State.REVOKED), fresh(), "x") == NOTHING


def test_184_when_the_store_leaked_every_key_goes() -> None:
    plan = rotation.revoke_all(at(ACTIVE, STANDBY, RETIRING, key(State.PENDING)), fresh(), "leaked")
    assert [event for event, *_ in told(plan)] == ["revoked"] * 4 + ["generated"] * 2
    assert plan.forced


@pytest.mark.parametrize(
    ("now", "behind", "ahead"),
    [
        (NOW - POLICY.clock_error - 1, True, False),
        (NOW - POLICY.clock_error, False, False),
        (NOW + 2 * POLICY.rotation_interval, False, False),
        (NOW + 2 * POLICY.rotation_interval + 1, False, True),
    ],
)
def test_195_a_clock_that_fell_back_or_leapt_is_not_believed(now: int, behind: bool, ahead: bool) -> None:
    reading = read_clock(now, NOW, POLICY)
    assert (reading.now, reading.behind, reading.ahead) == (max(now, NOW), behind, ahead)
    for automatic in (False, True):
        refused = behind or (ahead and automatic)
        if refused:
            with pytest.raises(GateNotMet):
                rotation.check_clock(reading, automatic=automatic, force=False)
        else:
            rotation.check_clock(reading, automatic=automatic, force=False)
        rotation.check_clock(reading, automatic=automatic, force=True)


def test_a_policy_that_contradicts_itself_is_reported_whole() -> None:
    assert RotationPolicy().faults() == []
    assert len(RotationPolicy(jwks_max_age=600, verifier_cache_max=300, rotation_interval=100).faults()) == 2


def test_plans_for_several_algorithms_are_one_plan() -> None:
    one = Plan(gates={"a": 1}, note="x")
    other = Plan(gates={"b": 2}, forced=True, note="y")
    both = one + other
    assert (both.gates, both.forced, both.note) == ({"a": 1, "b": 2}, True, "x; y")
