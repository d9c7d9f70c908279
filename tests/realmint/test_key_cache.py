"""What to do about keys, decided by values that are told the time: no thread, no transport, no clock."""

from typing import Any

import pytest

from realmint import Unavailable
from realmint.fetching import Answer, Fetch, Flight, Have, Refuse, Step, Tried, Wait
from realmint.key_cache import KeyCache
from realmint.messages import Response, TransportError
from realmint.probing import Probing
from tests.support.fake_issuer import INTROSPECT, ISSUER, JWKS_URI, METADATA, ok
from tests.support.key_caches import COLD, GOOD_METADATA, POLICY, PUBLIC, START, WARM, begun, failed, jwks, landed

AT = {"cold": START, "fresh": START + 239, "soft": START + 240, "stale": START + 300, "dead": START + 14400}


def at(state: str, situation: str) -> tuple[KeyCache, float]:
    cache, now = COLD if state == "cold" else WARM, AT[state]
    assert cache.state(now) == state
    if situation == "under way":
        cache, _ = begun(cache, now)
    elif situation == "pausing":
        cache = failed(cache, now)
    elif situation == "failing":
        cache = failed(cache, now - POLICY.back_off)
    elif situation == "spent":
        cache = cache._replace(probing=Probing((now, now)))
    return cache, now


def word(step: Step[Any]) -> str:
    match step:
        case Have(meanwhile=None):
            return "have"
        case Have(meanwhile=Fetch()):
            return f"have, {word(step.meanwhile)}"
        case Fetch():
            return {METADATA: "metadata", JWKS_URI: "keys"}[step.request.url]
        case Wait():
            assert step.seconds == POLICY.wait
            return "wait"
        case Refuse():
            return str(step.error.status)


# state, situation: what happens for a known name, for an unknown one, and for refresh_keys()
TABLE = {
    ("cold", "idle"): ("metadata", "metadata", "metadata"),
    ("cold", "under way"): ("wait", "wait", "wait"),
    ("cold", "pausing"): ("503", "503", "metadata"),
    ("fresh", "idle"): ("have", "keys", "metadata"),
    ("fresh", "under way"): ("have", "wait", "wait"),
    ("fresh", "pausing"): ("have", "503", "metadata"),
    ("fresh", "spent"): ("have", "401", "metadata"),
    ("soft", "idle"): ("have", "keys", "metadata"),
    ("soft", "under way"): ("have", "wait", "wait"),
    ("soft", "failing"): ("have", "keys", "metadata"),
    ("stale", "idle"): ("keys", "keys", "metadata"),
    ("stale", "under way"): ("wait", "wait", "wait"),
    ("stale", "pausing"): ("have", "503", "metadata"),
    ("stale", "failing"): ("have, keys", "keys", "metadata"),
    ("dead", "idle"): ("metadata", "metadata", "metadata"),
    ("dead", "under way"): ("wait", "wait", "wait"),
    ("dead", "pausing"): ("503", "503", "metadata"),
}


@pytest.mark.parametrize(("state", "situation"), list(TABLE))
def test_what_is_done_in_every_state(state: str, situation: str) -> None:
    cache, now = at(state, situation)
    steps = cache.key("a", now)[1], cache.key("x", now)[1], cache.refresh(now)[1]
    assert tuple(word(step) for step in steps) == TABLE[state, situation]


# What a fetch made of a warm cache's set comes to: the keys held then, and the event that tells of it.
BAD = ("keys.refresh_failed", "ab")
ANSWERS: dict[str, tuple[Answer, tuple[str, str]]] = {
    "another set": (jwks("bc", '"2"'), ("keys.refreshed", "bc")),
    "a set with one unusable key": (ok({"keys": [PUBLIC["c"], {"kty": "oct"}, None]}), ("keys.refreshed", "c")),
    "confirmation": (Response(304, {}, b""), ("keys.refreshed", "ab")),
    "an empty set": (ok({"keys": []}), BAD),
    "no set": (ok({"keys": "a"}), BAD),
    "html": (ok(b"<html>"), BAD),
    "nothing": (ok(b""), BAD),
    "a redirect": (Response(302, {"location": JWKS_URI}, b""), BAD),
    "an error": (Response(503, {"retry-after": "1"}, b""), BAD),
    "no answer": (TransportError("ConnectTimeoutError"), BAD),
}


@pytest.mark.parametrize("state", ["fresh", "soft", "stale", "dead"])
@pytest.mark.parametrize("name", list(ANSWERS))
def test_what_an_answer_makes_of_every_state(state: str, name: str) -> None:
    answer, (event, kids) = ANSWERS[name]
    cache, fetch = begun(WARM, AT[state])
    after, more, events = landed(cache, fetch, answer, AT[state] + 1)
    assert more is None
    told = [told.name for told in events]
    assert [name for name in told if name.startswith("keys.refresh")] == [event]
    assert [name for name in told if name == f"keys.{state}"] == (
        [f"keys.{state}"] if "fail" in event and state in ("stale", "dead") else []
    )
    assert after.held is not None
    assert set(after.held.by_kid) == set(kids)
    good = event != "keys.refresh_failed"
    assert after.held.confirmed_at == (AT[state] + 1 if good else START)
    assert after.state(AT[state] + 1) == ("fresh" if good else WARM.state(AT[state] + 1))
    assert after.fetching.under_way is None
    known = after.metadata.address("jwks_uri", AT[state] + 1) is not None
    assert (after.fetching.failures, known) == ((0, True) if good else (1, False))


@pytest.mark.parametrize("name", [name for name, (_, outcome) in ANSWERS.items() if outcome == BAD])
def test_no_answer_that_is_no_use_warms_a_cold_cache(name: str) -> None:
    after = landed(*begun(COLD, START), ANSWERS[name][0], START).cache
    assert (after.held, after.state(START)) == (None, "cold")
    assert word(after.key("a", START)[1]) == "503"


def test_confirmation_is_asked_for_where_the_same_address_gave_the_tag_and_believed_only_then() -> None:
    _, step = WARM.key("a", AT["stale"])
    assert isinstance(step, Fetch)
    assert step.request.headers["If-None-Match"] == '"1"'
    elsewhere = ok({"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"})
    cache, fetch = begun(WARM, AT["stale"])
    cache, more, _ = cache.absorb(fetch, elsewhere, AT["stale"])
    assert more is not None
    assert "If-None-Match" not in more.request.headers
    assert cache.absorb(more, Response(304, {}, b""), AT["stale"]).cache.held is WARM.held


def test_a_caller_who_waited_gets_an_answer_and_waits_no_more() -> None:
    for state, expected in (("cold", "503"), ("fresh", "have"), ("soft", "have"), ("stale", "have"), ("dead", "503")):
        for situation in ("under way", "pausing"):
            cache, now = at(state, situation)
            assert word(cache.key("a", now, Tried(fetched=True))[1]) == expected
    cache, now = at("fresh", "under way")
    _, step = cache.key("x", now)
    assert isinstance(step, Wait)
    assert step.flight == cache.fetching.under_way
    assert cache.key("x", now)[0].probing == Probing(joined=1)  # who waits for another's causes no fetch
    assert word(cache.key("x", now, step.tried)[1]) == "503"  # it took too long: nobody knows
    late = landed(cache, begun(WARM, now)[1], jwks("ab"), now).cache
    assert word(late.key("x", now, step.tried)[1]) == "401"
    found = landed(cache, begun(WARM, now)[1], ok({"keys": [{**PUBLIC["a"], "kid": "x"}]}), now).cache
    assert word(found.key("x", now, step.tried)[1]) == "have"


def test_a_name_that_came_twice_is_refused_without_a_fetch() -> None:
    twice = landed(*begun(COLD, START), ok({"keys": [PUBLIC["a"], PUBLIC["a"], PUBLIC["b"]]}), START).cache
    assert word(twice.key("a", START)[1]) == "401"
    assert word(twice.key("b", START)[1]) == "have"


@pytest.mark.parametrize(("failures", "pause"), [(1, 0.5), (2, 1), (6, 16), (7, 30), (1000, 30)])
def test_the_pause_doubles_up_to_its_limit_and_is_what_callers_are_told(failures: int, pause: float) -> None:
    cache = COLD
    for _ in range(failures):
        cache = failed(cache, START)
    _, step = cache.key("a", START + pause - 0.01)
    assert isinstance(step, Refuse)
    assert isinstance(step.error, Unavailable)
    assert step.error.retry_after == 1
    _, step = cache.key("a", START)
    assert isinstance(step, Refuse)
    assert isinstance(step.error, Unavailable)
    assert pause < step.error.retry_after <= pause + 1
    assert word(cache.key("a", START + pause)[1]) == "metadata"
    good = landed(*begun(cache, START), jwks("a"), START).cache
    assert (good.fetching.failures, good.fetching.due(START)) == (0, True)


def test_what_comes_of_another_flight_changes_nothing() -> None:
    cache, fetch = begun(WARM, START)
    other = fetch._replace(flight=Flight("keys", fetch.flight.number + 1))
    assert cache.absorb(other, jwks("c"), START) == (cache, None, ())
    assert cache.abandoned(other.flight) == cache
    given_up = cache.abandoned(fetch.flight)
    assert given_up.absorb(fetch, GOOD_METADATA, START).cache == given_up
    again, next_fetch = begun(given_up, START)  # nothing is paused for
    assert next_fetch.flight != fetch.flight
    assert again.absorb(fetch, GOOD_METADATA, START).cache == again


def test_200_a_forked_child_keeps_the_keys_and_nothing_that_was_under_way_spent_or_failed() -> None:
    cache, fetch = begun(failed(WARM, START)._replace(probing=Probing((START, START))), START)
    child = cache.forked()
    assert child.held is WARM.held
    assert (child.probing, child.fetching.failures, child.fetching.due(START)) == (Probing(), 0, True)
    assert child.absorb(fetch, jwks("c"), START).cache == child
    assert word(child.key("x", START)[1]) == "metadata"


def address(step: Step[str]) -> str:
    assert isinstance(step, Have)
    return step.value


def test_an_address_is_had_fetched_waited_for_and_refused_apart_from_the_keys() -> None:
    name = "introspection_endpoint"
    assert address(WARM.endpoint(name, START)[1]) == INTROSPECT
    assert word(WARM.endpoint(name, START + 86400)[1]) == "metadata"
    cache, fetch = COLD.endpoint(name, START)
    assert isinstance(fetch, Fetch)
    _, waits = cache.endpoint(name, START)
    assert isinstance(waits, Wait)
    assert waits.flight == fetch.flight
    assert word(cache.endpoint(name, START, waits.tried)[1]) == "503"
    assert word(cache.key("a", START)[1]) == "metadata"  # a flight of its own
    assert address(cache.absorb(fetch, GOOD_METADATA, START).cache.endpoint(name, START)[1]) == INTROSPECT
    without = cache.absorb(fetch, ok({"issuer": ISSUER, "jwks_uri": JWKS_URI}), START).cache
    assert word(without.endpoint(name, START)[1]) == "503"
    assert word(without.endpoint(name, START + 0.5)[1]) == "metadata"
    assert word(without.key("a", START)[1]) == "keys"  # what the document does say is used, and at once
    down = cache.absorb(fetch, TransportError("ConnectTimeoutError"), START).cache
    assert (word(down.endpoint(name, START)[1]), word(down.key("a", START)[1])) == ("503", "metadata")
    assert word(cache.abandoned(fetch.flight).endpoint(name, START)[1]) == "metadata"
    other = fetch._replace(flight=Flight(fetch.flight.of, fetch.flight.number + 1))
    assert cache.absorb(other, GOOD_METADATA, START).cache == cache
    assert word(down.forked().endpoint(name, START)[1]) == "metadata"


def test_176_an_address_that_does_not_answer_is_doubted_once_it_is_a_minute_old() -> None:
    name = "introspection_endpoint"
    assert word(WARM.doubt_endpoint(START + 59).endpoint(name, START + 59)[1]) == "have"
    assert word(WARM.doubt_endpoint(START + 60).endpoint(name, START + 60)[1]) == "metadata"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, 300), ({"cache-control": "max-age=120"}, 120), ({"cache-control": "max-age=120", "age": "30"}, 90),
     ({"cache-control": "max-age=120", "age": "x"}, 120), ({"cache-control": "max-age=1"}, 60),
     ({"cache-control": "public,max-age=999999999"}, 900), ({"cache-control": "s-maxage=120"}, 300)],
)  # fmt: skip
def test_an_answer_is_fresh_for_what_is_left_of_its_max_age_within_bounds(
    headers: dict[str, str], seconds: float
) -> None:
    assert POLICY.lifetime(headers) == seconds
