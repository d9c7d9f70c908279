"""When the issuer is asked, and what its answers mean."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from realmint import InsufficientScope, Introspection, InvalidToken, ResourceServer, Unavailable
from realmint.transport import Response
from tests.support.clock import FakeClock
from tests.support.fake_issuer import INTROSPECT, JWKS_URI, FakeIssuer, ok

OPAQUE = "rmt_0123456789"


@pytest.fixture
def make_asking(make_api: Callable[..., ResourceServer]) -> Callable[..., ResourceServer]:
    return lambda mode: make_api(introspection=Introspection("orders api", "s+cr:t", mode=mode))


def answer(fake: FakeIssuer, **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**fake.forge.claims, **changes}.items() if value is not None}


def test_opaque_asks_about_a_token_that_is_no_jwt_and_about_no_other(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer
) -> None:
    api = make_asking("opaque")
    fake.active[OPAQUE] = answer(fake)
    token = api.validate(OPAQUE, scope="orders:read")
    assert (token.client_id, token.source) == ("svc", "introspection")
    assert api.validate(fake.forge.token()).source == "local"
    assert fake.fetches(INTROSPECT) == 1


def test_rescue_asks_only_when_the_keys_cannot_be_fetched(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    api = make_asking("rescue")
    token = fake.forge.token()
    fake.active[token] = answer(fake)
    assert api.validate(token).source == "local"
    with pytest.raises(InvalidToken):
        api.validate(OPAQUE)
    assert fake.fetches(INTROSPECT) == 0
    fake.answers[JWKS_URI] = lambda _: Response(500, {}, b"")
    clock.advance(20000)
    late = fake.forge.token(iat=clock.now, nbf=clock.now, exp=clock.now + 600)
    fake.active[late] = answer(fake, exp=clock.now + 600, iat=clock.now, nbf=clock.now)
    assert api.validate(late).source == "introspection"


def test_live_asks_about_every_token_that_passed_the_local_checks(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer
) -> None:
    api = make_asking("live")
    token = fake.forge.token()
    with pytest.raises(InvalidToken) as refused:
        api.validate(token)
    assert refused.value.reason == "inactive"
    fake.active[token] = answer(fake)
    assert api.validate(token).source == "introspection"


def test_one_call_can_be_live(
    make_asking: Callable[..., ResourceServer], api: ResourceServer, fake: FakeIssuer
) -> None:
    with pytest.raises(InvalidToken, match="not active"):
        make_asking("rescue").validate(fake.forge.token(), live=True)
    with pytest.raises(ValueError):
        api.validate(fake.forge.token(), live=True)


@pytest.mark.parametrize("mode", ["rescue", "opaque", "live"])
def test_177_a_token_that_is_bad_locally_is_never_sent_on(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, mode: str
) -> None:
    api = make_asking(mode)
    for token in (fake.forge.with_signature(bytes(64)), fake.forge.token(exp=1), fake.forge.token(aud="x"),
                  fake.forge.with_header(alg="HS256"), fake.forge.with_header(kid="unknown")):  # fmt: skip
        fake.active[token] = answer(fake)
        with pytest.raises(InvalidToken):
            api.validate(token)
    assert fake.fetches(INTROSPECT) == 0


@pytest.mark.parametrize(
    "document",
    [
        {"active": "true"},
        {"active": 1},
        {"active": None},
        {},
        [],
        {"error": "x"},
        b"<html></html>",
        b"",
        b'{"active":true',
    ],
)
def test_175_an_answer_that_is_no_answer_is_503(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, document: Any
) -> None:
    fake.answers[INTROSPECT] = lambda _: ok(document)
    with pytest.raises(Unavailable):
        make_asking("opaque").validate(OPAQUE)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 429, 500, 503, 302])
def test_178_any_status_but_200_is_503_also_when_our_own_credentials_are_refused(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, code: int
) -> None:
    fake.answers[INTROSPECT] = lambda _: Response(code, {}, b'{"active":true}')
    with pytest.raises(Unavailable):
        make_asking("opaque").validate(OPAQUE)


def test_174_an_issuer_that_is_down_is_503_for_an_opaque_token(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer
) -> None:
    fake.down = True
    with pytest.raises(Unavailable):
        make_asking("opaque").validate(OPAQUE)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"iss": "https://other.example"}, "issuer"), ({"aud": "https://other.example"}, "audience"), ({"aud": None}, "claim_missing"),
     ({"exp": 1}, "expired"), ({"exp": None}, "claim_missing"), ({"nbf": 1_795_400_031}, "not_yet_valid"),
     ({"cnf": {"jkt": "x"}}, "cnf"), ({"scope": ["orders:read"]}, "claim_type"), ({"client_id": None}, "claim_missing")],
)  # fmt: skip
def test_175_an_active_answer_passes_the_checks_a_jwt_passes(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, changes: dict[str, Any], reason: str
) -> None:
    fake.active[OPAQUE] = answer(fake, **changes)
    with pytest.raises(InvalidToken) as refused:
        make_asking("opaque").validate(OPAQUE)
    assert refused.value.reason == reason


@pytest.mark.parametrize("member", ["jti", "client_id", "sub", "iss"])
@pytest.mark.parametrize("value", ["another", None, 1])
@pytest.mark.parametrize("mode", ["live", "rescue"])
def test_175_an_answer_about_another_token_is_503_and_a_warning(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock, caplog: pytest.LogCaptureFixture,
    mode: str, member: str, value: Any,
) -> None:  # fmt: skip
    api = make_asking(mode)
    token = fake.forge.token()
    fake.active[token] = answer(fake)
    if mode == "rescue":  # what is read of the token counts, though nobody could verify it
        fake.answers[JWKS_URI] = lambda _: Response(500, {}, b"")
    assert api.validate(token).source == "introspection"
    fake.active[token] = answer(fake, **{member: value})
    clock.advance(1)
    with pytest.raises(Unavailable) as refused:
        api.validate(token)
    assert refused.value.reason == "introspection_mismatch"
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert (warning.name, "another token" in warning.getMessage()) == ("realmint", True)
    assert token not in warning.getMessage()
    assert fake.forge.claims["jti"] not in warning.getMessage()


@pytest.mark.parametrize(
    "token", ["a\ud800", "é", "a b", "a\nb", "a,b", "", "=", "a=b", "a" * 8193, "a" * 10_000_000, "\x00"]
)
def test_161_what_cannot_be_a_token_is_refused_and_never_sent(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, token: str
) -> None:
    with pytest.raises(InvalidToken) as refused:
        make_asking("opaque").validate(token)
    assert refused.value.reason == ("too_large" if len(token) > 8192 else "malformed")
    assert fake.requests == []


def test_scope_is_checked_on_introspected_tokens_too(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer
) -> None:
    fake.active[OPAQUE] = answer(fake)
    with pytest.raises(InsufficientScope):
        make_asking("opaque").validate(OPAQUE, scope="admin")


@pytest.mark.rfc("6749", "2.3.1")
def test_credentials_are_form_encoded_first_and_shown_nowhere(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer
) -> None:
    with pytest.raises(InvalidToken):
        make_asking("opaque").validate(OPAQUE)
    sent = fake.requests[-1]
    assert base64.b64decode(sent.headers["Authorization"].removeprefix("Basic ")) == b"orders+api:s%2Bcr%3At"
    assert sent.body == b"token=rmt_0123456789&token_type_hint=access_token"
    assert "s+cr" not in repr(Introspection("a", "s+cr:t")) + repr(sent)


@pytest.mark.parametrize(
    "options",
    [{"client_id": ""}, {"client_secret": ""}, {"mode": "always"}, {"endpoint": "http://issuer.example/introspect"}],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Introspection(**{"client_id": "a", "client_secret": "b", **options})
