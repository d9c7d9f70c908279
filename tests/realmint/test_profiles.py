"""What is forgiven is named; several issuers each by a rule of their own."""

import logging
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from realmint import Introspection, InvalidToken, IssuerRule, Legacy, ResourceServer, Unavailable
from realmint.messages import Response
from tests.support.clock import FakeClock
from tests.support.fake_issuer import ISSUER, JWKS_URI, FakeIssuer, ok
from tests.support.forge import START, Forge

Make = Callable[..., ResourceServer]
FORGIVEN: dict[str, tuple[Callable[[Forge], str], str]] = {
    "allow_typ_jwt": (lambda forge: forge.with_header(typ="JWT"), "typ"),
    "allow_missing_kid": (lambda forge: forge.with_header(kid=None), "key_unknown"),
    "allow_missing_client_id": (lambda forge: forge.token(client_id=None, azp="svc"), "claim_missing"),
    "allow_missing_sub": (lambda forge: forge.token(sub=None), "claim_missing"),
    "allow_missing_jti": (lambda forge: forge.token(jti=None), "claim_missing"),
    "allow_missing_iat": (lambda forge: forge.token(iat=None), "claim_missing"),
    "allow_scope_list": (lambda forge: forge.token(scope=["orders:read"]), "claim_type"),
}


def reason(api: ResourceServer, token: str) -> str | None:
    try:
        api.validate(token, scope="orders:read")
    except InvalidToken as refused:
        return refused.reason
    return None


@pytest.mark.parametrize("switch", list(FORGIVEN))
def test_140_143_150_each_switch_forgives_what_it_names_and_nothing_else(
    make_api: Make, fake: FakeIssuer, switch: str
) -> None:
    for name, (make, expected) in FORGIVEN.items():
        api = make_api(profile=Legacy(**{switch: True}))
        assert reason(api, make(fake.forge)) == (None if name == switch else expected), name
        assert api.validate(fake.forge.token()).client_id == "svc"


def test_what_is_forgiven_has_sensible_values(make_api: Make, fake: FakeIssuer) -> None:
    api = make_api(profile=Legacy(**{field.name: True for field in fields(Legacy)}))
    token = api.validate(fake.forge.token(client_id=None, jti=None, iat=None, scope=["a", "b"]))
    assert (token.client_id, token.jti, token.scopes) == ("svc", "", {"a", "b"})
    assert api.validate(fake.forge.token(sub=None)).subject == "svc"
    assert reason(api, fake.forge.token(sub=None, client_id=None)) == "claim_missing"
    assert reason(api, fake.forge.token(aud=None)) == "claim_missing", "a token always says for whom it is"
    assert reason(api, fake.forge.with_header(typ="dpop+jwt")) == "typ"
    assert reason(api, fake.forge.with_header(typ=None)) is None


def test_143_without_a_name_only_keys_of_the_algorithm_are_tried(make_api: Make, fake: FakeIssuer) -> None:
    api = make_api(profile=Legacy(allow_missing_kid=True))
    foreign = Forge()
    header = {"alg": "ES256", "typ": "at+jwt"}
    assert reason(api, foreign.token(header=header)) == "signature"
    fake.rotate()
    api.refresh_keys()
    old = fake.published[1]
    assert reason(api, old.token(header=header)) is None


def test_what_is_forgiven_is_logged_at_the_start(make_api: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "realmint"):
        make_api(profile=Legacy(allow_typ_jwt=True, allow_missing_jti=True))
        make_api(profile=Legacy())
    assert caplog.messages == [f"tokens of {ISSUER}: forgiven is allow_typ_jwt, allow_missing_jti"]


def test_an_answer_without_an_audience_is_forgiven_by_name(make_api: Make, fake: FakeIssuer) -> None:
    said = {name: value for name, value in fake.forge.claims.items() if name != "aud"}
    fake.active["rmt_0123456789"] = said
    asked = Introspection("orders", "secret", mode="opaque")
    assert reason(make_api(introspection=asked), "rmt_0123456789") == "claim_missing"
    forgiving = make_api(introspection=asked, profile=Legacy(allow_missing_audience=True))
    assert reason(forgiving, "rmt_0123456789") is None
    fake.active["rmt_0123456789"] = {**said, "aud": "https://other.example"}
    fake.active["rmt_9876543210"] = {**said, "aud": "https://other.example"}
    assert reason(forgiving, "rmt_9876543210") == "audience"


def test_strict_survives_an_outage_for_a_quarter_of_an_hour(make_api: Make, fake: FakeIssuer, clock: FakeClock) -> None:
    api = make_api(profile="strict")
    assert api.validate(fake.forge.token())
    fake.down = True
    clock.advance(899)
    assert api.validate(fake.forge.token(exp=START + 5000))
    clock.advance(1)
    with pytest.raises(Unavailable):
        api.validate(fake.forge.token(exp=START + 5000))


OTHER = "https://other.example"


@pytest.fixture
def two(make_api: Make, fake: FakeIssuer) -> tuple[ResourceServer, Forge]:
    """An API of two issuers, and who signs for the second."""
    forge = Forge(issuer=OTHER)
    fake.answers[f"{OTHER}/.well-known/oauth-authorization-server"] = lambda _: ok(
        {"issuer": OTHER, "jwks_uri": f"{OTHER}/keys"}
    )
    fake.answers[f"{OTHER}/keys"] = lambda _: ok({"keys": [dict(forge.material.public_jwk)]})
    rules = [IssuerRule(ISSUER, "https://orders.example"), IssuerRule(OTHER, "https://orders.other.example")]
    return make_api(issuer=None, audience=None, issuers=rules), forge


def test_167_an_issuer_that_is_down_keeps_no_removal_of_another_from_being_heard_of(
    two: tuple[ResourceServer, Forge], fake: FakeIssuer
) -> None:
    api, other = two
    stolen = other.token(aud="https://orders.other.example")
    assert reason(api, stolen) is None
    fake.answers[f"{OTHER}/keys"] = lambda _: ok({"keys": [dict(Forge().material.public_jwk)]})
    fake.answers[JWKS_URI] = lambda _: Response(503, {}, b"")
    with pytest.raises(Unavailable):
        api.refresh_keys()
    assert reason(api, stolen) == "key_unknown"


def test_145_each_issuer_has_its_own_keys_and_audience(two: tuple[ResourceServer, Forge], fake: FakeIssuer) -> None:
    api, other = two
    assert api.validate(fake.forge.token()).issuer == ISSUER
    assert api.validate(other.token(aud="https://orders.other.example")).issuer == OTHER
    assert reason(api, other.token()) == "audience"
    assert reason(api, fake.forge.token(aud="https://orders.other.example")) == "audience"
    assert reason(api, fake.forge.token(iss=OTHER, aud="https://orders.other.example")) == "key_unknown"
    header = {**fake.forge.header, "kid": other.material.kid}
    claims = {**other.claims, "aud": "https://orders.other.example"}
    assert reason(api, fake.forge.token(header=header, claims=claims)) == "signature"
    assert reason(api, fake.forge.token(iss="https://third.example")) == "issuer"
    assert set(api.health()["issuers"]) == {ISSUER, OTHER}
    assert api.issuers == (ISSUER, OTHER)


def test_one_issuer_that_is_down_stops_nobody_of_the_other(two: tuple[ResourceServer, Forge], fake: FakeIssuer) -> None:
    api, other = two
    del fake.answers[f"{OTHER}/keys"]
    with pytest.raises(Unavailable):
        api.validate(other.token(aud="https://orders.other.example"))
    assert api.validate(fake.forge.token())
    assert api.health()["ready"] is False


ASKS = Introspection("a", "b", mode="opaque")


@pytest.mark.parametrize(
    ("options", "names"),
    [({"issuer": None}, "issuer"), ({"audience": None}, "audience"), ({"issuers": []}, "issuers"),
     ({"issuers": [IssuerRule(ISSUER, "x")]}, "in place of issuer"), ({"profile": "lax"}, "'lax'"), ({"leeway": 1.5}, "1.5"),
     ({"leeway": True}, "leeway"), ({"algorithms": ["HS256"]}, "HS256"), ({"audience": [""]}, "audience"),
     ({"issuer": "http://issuer.example"}, "http://issuer.example"), ({"reach_at": "https://x.example/path"}, "reach_at"),
     ({"reach_at": "http://x.example"}, "http://x.example"), ({"jwks_url": "http://x.example/k"}, "jwks_url"),
     ({"jwks_url": "https://x.example/k", "introspection": ASKS}, "endpoint="),
     ({"issuer": None, "audience": None, "issuers": [IssuerRule(ISSUER, "x"), IssuerRule(ISSUER, "y")]}, "twice"),
     ({"issuer": None, "audience": None, "issuers": [IssuerRule(ISSUER, "x", introspection=ASKS), IssuerRule(OTHER, "y", introspection=ASKS)]}, "opaque or live")],
)  # fmt: skip
def test_159_160_an_option_that_is_wrong_is_named(make_api: Make, options: dict[str, Any], names: str) -> None:
    with pytest.raises(ValueError) as refused:
        make_api(**options)
    assert names in str(refused.value)


def test_an_issuer_is_reached_where_it_is_and_compared_by_its_name(make_api: Make, fake: FakeIssuer) -> None:
    inside = {
        url.replace("https://issuer.example", "http://issuer.internal:5000"): answer
        for url, answer in fake.answers.items()
    }
    fake.answers = inside
    with pytest.raises(ValueError):
        make_api(reach_at="http://issuer.internal:5000")
    api = make_api(
        reach_at="http://issuer.internal:5000", allow_insecure_http=True, introspection=Introspection("a", "b")
    )
    fake.revoke(7)
    assert api.validate(fake.status_token(5)).issuer == ISSUER
    assert reason(api, fake.status_token(7)) == "revoked"
    fake.active[fake.forge.token()] = fake.forge.claims
    assert {request.url.partition("/oauth2")[0] for request in fake.requests} == {
        "http://issuer.internal:5000", "http://issuer.internal:5000/.well-known/oauth-authorization-server",
    }  # fmt: skip
    assert all(request.insecure for request in fake.requests)


def test_an_issuer_without_metadata_has_its_keys_where_it_was_said(make_api: Make, fake: FakeIssuer) -> None:
    fake.answers = {"https://keys.example/jwks": fake.answers[f"{ISSUER}/connect/jwk_uri"]}
    api = make_api(jwks_url="https://keys.example/jwks")
    assert api.validate(fake.forge.token())
    api.refresh_keys()
    assert {request.url for request in fake.requests} == {"https://keys.example/jwks"}


@pytest.mark.parametrize("mode", ["rescue", "live"])
def test_an_answer_that_lacks_what_is_forgiven_is_still_about_the_token_that_was_asked_about(
    make_api: Make, fake: FakeIssuer, mode: Any
) -> None:
    forgiven = Legacy(allow_missing_jti=True, allow_missing_audience=True)
    api = make_api(introspection=Introspection("orders", "secret", mode=mode), profile=forgiven)
    for changes in ({}, {"jti": None}):
        token = fake.forge.token(**changes)
        said = {name: value for name, value in fake.forge.claims.items() if name not in ("aud", "jti")}
        fake.active[token] = said
        assert api.validate(token, live=True).source == "introspection"
        for other in (
            {"sub": "another"},
            {"client_id": "another"},
            {"jti": "another"},
            {"client_id": None},
            {"jti": None},
        ):
            fake.active[token] = said | other
            with pytest.raises(Unavailable) as refused:
                api.validate(token, live=True)
            assert refused.value.reason == "introspection_mismatch"
