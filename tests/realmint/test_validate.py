"""The whole decision about a token, through validate()."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import realmint
from realmint import InsufficientScope, InvalidToken, ResourceServer, TokenError
from tests.support.clock import FakeClock
from tests.support.fake_issuer import ISSUER, FakeIssuer
from tests.support.forge import Forge


def reason(api: ResourceServer, token: Any) -> str:
    with pytest.raises(InvalidToken) as refused:
        api.validate(token)
    assert refused.value.status == 401
    assert refused.value.challenge is not None
    assert refused.value.challenge.startswith('Bearer error="invalid_token"')
    return refused.value.reason


@pytest.mark.parametrize("alg", ["ES256", "RS256", "PS256", "ES384", "EdDSA"])
def test_a_good_token_is_accepted_in_every_algorithm(make_api: Callable[..., ResourceServer], alg: str) -> None:
    fake = FakeIssuer(alg)
    token = make_api(transport=fake).validate(fake.forge.token(), scope="orders:read")
    assert (token.client_id, token.subject, token.realm, token.issuer) == ("svc", "svc", "/", ISSUER)
    assert token.scopes == {"orders:read"}
    assert token.audience == ("https://orders.example",)
    assert token.expires_at == token.claims["exp"]
    assert token.source == "local"


def test_an_accepted_token_cannot_be_changed_and_shows_no_token_text(api: ResourceServer, fake: FakeIssuer) -> None:
    text = fake.forge.token()
    token = api.validate(text)
    with pytest.raises(TypeError):
        token.claims["scope"] = "admin"  # type: ignore[index]
    with pytest.raises(AttributeError):
        token.client_id = "other"  # type: ignore[misc]
    assert text not in repr(token)


def test_avalidate_decides_the_same(api: ResourceServer, fake: FakeIssuer) -> None:
    assert asyncio.run(api.avalidate(fake.forge.token())).client_id == "svc"


@pytest.mark.rfc("9068", "4")
@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"])
def test_140_the_type_of_an_access_token_is_accepted_in_its_spellings(
    api: ResourceServer, fake: FakeIssuer, typ: str
) -> None:
    assert api.validate(fake.forge.with_header(typ=typ))


@pytest.mark.parametrize(
    "typ", [None, "JWT", "dpop+jwt", "client-authentication+jwt", "secevent+jwt", "at+jwt ", "", 1]
)
def test_140_any_other_type_is_refused(api: ResourceServer, fake: FakeIssuer, typ: Any) -> None:
    assert reason(api, fake.forge.with_header(typ=typ)) in {"typ", "header"}


def test_143_a_key_is_found_by_its_name_and_in_no_other_way(api: ResourceServer, fake: FakeIssuer) -> None:
    for kid in (None, "unknown", "../../dev/null", "' OR 1=1--"):
        assert reason(api, fake.forge.with_header(kid=kid)) == "key_unknown"


def test_144_a_name_that_two_keys_share_is_refused_and_the_others_are_kept(
    make_api: Callable[..., ResourceServer], fake: FakeIssuer
) -> None:
    other = Forge()
    fake.extra_keys = [{**other.material.public_jwk, "kid": "twice"}, {**Forge().material.public_jwk, "kid": "twice"}]
    api = make_api()
    assert reason(api, other.token(header={**other.header, "kid": "twice"})) == "key_unknown"
    assert api.validate(fake.forge.token())


def test_145_a_key_of_another_issuer_does_not_verify_even_under_the_same_name(
    make_api: Callable[..., ResourceServer], fake: FakeIssuer
) -> None:
    foreign = Forge()
    header = {**foreign.header, "kid": fake.forge.material.kid}
    assert reason(make_api(), foreign.token(header=header)) == "signature"


CLAIMS: list[tuple[str, Any, str]] = [
    ("iss", ISSUER + "/", "issuer"), ("iss", [ISSUER], "claim_type"), ("iss", None, "claim_missing"),
    ("aud", "https://other.example", "audience"), ("aud", "https://orders.example/", "audience"), ("aud", "svc", "audience"),
    ("aud", None, "claim_missing"), ("aud", [], "claim_type"), ("aud", ["https://orders.example", 1], "claim_type"),
    ("exp", None, "claim_missing"), ("exp", 0, "expired"), ("exp", True, "claim_type"), ("exp", "1999999999", "claim_type"),
    ("exp", 1e30, "claim_type"), ("iat", None, "claim_missing"), ("iat", -5, "claim_type"), ("nbf", True, "claim_type"),
    ("sub", None, "claim_missing"), ("sub", 1, "claim_type"), ("sub", "", "claim_type"), ("sub", "x" * 1025, "claim_type"),
    ("sub", "a\0b", "claim_type"), ("client_id", None, "claim_missing"), ("client_id", [], "claim_type"),
    ("jti", None, "claim_missing"), ("jti", 7, "claim_type"), ("scope", ["orders:read"], "claim_type"),
    ("scope", {"a": 1}, "claim_type"), ("scope", 5, "claim_type"), ("realm", 5, "claim_type"),
    ("cnf", {"jkt": "x"}, "cnf"), ("cnf", {}, "cnf"), ("cnf", {"x5t#S256": "x"}, "cnf"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "expected"), CLAIMS)
def test_146_147_148_150_157_a_claim_that_is_not_right_is_refused(
    api: ResourceServer, fake: FakeIssuer, name: str, value: Any, expected: str
) -> None:
    assert reason(api, fake.forge.token(**{name: value})) == expected


def test_a_list_of_audiences_that_holds_ours_is_accepted(api: ResourceServer, fake: FakeIssuer) -> None:
    assert api.validate(fake.forge.token(aud=["https://a.example", "https://orders.example"]))


def test_197_the_leeway_is_thirty_seconds_either_way(api: ResourceServer, fake: FakeIssuer, clock: FakeClock) -> None:
    token = fake.forge.token()
    clock.step(600 + 29)
    assert api.validate(token)
    clock.step(1)
    assert reason(api, token) == "expired"
    clock.step(-600 - 30 - 30)
    assert api.validate(token)
    clock.step(-1)
    assert reason(api, token) == "not_yet_valid"


@pytest.mark.rfc("6750", "3.1")
def test_157_a_good_token_without_the_scope_is_403_and_the_challenge_names_what_is_needed(
    api: ResourceServer, fake: FakeIssuer
) -> None:
    with pytest.raises(InsufficientScope) as refused:
        api.validate(fake.forge.token(), scope="orders:read orders:write")
    assert refused.value.status == 403
    assert refused.value.challenge == (
        'Bearer error="insufficient_scope", error_description="The token lacks a required scope", '
        'scope="orders:read orders:write"'
    )
    with pytest.raises(InsufficientScope):
        api.validate(fake.forge.token(scope="readwrite"), scope="read")
    with pytest.raises(InsufficientScope):
        api.validate(fake.forge.token(scope=None), scope="read")


def test_a_bad_signature_is_refused_before_any_scope_is_looked_at(api: ResourceServer, fake: FakeIssuer) -> None:
    with pytest.raises(InvalidToken):
        api.validate(fake.forge.with_signature(bytes(64)), scope="admin")


def test_junk_causes_no_fetch(api: ResourceServer, fake: FakeIssuer, clock: FakeClock) -> None:
    forge = fake.forge
    for token in ("", "a.b.c", forge.token(iss="https://evil.example"), forge.token(aud="x"), forge.token(exp=1),
                  forge.with_header(typ="JWT"), forge.with_header(alg="HS256"), forge.with_header(kid=None)):  # fmt: skip
        with pytest.raises(InvalidToken):
            api.validate(token)
    assert fake.requests == []


@pytest.mark.parametrize(
    "options",
    [{"issuer": ""}, {"issuer": "http://issuer.example"}, {"issuer": ISSUER + "/"}, {"issuer": "file:///etc"},
     {"issuer": ISSUER + "?x"}, {"audience": ""}, {"audience": []}, {"audience": [""]}, {"algorithms": []},
     {"algorithms": ["HS256"]}, {"algorithms": ["none"]}, {"leeway": -1}, {"leeway": 301}],
)  # fmt: skip
def test_159_160_an_option_that_would_skip_a_check_ends_the_start(
    make_api: Callable[..., ResourceServer], options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError):
        make_api(**options)


def test_http_is_for_loopback_only(make_api: Callable[..., ResourceServer]) -> None:
    assert make_api(issuer="http://127.0.0.1:5000/oauth2/realms/root")
    assert make_api(issuer="http://[::1]:5000/oauth2/realms/root")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(token=st.one_of(st.text(), st.binary(), st.none(), st.integers(), st.lists(st.text())))
def test_161_any_value_in_gives_only_our_refusals_out(api: ResourceServer, token: Any) -> None:
    with pytest.raises(TokenError):
        api.validate(token)


def test_a_refusal_never_holds_the_token_or_another_exception(api: ResourceServer, fake: FakeIssuer) -> None:
    token = fake.forge.token(sub=1)
    with pytest.raises(InvalidToken) as refused:
        api.validate(token)
    assert refused.value.__cause__ is None
    shown = repr(refused.value) + str(refused.value) + str(refused.value.challenge)
    assert not any(part in shown for part in token.split("."))


def test_events_tell_of_refusals_by_reason_only(
    api: ResourceServer, fake: FakeIssuer, events: list[tuple[str, Any]]
) -> None:
    with pytest.raises(InvalidToken):
        api.validate(fake.forge.token(exp=1))
    assert events == [("token.denied", {"status": 401, "reason": "expired"})]


def test_many_threads_share_one_fetch(api: ResourceServer, fake: FakeIssuer) -> None:
    fake.gate = threading.Event()
    token = fake.forge.token()
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(api.validate(token).client_id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    fake.gate.set()
    for thread in threads:
        thread.join(10)
    assert results == ["svc"] * 8
    assert fake.fetches() == 1


def test_the_public_names_are_there() -> None:
    assert set(realmint.__all__) <= set(dir(realmint))
