"""Tokens that were verified are not verified twice, and what they rest on is looked at each time."""

from collections.abc import Callable
from typing import Any

import pytest

from realmint import Introspection, InvalidToken, ResourceServer, TokenCache
from realmint.protocol import jws
from tests.support.clock import FakeClock
from tests.support.fake_issuer import FakeIssuer
from tests.support.forge import START

Make = Callable[..., ResourceServer]


@pytest.fixture
def verified(make_api: Make) -> Callable[[ResourceServer], Callable[[str], bool]]:
    """Whether a token was verified anew: a token from the cache is the very object of before."""

    def of(api: ResourceServer) -> Callable[[str], bool]:
        seen: dict[int, Any] = {}

        def anew(token: str) -> bool:
            found = api.validate(token)
            known = id(found) in seen
            seen[id(found)] = found
            return not known

        return anew

    return of


def refused(api: ResourceServer, token: str) -> str:
    with pytest.raises(InvalidToken) as error:
        api.validate(token)
    return error.value.reason


def test_the_same_characters_are_verified_once(api: ResourceServer, fake: FakeIssuer, verified: Any) -> None:
    anew = verified(api)
    token, other = fake.forge.token(), fake.forge.token(jti="another-jti-of-28-characters")
    assert [anew(token), anew(token), anew(other), anew(other), anew(token)] == [True, False, True, False, False]


def test_d8_a_forged_token_with_the_jti_of_an_accepted_one_finds_nothing(api: ResourceServer, fake: FakeIssuer) -> None:
    token = fake.forge.token()
    assert api.validate(token)
    head, body, signature = token.split(".")
    assert refused(api, f"{head}.{body}.{'A' * len(signature)}") == "signature"
    assert refused(api, fake.forge.with_signature(bytes(64))) == "signature"


def test_d7_a_key_that_is_gone_takes_its_tokens_along_at_once(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    token = fake.forge.token()
    assert api.validate(token)
    fake.rotate(keep=False)
    assert api.validate(token)
    api.refresh_keys()
    assert refused(api, token) == "key_unknown"


def test_d7_a_key_that_stays_over_a_refresh_keeps_its_tokens(
    api: ResourceServer, fake: FakeIssuer, verified: Any
) -> None:
    anew, token = verified(api), fake.forge.token()
    assert anew(token)
    fake.rotate()
    api.refresh_keys()
    assert not anew(token)


def test_time_is_looked_at_each_time(api: ResourceServer, fake: FakeIssuer, clock: FakeClock) -> None:
    token = fake.forge.token()
    assert api.validate(token)
    clock.step(600 + 29)
    assert api.validate(token)
    clock.step(1)
    assert refused(api, token) == "expired"
    clock.step(-630 - 31)
    assert refused(api, token) == "not_yet_valid"


def test_scope_is_looked_at_each_time(api: ResourceServer, fake: FakeIssuer) -> None:
    token = fake.forge.token()
    assert api.validate(token, scope="orders:read")
    with pytest.raises(Exception, match="scope"):
        api.validate(token, scope="admin")


def test_a_token_is_kept_for_its_time_and_no_longer(
    make_api: Make, fake: FakeIssuer, clock: FakeClock, verified: Any
) -> None:
    anew, token = verified(make_api(token_cache=TokenCache(max_age=60))), fake.forge.token()
    assert anew(token)
    clock.advance(59)
    assert not anew(token)
    clock.advance(1)
    assert anew(token)


def test_there_may_be_none(make_api: Make, fake: FakeIssuer, verified: Any) -> None:
    anew, token = verified(make_api(token_cache=None)), fake.forge.token()
    assert [anew(token), anew(token)] == [True, True]


def test_failures_are_never_kept(api: ResourceServer, fake: FakeIssuer, clock: FakeClock) -> None:
    token = fake.forge.token(nbf=START + 31)
    assert refused(api, token) == "not_yet_valid"
    clock.step(1)
    assert api.validate(token)


def test_what_the_issuer_was_asked_about_is_asked_again(make_api: Make, fake: FakeIssuer) -> None:
    api = make_api(introspection=Introspection("orders", "secret", mode="rescue"))
    token = fake.forge.token()
    fake.active[token] = fake.forge.claims
    assert api.validate(token, live=True).source == "introspection"
    assert api.validate(token).source == "local"
    fake.active.clear()
    with pytest.raises(InvalidToken):
        api.validate(token, live=True)


def test_it_is_bounded_in_number_and_in_bytes(make_api: Make, fake: FakeIssuer, verified: Any) -> None:
    tokens = [fake.forge.token(jti=f"{number:028}") for number in range(12)]
    anew = verified(make_api(token_cache=TokenCache(size=10)))
    assert all(anew(token) for token in tokens)
    assert [anew(token) for token in tokens[2:]] == [False] * 10
    assert anew(tokens[0])
    few = verified(make_api(token_cache=TokenCache(max_bytes=10_000)))
    assert all(few(token) for token in tokens)
    assert few(tokens[0])
    assert not few(tokens[-1])


@pytest.mark.parametrize("options", [{"size": 0}, {"max_bytes": 1}, {"max_age": 0}, {"max_age": 86401}])
def test_settings_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="TokenCache"):
        TokenCache(**options)


def test_a_cached_token_costs_no_signature(api: ResourceServer, fake: FakeIssuer) -> None:
    token = fake.forge.token()
    first = api.validate(token)
    assert jws.peek(token).claims["jti"] == first.jti
    assert api.validate(token) is first
