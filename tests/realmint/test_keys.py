"""Keys through outages, rotations and floods, on clocks that move when told."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from realmint import InvalidToken, KeyPolicy, ResourceServer, Unavailable
from realmint.transport import Response
from tests.support.clock import FakeClock
from tests.support.fake_issuer import ISSUER, JWKS_URI, METADATA, FakeIssuer, ok
from tests.support.forge import Forge


def status(api: ResourceServer, token: str) -> int:
    try:
        api.validate(token)
    except InvalidToken as refused:
        return refused.status
    except Unavailable as refused:
        return refused.status if refused.challenge is None else 500
    return 200


def fresh(fake: FakeIssuer, clock: FakeClock) -> str:
    return fake.forge.token(iat=clock.now, nbf=clock.now, exp=clock.now + 600)


def test_keys_are_fetched_once_and_again_when_their_max_age_has_passed(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    for _ in range(50):
        assert status(api, fresh(fake, clock)) == 200
    clock.advance(299)
    assert status(api, fresh(fake, clock)) == 200
    assert fake.fetches() == 1
    clock.advance(1)
    assert status(api, fresh(fake, clock)) == 200
    assert fake.fetches() == 2
    assert fake.requests[-1].headers["If-None-Match"] == fake.etag
    assert fake.fetches(METADATA) == 1


@pytest.mark.parametrize(("header", "ttl"), [("max-age=5", 60), ("public, max-age=120", 120), ("max-age=99999", 900), ("", 300),
                                             ("no-store", 300), ("max-age=x", 300), ("s-maxage=7", 300)])  # fmt: skip
def test_the_max_age_is_taken_within_bounds(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock, header: str, ttl: int
) -> None:
    fake.cache_control = header
    assert status(api, fresh(fake, clock)) == 200
    clock.advance(ttl - 1)
    assert status(api, fresh(fake, clock)) == 200
    assert fake.fetches() == 1
    clock.advance(1)
    status(api, fresh(fake, clock))
    assert fake.fetches() == 2


def test_166_an_outage_is_survived_with_the_last_good_keys_and_then_is_503(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    assert status(api, fresh(fake, clock)) == 200
    fake.down = True
    clock.advance(14399)
    assert api.health()["keys"]["state"] == "stale"
    assert status(api, fresh(fake, clock)) == 200
    clock.advance(1)
    assert status(api, fresh(fake, clock)) == 503
    assert api.health()["ready"] is False
    fake.down = False
    clock.advance(31)
    assert status(api, fresh(fake, clock)) == 200


def test_166_a_cold_start_in_an_outage_is_503_and_recovers(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    fake.down = True
    with pytest.raises(Unavailable) as refused:
        api.validate(fresh(fake, clock))
    assert refused.value.retry_after >= 1
    fake.down = False
    clock.advance(1)
    assert status(api, fresh(fake, clock)) == 200


def test_failed_fetches_back_off(api: ResourceServer, fake: FakeIssuer, clock: FakeClock) -> None:
    fake.down = True
    for _ in range(1000):
        assert status(api, fresh(fake, clock)) == 503
        clock.advance(0.1)
    # 100 seconds: 0.5, 1, 2, 4, 8, 16, 30 ... between attempts.
    assert len(fake.requests) <= 10


def rubbish() -> dict[str, Response]:
    private = {**Forge().material.public_jwk, "d": "AAAA"}
    return {
        "empty object": ok({}), "empty list": ok([]), "empty keys": ok({"keys": []}), "keys not a list": ok({"keys": {}}),
        "html": ok(b"<html></html>"), "cut short": ok(b'{"keys":['), "nothing": ok(b""), "private keys only": ok({"keys": [private]}),
        "oct keys only": ok({"keys": [{"kty": "oct", "k": "AAAA", "kid": "x"}]}), "404": Response(404, {}, b"{}"),
        "500": Response(500, {}, b"{}"), "redirect": Response(302, {"location": "http://127.0.0.1/"}, b""), "204": Response(204, {}, b""),
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(rubbish()))
def test_165_170_rubbish_is_a_failed_fetch_and_the_last_good_keys_stay(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock, kind: str, events: list[tuple[str, Any]]
) -> None:
    assert status(api, fresh(fake, clock)) == 200
    fake.answers[JWKS_URI] = lambda _: rubbish()[kind]
    clock.advance(301)
    assert status(api, fresh(fake, clock)) == 200
    assert events[-1][0] == "keys.refresh_failed"


@pytest.mark.parametrize("kind", list(rubbish()))
def test_165_rubbish_at_a_cold_start_is_503(api: ResourceServer, fake: FakeIssuer, clock: FakeClock, kind: str) -> None:
    fake.answers[JWKS_URI] = lambda _: rubbish()[kind]
    assert status(api, fresh(fake, clock)) == 503


def test_164_one_unusable_key_in_the_set_is_left_out_and_the_others_are_used(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    fake.extra_keys = [None, 1, "x", {}, {"kty": "RSA", "kid": "a"}, {"kty": "EC", "crv": "P-999", "kid": "b"},
                       {"kty": "AKP", "kid": "c", "alg": "ML-DSA-65", "pub": "AAAA"}]  # fmt: skip
    assert status(api, fresh(fake, clock)) == 200


def test_167_a_key_that_is_gone_from_a_later_answer_never_verifies_again(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    old = fake.forge
    assert status(api, fresh(fake, clock)) == 200
    fake.rotate(keep=False)
    clock.advance(300)
    assert status(api, old.token(iat=clock.now, exp=clock.now + 600)) == 401
    fake.down = True
    clock.advance(300)
    assert status(api, old.token(iat=clock.now, exp=clock.now + 600)) != 200
    assert status(api, fresh(fake, clock)) == 200


def test_172_a_new_key_is_found_with_one_fetch(api: ResourceServer, fake: FakeIssuer, clock: FakeClock) -> None:
    old = fresh(fake, clock)
    assert status(api, old) == 200
    fake.rotate()
    assert status(api, fresh(fake, clock)) == 200
    assert status(api, old) == 200
    assert fake.fetches() == 2


def test_162_ten_thousand_unknown_names_in_ten_seconds_cause_at_most_two_fetches(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    good = fake.forge.token()
    assert status(api, good) == 200
    for n in range(10_000):
        assert status(api, fake.forge.with_header(kid=f"unknown-{n}")) == 401
        clock.advance(0.0009)
    assert fake.fetches() == 1 + 2
    assert status(api, good) == 200
    clock.advance(10)
    status(api, fake.forge.with_header(kid="unknown"))
    assert fake.fetches() == 1 + 3


def test_162_a_flood_while_the_keys_cannot_be_fetched_spends_the_same_budget_and_good_tokens_pass(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    good = fake.forge.token()
    assert status(api, good) == 200
    fake.down = True
    for n in range(1000):
        assert status(api, fake.forge.with_header(kid=f"unknown-{n}")) == 503
        assert status(api, good) == 200
    assert fake.fetches() <= 1 + 2


def bad_metadata() -> dict[str, Any]:
    elsewhere = [
        "https://evil.example/jwks", "http://issuer.example/jwks", "file:///etc/passwd", "http://[::1/jwks", "https://[x]/",
        "https://issuer.example\u2100/jwks", "https://issuer.example:port/jwks", "https://issuer.example@evil.example/",
        "https://issuer.example\\@evil.example/", "\thttps://issuer.example/jwks", "https://issuer.exam\nple/jwks", "", 1, None,
    ]  # fmt: skip
    return {
        "another issuer": {"issuer": ISSUER + "/", "jwks_uri": JWKS_URI}, "no issuer": {"jwks_uri": JWKS_URI},
        "no jwks_uri": {"issuer": ISSUER}, "a list": [],
        **{f"keys at {address!r}": {"issuer": ISSUER, "jwks_uri": address} for address in elsewhere},
    }  # fmt: skip


@pytest.mark.rfc("8414", "3.3")
@pytest.mark.parametrize("kind", list(bad_metadata()))
def test_161_170_171_bad_metadata_is_503_not_followed_and_not_kept(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock, kind: str
) -> None:
    good = fake.answers[METADATA]
    fake.answers[METADATA] = lambda _: ok(json.dumps(bad_metadata()[kind]).encode())
    assert status(api, fresh(fake, clock)) == 503
    assert {request.url for request in fake.requests} == {METADATA}
    fake.answers[METADATA] = good
    clock.advance(0.5)
    assert status(api, fresh(fake, clock)) == 200


def test_171_keys_that_moved_are_found_after_one_fetch_that_failed_and_refused_nobody(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    assert status(api, fresh(fake, clock)) == 200
    address = f"{ISSUER}/keys"
    fake.answers[address] = fake.answers.pop(JWKS_URI)
    fake.answers[JWKS_URI] = lambda _: Response(404, {}, b"")
    fake.answers[METADATA] = lambda _: ok({"issuer": ISSUER, "jwks_uri": address})
    clock.advance(300)
    assert status(api, fresh(fake, clock)) == 200
    assert fake.fetches(address) == 0
    clock.advance(0.5)
    assert status(api, fresh(fake, clock)) == 200
    assert fake.fetches(address) == 1
    assert api.health()["keys"]["state"] == "fresh"
    # What was said of another address ties nothing to this one.
    assert "If-None-Match" not in fake.requests[-1].headers


def test_171_refresh_keys_fetches_the_metadata_again(api: ResourceServer, fake: FakeIssuer, clock: FakeClock) -> None:
    api.refresh_keys()
    address = f"{ISSUER}/keys"
    fake.answers[address] = fake.answers[JWKS_URI]
    fake.answers[METADATA] = lambda _: ok({"issuer": ISSUER, "jwks_uri": address})
    api.refresh_keys()
    assert [request.url for request in fake.requests] == [METADATA, JWKS_URI, METADATA, address]


def test_171_bad_metadata_keeps_refresh_keys_from_no_removal_and_costs_no_good_key_later(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    stolen = fresh(fake, clock)
    assert status(api, stolen) == 200
    fake.rotate(keep=False)
    fake.answers[METADATA] = lambda _: ok({"issuer": ISSUER})
    api.refresh_keys()
    assert status(api, stolen) == 401
    for _ in range(6):
        clock.advance(3600)
        assert status(api, fresh(fake, clock)) == 200


def test_165_an_answer_that_confirms_what_was_not_asked_about_is_a_failed_fetch(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock, events: list[tuple[str, Any]]
) -> None:
    fake.etag = "not a tag"
    assert status(api, fresh(fake, clock)) == 200
    fake.answers[JWKS_URI] = lambda _: Response(304, {}, b"")
    clock.advance(300)
    assert status(api, fresh(fake, clock)) == 200
    assert "If-None-Match" not in fake.requests[-1].headers
    assert events[-1] == ("keys.refresh_failed", {"issuer": ISSUER, "reason": "status 304"})


def test_refresh_keys_fetches_now_and_says_when_it_cannot(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    api.refresh_keys()
    health = api.health()
    assert health["ready"] is True
    assert {name: health["keys"][name] for name in ("state", "age", "keys")} == {
        "state": "fresh",
        "age": 0.0,
        "keys": 1,
    }
    fake.down = True
    with pytest.raises(Unavailable):
        api.refresh_keys()
    assert status(api, fresh(fake, clock)) == 200


def test_the_wall_clock_may_step_without_making_keys_older(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    assert status(api, fresh(fake, clock)) == 200
    clock.step(86400)
    assert status(api, fresh(fake, clock)) == 200
    assert fake.fetches() == 1


@pytest.mark.parametrize(
    "options", [{"ttl": 0}, {"min_ttl": 0}, {"ttl": 1000}, {"stale_limit": 100}, {"stale_limit": 100000}, {"wait": 0}, {"back_off": 31}]
)  # fmt: skip
def test_a_policy_that_contradicts_itself_is_refused(options: dict[str, float], make_api: Callable[..., Any]) -> None:
    with pytest.raises(ValueError):
        make_api(keys=KeyPolicy(**options))
