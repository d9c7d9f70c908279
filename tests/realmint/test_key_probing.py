"""What a name that nobody knows causes: two fetches in ten seconds, whatever strangers send, and an honest answer."""

from email.utils import formatdate
from typing import Any

import pytest

from realmint import KeyPolicy, Unavailable
from realmint.fetching import Fetch, Have, Refuse, Wait
from realmint.key_cache import MAX_FITTING, KeyCache, cold_cache
from realmint.messages import Response, TransportError
from realmint.probing import ABSENT, ABSENT_LIFE, JOINERS, PROBE_WINDOW, Probing
from realmint.reach import Reach
from tests.support.fake_issuer import ISSUER, ok
from tests.support.forge import Forge
from tests.support.key_caches import PUBLIC, START, WARM, begun, failed, jwks, landed

EPOCH = 1_795_400_000


def answered(step: Any) -> int | str:
    match step:
        case Refuse():
            return step.error.status
        case _:
            return type(step).__name__.lower()


def probed(cache: KeyCache, kid: str, now: float, answer: Any) -> KeyCache:
    """After a caller with this name has fetched, and heard 401 or 503."""
    cache, step = cache.key(kid, now)
    assert isinstance(step, Fetch)
    assert [event.name for event in step.events] == ["probe.spent"]
    assert step.request.headers["Cache-Control"] == "no-cache"
    cache, step = landed(cache, step, answer, now).cache.key(kid, now, step.tried)
    assert answered(step) == (503 if isinstance(answer, TransportError) else 401)
    return cache


def test_162_a_name_that_was_looked_for_causes_no_other_fetch_for_a_minute_nor_until_the_set_changes() -> None:
    cache = probed(WARM, "x", START, jwks("ab"))
    later = START + ABSENT_LIFE - 0.1
    assert answered(cache.key("x", later)[1]) == 401
    assert answered(cache.key("y", later)[1]) == "fetch"
    assert answered(cache.key("x", START + ABSENT_LIFE)[1]) == "fetch"
    other = landed(*begun(cache, START + 20), jwks("abc", '"2"'), START + 20).cache
    assert answered(other.key("x", START + 20)[1]) == "fetch"
    same = landed(*begun(cache, START + 20), Response(304, {}, b""), START + 20).cache
    assert answered(same.key("x", START + 20)[1]) == 401


def test_162_so_many_names_are_remembered_and_no_more() -> None:
    probing = Probing()
    for number in range(ABSENT + 1):
        probing = probing.found_absent(f"x{number}", START)
    assert len(probing.absent) == ABSENT
    assert not probing.is_absent("x0", START)
    assert probing.is_absent("x1", START)
    assert len(probing.found_absent("y", START + ABSENT_LIFE).absent) == 1


def test_162_d1_the_budget_is_spent_by_fetches_that_fail_as_by_others() -> None:
    for answer in (jwks("ab"), TransportError("ConnectTimeoutError")):
        cache = probed(WARM, "x", START, answer)
        if isinstance(answer, TransportError):
            assert answered(cache.key("y", START + 0.4)[1]) == 503  # the pause
        cache = probed(cache._replace(metadata=WARM.metadata), "y", START + 0.5, answer)
        refused = cache.key("z", START + PROBE_WINDOW - 0.1)[1]
        assert isinstance(refused, Refuse)
        assert answered(refused) == (503 if isinstance(answer, TransportError) else 401)
        assert [event.name for event in refused.events] == ["probe.refused"]
        assert answered(cache.key("z", START + PROBE_WINDOW)[1]) == "fetch"


def test_162_a_name_that_is_known_to_be_absent_is_503_once_the_source_fails() -> None:
    cache = failed(probed(WARM, "x", START, jwks("ab")), START + 5)
    assert answered(cache.key("x", START + 5)[1]) == 503
    assert answered(cache.key("x", START + 30)[1]) == 503  # and causes nothing


def test_162_few_wait_for_the_fetch_of_another_while_all_is_well_and_none_while_it_fails() -> None:
    cache, step = WARM.key("x", START)
    assert isinstance(step, Fetch)
    for _ in range(JOINERS):
        cache, step = cache.key("x", START)
        assert isinstance(step, Wait)
    cache, step = cache.key("x", START)
    assert isinstance(step, Refuse)
    assert isinstance(step.error, Unavailable)  # nobody knows yet
    assert step.error.retry_after == 1
    assert answered(cache.key("a", START)[1]) == "have"
    sick = begun(failed(WARM, START), START + 1)[0]
    assert answered(sick.key("x", START + 1)[1]) == 503
    assert answered(sick.key("a", START + 1)[1]) == "have"


def test_172_all_who_waited_for_a_new_key_have_it_and_one_fetch_was_made() -> None:
    cache, first = WARM.key("c", START)
    assert isinstance(first, Fetch)
    cache, second = cache.key("c", START)
    assert isinstance(second, Wait)
    cache = landed(cache, first, jwks("abc", '"2"'), START + 0.2).cache
    for step in (first, second):
        assert answered(cache.key("c", START + 0.2, step.tried)[1]) == "have"
    assert cache.probing == Probing((START,))


def dated(cache: KeyCache, wall: float, now: float = START) -> KeyCache:
    return landed(*begun(cache, now), jwks("ab", date=formatdate(wall, usegmt=True)), now).cache


@pytest.mark.parametrize(("apart", "causes"), [(-31, 401), (-30, "fetch"), (0, "fetch"), (500, "fetch")])
def test_162_a_token_from_before_the_last_good_answer_names_no_new_key(apart: int, causes: Any) -> None:
    """By the issuer's own clock, within the leeway: a key that is published before it signs would be in the set."""
    cache = dated(WARM, EPOCH)
    assert answered(cache.key("x", START + 5, issued_at=EPOCH + apart)[1]) == causes
    assert answered(cache.key("x", START + 5)[1]) == "fetch"
    assert answered(cache.key("a", START + 5, issued_at=EPOCH - 9999)[1]) == "have"
    at_once = cache._replace(policy=KeyPolicy(prepublished=False))
    assert answered(at_once.key("x", START + 5, issued_at=EPOCH + apart)[1]) == "fetch"
    # Without a date our own clock says when it came; without either nothing is known.
    ours = landed(*begun(WARM, START), jwks("ab", age="100")._replace(received_at=EPOCH + 100), START).cache
    assert answered(ours.key("x", START + 5, issued_at=EPOCH + apart)[1]) == causes
    assert answered(WARM.key("x", START + 5, issued_at=EPOCH + apart)[1]) == "fetch"


def test_162_a_confirmation_counts_as_a_good_answer_for_that() -> None:
    cache = dated(WARM, EPOCH)
    cache, fetch = begun(cache, START + 100)
    confirmed = Response(304, {"date": formatdate(EPOCH + 100, usegmt=True)}, b"")
    cache = landed(cache, fetch, confirmed, START + 100).cache
    assert answered(cache.key("x", START + 101, issued_at=EPOCH + 69)[1]) == 401
    assert answered(cache.key("x", START + 101, issued_at=EPOCH + 70)[1]) == "fetch"


@pytest.mark.parametrize("kid", ["", "k" * 129, "k" * 5000])
def test_162_a_name_that_no_key_can_have_is_refused_before_anything(kid: str) -> None:
    for cache in (cold_cache(Reach(ISSUER), KeyPolicy()), WARM, failed(WARM, START)):
        assert cache.key(kid, START)[0] is cache
        assert answered(cache.key(kid, START)[1]) == 401
    assert answered(WARM.key("k" * 128, START)[1]) == "fetch"


def test_144_keys_for_a_token_that_names_none_are_those_that_fit_and_at_most_four() -> None:
    _, step = WARM.fitting("ES256", START)
    assert isinstance(step, Have)
    assert {key.kid for key in step.value} == {"a", "b"}
    cold = cold_cache(Reach(ISSUER), KeyPolicy())
    assert answered(cold.fitting("ES256", START)[1]) == "fetch"
    many = [{**dict(Forge().material.public_jwk), "kid": str(number)} for number in range(MAX_FITTING + 1)]
    cache = landed(*begun(WARM, START), ok({"keys": [*many[1:], many[1]]}), START).cache
    assert answered(cache.fitting("ES256", START)[1]) == "have"
    cache = landed(*begun(WARM, START), ok({"keys": many}), START).cache
    assert answered(cache.fitting("ES256", START)[1]) == 401


def test_162_an_algorithm_without_a_key_is_looked_for_within_the_same_budget() -> None:
    cache, step = WARM.fitting("RS256", START)
    assert isinstance(step, Fetch)
    rsa = dict(Forge("RS256").material.public_jwk)
    assert (
        answered(landed(cache, step, ok({"keys": [rsa]}), START).cache.fitting("RS256", START, step.tried)[1]) == "have"
    )
    cache, step = landed(cache, step, jwks("ab"), START).cache.fitting("RS256", START, step.tried)
    assert answered(step) == 401
    assert answered(cache.fitting("RS256", START + 1)[1]) == 401
    assert cache.probing.spent == (START,)


def told(cache: KeyCache, kids: str, now: float) -> tuple[KeyCache, Fetch | None]:
    """What is fetched after the issuer said which keys it has."""
    cache, step = cache.told_kids(frozenset(kids), now).upkeep(now)
    return cache, step if isinstance(step, Fetch) else None


def test_167_other_keys_than_told_are_fetched_at_once_whatever_strangers_spent_and_past_the_caches() -> None:
    spent = WARM._replace(probing=Probing((START, START)))
    cache, fetch = told(spent, "bc", START)
    assert fetch is not None
    assert fetch.request.headers["Cache-Control"] == "no-cache"
    assert cache.probing == spent.probing
    cache = landed(cache, fetch, jwks("bc", '"2"'), START).cache
    assert answered(cache.key("a", START)[1]) == 401
    assert told(cache, "bc", START + 5)[1] is None
    assert told(WARM, "ab", START)[1] is None
    assert told(cold_cache(Reach(ISSUER), KeyPolicy()), "ab", START)[1] is None


def test_167_what_is_told_causes_one_fetch_and_one_more_when_all_of_the_issuer_has_heard() -> None:
    cache, fetch = told(WARM, "bc", START)
    assert fetch is not None
    cache = landed(cache, fetch, jwks("ab"), START).cache  # from a process that had not heard
    for now in (START + 1, START + 9.9):
        assert told(cache, "bc", now)[1] is None
    cache, fetch = told(cache, "bc", START + 10)
    assert fetch is not None
    cache = landed(cache, fetch, jwks("ab"), START + 10).cache
    for now in (START + 11, START + 20, START + 100):
        assert told(cache, "bc", now)[1] is None
    # What was told before is over once the issuer says what is held.
    cache, fetch = told(WARM, "bc", START)
    assert fetch is not None
    cache, _ = told(landed(cache, fetch, jwks("ab"), START).cache, "ab", START + 5)
    assert not isinstance(cache.upkeep(START + 10)[1], Fetch)


def test_167_what_is_told_causes_no_two_fetches_in_a_second_and_waits_for_the_pause() -> None:
    cache, fetch = told(WARM, "bc", START)
    assert fetch is not None
    cache = landed(cache, fetch, jwks("ab"), START).cache
    cache, fetch = told(cache, "cd", START + 0.2)
    assert fetch is None
    step = cache.upkeep(START + 0.5)[1]
    assert isinstance(step, Have)
    assert step.value == 0.5
    assert isinstance(cache.upkeep(START + 1)[1], Fetch)
    sick = failed(failed(WARM, START), START)
    assert told(sick, "bc", START + 0.9)[1] is None
    assert isinstance(told(sick, "bc", START + 1)[1], Fetch)


def test_167_a_fetch_that_set_out_before_does_not_count_as_one_after() -> None:
    cache, under_way = begun(WARM, START)
    cache, fetch = told(cache, "bc", START + 0.1)
    assert fetch is None
    cache = landed(cache, under_way, jwks("ab"), START + 0.2).cache
    assert isinstance(cache.upkeep(START + 0.2)[1], Fetch)


def test_167_names_of_keys_that_cannot_be_used_are_no_difference() -> None:
    cache = landed(*begun(WARM, START), ok({"keys": [PUBLIC["a"], {"kty": "AKP", "kid": "pq"}]}), START).cache
    assert cache.told_kids(frozenset({"a", "pq"}), START) is cache
