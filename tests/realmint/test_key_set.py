"""What comes, stays and goes from one good answer to the next: removal is final, and what stays is the same object."""

import json
from typing import Any

import pytest

from realmint import InvalidToken, KeyPolicy
from realmint.fetching import Answer, Event, Fetch, FetchError, Have, Refuse
from realmint.issuer_clock import clock_offset, date
from realmint.key_cache import KeyCache
from realmint.key_set import TOMBSTONE_LIFE, TOMBSTONES, read_keys
from realmint.messages import Response
from realmint.protocol.jws import VerificationKey
from tests.support.fake_issuer import ISSUER, ok
from tests.support.forge import Forge
from tests.support.key_caches import PUBLIC, START, WARM, begun, jwks, landed


def after(answer: Answer, cache: KeyCache = WARM, now: float = START + 1) -> tuple[KeyCache, tuple[Event, ...]]:
    cache, more, events = landed(*begun(cache, now), answer, now)
    assert more is None
    return cache, events


def key(cache: KeyCache, kid: str) -> VerificationKey:
    assert cache.held is not None
    found = cache.held.by_kid[kid]
    assert found is not None
    return found


def refused(cache: KeyCache, kid: str, now: float) -> bool:
    """Whether tokens of this name are 401, and nothing is fetched for them."""
    _, step = cache.key(kid, now)
    return isinstance(step, Refuse) and isinstance(step.error, InvalidToken)


def test_167_a_key_that_stays_is_the_same_object_and_one_that_changed_is_another() -> None:
    cache, events = after(ok({"keys": [PUBLIC["a"], {**PUBLIC["c"], "kid": "b"}, PUBLIC["d"]]}, etag='"2"'))
    assert key(cache, "a") is key(WARM, "a")
    assert key(cache, "b") is not key(WARM, "b")
    assert key(cache, "b").thumbprint == key(after(jwks("c"))[0], "c").thumbprint
    assert [event.name for event in events] == ["keys.refreshed", "key.removed"]
    assert (events[0].fields["added"], events[0].fields["removed"]) == (["b", "d"], ["b"])
    assert events[1].fields == {"issuer": ISSUER, "kid": "b"}
    confirmed, events = after(Response(304, {}, b""), cache)
    assert key(confirmed, "b") is key(cache, "b")
    assert [(event.name, event.fields["from"]) for event in events] == [("keys.refreshed", 304)]


def test_167_a_key_that_may_verify_less_than_before_is_another() -> None:
    """What was concluded from the wider one falls with it."""
    public = dict(Forge("RS256").material.public_jwk)
    wide = {name: value for name, value in public.items() if name != "alg"} | {"kid": "r"}
    before = after(ok({"keys": [wide]}))[0]
    narrow, events = after(ok({"keys": [{**wide, "alg": "PS256"}]}), before)
    assert key(before, "r").algorithms == {"RS256", "PS256"}
    assert key(narrow, "r").algorithms == {"PS256"}
    assert events[1].fields["kid"] == "r"


def test_143_a_name_that_comes_twice_is_gone_as_a_key() -> None:
    cache, events = after(ok({"keys": [PUBLIC["a"], PUBLIC["a"], PUBLIC["b"]]}))
    assert refused(cache, "a", START + 1)
    assert [event.fields["kid"] for event in events if event.name == "key.removed"] == ["a"]
    assert key(cache, "b") is key(WARM, "b")


def test_167_d6_a_key_that_went_is_refused_without_a_fetch_for_a_day_whatever_fails_meanwhile() -> None:
    cache, _ = after(jwks("b"))
    assert refused(cache, "a", START + 2)
    for at in (START + 100, START + 100 + TOMBSTONE_LIFE / 2):
        cache = landed(*begun(cache, at), Response(503, {}, b""), at).cache
        assert cache.held is not None
        assert "a" not in cache.held.by_kid
    cache, _ = after(jwks("b", '"2"'), cache, START + TOMBSTONE_LIFE)
    assert refused(cache, "a", START + TOMBSTONE_LIFE)
    cache, _ = after(jwks("b", '"3"'), cache, START + 1 + TOMBSTONE_LIFE)
    assert not refused(cache, "a", START + 1 + TOMBSTONE_LIFE)  # a name like any other, which may cause a fetch


def test_167_what_the_issuer_publishes_again_is_its_own_word_and_another_object() -> None:
    """It alone says what is a key of its: a process of its that lags must not cost a day."""
    gone, _ = after(jwks("b"))
    again, events = after(jwks("ab", '"3"'), gone)
    assert isinstance(again.key("a", START + 1)[1], Have)
    assert key(again, "a") is not key(WARM, "a")
    assert events[0].fields["added"] == ["a"]


def test_167_the_newest_names_that_went_are_remembered() -> None:
    public = [{**PUBLIC["a"], "kid": f"k{number}"} for number in range(TOMBSTONES + 1)]
    cache, _ = after(ok({"keys": public[:1]}))
    cache, _ = after(ok({"keys": public[1:]}), cache, START + 2)
    cache, _ = after(jwks("b"), cache, START + 3)
    assert cache.held is not None
    assert set(cache.held.gone) == {f"k{number}" for number in range(1, TOMBSTONES + 1)}


def test_172_a_wholly_different_set_is_taken_and_said_loudly() -> None:
    cache, events = after(jwks("cd"))
    assert cache.held is not None
    assert set(cache.held.by_kid) == set("cd")
    assert [event.name for event in events] == ["keys.refreshed", "key.removed", "key.removed", "keys.replaced"]
    # The same names over other material are another set too.
    _, events = after(ok({"keys": [{**PUBLIC["a"], "kid": "b"}, {**PUBLIC["b"], "kid": "a"}]}))
    assert events[-1].name == "keys.replaced"
    assert "keys.replaced" not in [event.name for event in after(jwks("bcd"))[1]]


def test_164_d12_one_odd_key_leaves_the_others_and_is_counted() -> None:
    odd: list[Any] = [
        None, 1, "x", [], {}, {"kid": "k"}, {"kty": "oct", "k": "AAAA", "kid": "k"}, {**PUBLIC["c"], "d": "AAAA"}, {**PUBLIC["c"], "use": "enc"},
        {**PUBLIC["c"], "alg": "none"}, {**PUBLIC["c"], "kid": "k" * 129}, {**PUBLIC["c"], "kid": 1}, {**PUBLIC["c"], "crv": "P-999"},
    ]  # fmt: skip
    for entry in odd:
        cache, events = after(ok({"keys": [PUBLIC["a"], entry, PUBLIC["b"]]}))
        assert cache.held is not None
        assert set(cache.held.by_kid) == set("ab")
        assert events[0].fields["left_out"] == 1


def test_the_hash_is_that_of_the_set_and_not_of_its_order_or_text() -> None:
    hashes = [after(answer)[1][0].fields["hash"] for answer in (jwks("ab"), jwks("ba"), jwks("abc"), jwks("a"))]
    assert hashes[0] == hashes[1]
    assert len({*hashes}) == 3
    assert all(len(text) == 16 for text in hashes)


def test_names_of_keys_that_cannot_be_used_are_names_all_the_same() -> None:
    said = read_keys(
        json.dumps({"keys": [PUBLIC["a"], {"kty": "AKP", "kid": "pq"}, {"kid": "k" * 129}, {"kid": 1}]}).encode()
    )
    assert (set(said.keys), said.names, said.left_out) == ({"a"}, {"a", "pq"}, 3)
    with pytest.raises(FetchError):
        read_keys(b'{"keys": [{"kty": "AKP", "kid": "pq"}]}')


@pytest.mark.rfc("9110", "5.6.7")
@pytest.mark.parametrize(
    ("text", "seconds"),
    [("Sun, 06 Nov 1994 08:49:37 GMT", 784111777), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Sun, 06 Nov 1994 08:49:37 UTC", None),
     ("Sunday, 06-Nov-94 08:49:37 GMT", None), ("Sun, 99 Nov 1994 08:49:37 GMT", None), ("Sun, 06 Nox 1994 08:49:37 GMT", None),
     ("Sun, 06 Nov 0000 08:49:37 GMT", None), ("Sun, 06 Nov 1994 08:49:37 GMT\n", None), ("", None), ("x" * 9999, None),
     ("Sun, 0\u0666 Nov 1994 08:49:37 GMT", None)],
)  # fmt: skip
def test_a_date_is_read_in_its_one_form_and_nothing_else_is_one(text: str, seconds: int | None) -> None:
    assert date({"date": text}) == seconds


@pytest.mark.parametrize(
    ("offset", "age", "told"), [(0, "0", None), (15, "0", None), (16, "0", 16), (-15, "0", None), (-16, "0", -16), (120, "100", 20), (10, "100", -90)]
)  # fmt: skip
def test_a_clock_that_is_apart_by_more_than_half_the_leeway_is_told_of(offset: int, age: str, told: int | None) -> None:
    answer = jwks("ab")._replace(received_at=784111777 + offset)
    answer = answer._replace(headers={**answer.headers, "date": "Sun, 06 Nov 1994 08:49:37 GMT", "age": age})
    assert clock_offset(answer) == offset - int(age)
    cache, events = after(answer)
    assert [event.fields["seconds"] for event in events if event.name == "clock.offset"] == ([told] if told else [])
    assert cache.clock_offset == offset - int(age)
    cache, fetch = begun(cache, START + 2)
    confirmed = Response(304, answer.headers, b"", answer.received_at)
    names = [event.name for event in landed(cache, fetch, confirmed, START + 2).events]
    assert ("clock.offset" in names) == (told is not None)


def test_without_a_date_no_clock_is_compared() -> None:
    assert after(jwks("ab")._replace(received_at=784111777))[0].clock_offset is None


def test_an_etag_is_asked_with_again_after_a_confirmation_that_names_none() -> None:
    cache, _ = after(Response(304, {}, b""))
    _, step = cache.key("a", START + 400)
    assert isinstance(step, Fetch)
    assert step.request.headers["If-None-Match"] == '"1"'
    assert KeyPolicy().lifetime({}) == 300
