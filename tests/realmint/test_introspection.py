"""When the issuer is asked, and what its answers mean."""

import base64
import logging
from collections.abc import Callable
from typing import Any

import pytest

from realmint import InsufficientScope, Introspection, InvalidToken, ResourceServer, Unavailable
from realmint.introspection_call import Said, read_answer
from realmint.transport import Response
from tests.support.clock import FakeClock
from tests.support.fake_issuer import INTROSPECT, ISSUER, JWKS_URI, METADATA, FakeIssuer, ok

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


def test_health_says_how_asking_goes_where_it_is_done(
    make_asking: Callable[..., ResourceServer], api: ResourceServer
) -> None:
    assert make_asking("rescue").health()["introspection"]["state"] == "closed"
    assert "introspection" not in api.health()


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


ANOTHER: list[tuple[str, Any]] = [
    (name, value) for name in ("iss", "jti", "sub", "client_id") for value in ("another", None, 1, "", ["svc"], True)
]


@pytest.mark.parametrize(("name", "value"), ANOTHER)
def test_173_175_an_answer_about_another_token_than_the_one_that_was_read_is_503_and_a_warning(
    make_asking: Callable[..., ResourceServer],
    fake: FakeIssuer,
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: Any,
) -> None:
    token = fake.forge.token()
    fake.active[token] = answer(fake, **{name: value})
    with pytest.raises(Unavailable) as refused:
        make_asking("live").validate(token)
    assert (refused.value.reason, refused.value.challenge) == ("introspection_mismatch", None)
    assert caplog.record_tuples == [
        ("realmint", logging.WARNING, f"introspection answered about another token: other {name}")
    ]
    with pytest.raises(Unavailable):
        make_asking("rescue").validate(token, live=True)


def test_175_an_answer_in_which_everything_is_anothers_shows_no_token_and_no_name_in_the_warning(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    token = fake.forge.token()
    fake.active[token] = {"iss": ISSUER, "jti": "their-jti", "sub": "them", "client_id": "them"}
    with pytest.raises(Unavailable):
        make_asking("live").validate(token)
    assert caplog.messages == ["introspection answered about another token: other jti, sub, client_id"]


@pytest.mark.parametrize(("name", "value"), ANOTHER)
@pytest.mark.parametrize("mode", ["rescue", "opaque", "live"])
def test_175_a_rescued_token_was_read_too_though_not_verified(
    make_asking: Callable[..., ResourceServer],
    fake: FakeIssuer,
    caplog: pytest.LogCaptureFixture,
    mode: str,
    name: str,
    value: Any,
) -> None:
    fake.answers[JWKS_URI] = lambda _: Response(500, {}, b"")
    api = make_asking(mode)
    token = fake.forge.token()
    fake.active[token] = answer(fake, **{name: value})
    with pytest.raises(Unavailable) as refused:
        api.validate(token)
    assert refused.value.reason == "introspection_mismatch"
    said = [message for message in caplog.messages if not message.startswith("the keys of")]
    assert said == [f"introspection answered about another token: other {name}"]
    fake.active[token] = answer(fake)
    assert api.validate(token).source == "introspection"


def test_175_a_claim_that_is_neither_in_the_token_nor_in_the_answer_ties_nothing(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer
) -> None:
    fake.answers[JWKS_URI] = lambda _: Response(500, {}, b"")
    token = fake.forge.token(jti=None)
    fake.active[token] = answer(fake, jti=None)
    with pytest.raises(Unavailable):
        make_asking("rescue").validate(token)


@pytest.mark.parametrize(
    ("token", "reason"),
    [("a" * 8193, "too_large"), ("a" * 10_000_000, "too_large"), ("\ud800", "malformed"), ("a\ud800", "malformed"),
     ("", "malformed"), (" ", "malformed"), ("a b", "malformed"), ("a\n", "malformed"), ("a\0", "malformed"),
     ("tökén", "malformed"), ("a=b", "malformed"), ("a,b", "malformed"), ("a&token=b", "malformed"), ("a%62", "malformed")],
)  # fmt: skip
def test_161_174_what_can_be_no_token_is_refused_before_anything_is_sent(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, token: str, reason: str
) -> None:
    for mode in ("opaque", "live"):
        with pytest.raises(InvalidToken) as refused:
            make_asking(mode).validate(token)
        assert refused.value.reason == reason
    assert fake.requests == []


def test_174_the_longest_token_is_asked_about(make_asking: Callable[..., ResourceServer], fake: FakeIssuer) -> None:
    longest = "a" * 8192
    fake.active[longest] = answer(fake)
    assert make_asking("opaque").validate(longest).source == "introspection"


def moved(fake: FakeIssuer, address: str) -> None:
    fake.answers[METADATA] = lambda _: ok({"issuer": ISSUER, "jwks_uri": JWKS_URI, "introspection_endpoint": address})
    fake.answers[address] = fake.answers.pop(INTROSPECT)
    fake.answers[INTROSPECT] = lambda _: Response(404, {}, b"{}")


def test_176_an_endpoint_that_moved_is_found_within_a_minute_and_the_metadata_is_asked_no_oftener(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    fake.active[OPAQUE] = answer(fake, exp=clock.now + 6000)
    api = make_asking("opaque")
    assert api.validate(OPAQUE)
    address = f"{ISSUER}/introspect2"
    moved(fake, address)
    for number in range(59):
        clock.advance(1)
        with pytest.raises(Unavailable):
            api.validate(f"{OPAQUE}-{number}")
    assert fake.fetches(METADATA) == 1
    clock.advance(1)
    with pytest.raises(Unavailable):
        api.validate(OPAQUE)
    assert api.validate(OPAQUE).source == "introspection"
    assert fake.fetches(METADATA) == 2


def test_176_metadata_without_the_endpoint_is_asked_for_again_with_pauses_and_the_keys_are_used_meanwhile(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    whole = fake.answers[METADATA]
    fake.answers[METADATA] = lambda _: ok({"issuer": ISSUER, "jwks_uri": JWKS_URI})
    fake.active[OPAQUE] = answer(fake, exp=clock.now + 6000)
    api = make_asking("opaque")
    for _ in range(1000):
        with pytest.raises(Unavailable) as refused:
            api.validate(OPAQUE)
        assert refused.value.retry_after >= 1
        clock.advance(0.1)
    assert fake.fetches(METADATA) <= 10
    assert api.validate(fake.forge.token()).source == "local"
    fake.answers[METADATA] = whole
    clock.advance(30)
    assert api.validate(OPAQUE).source == "introspection"


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


def test_what_an_answer_says_of_a_token_is_in_no_repr() -> None:
    came = Response(200, {}, b'{"active": true, "sub": "somebody"}')
    said = read_answer(came, 0)
    assert isinstance(said, Said)
    assert said.claims["sub"] == "somebody"
    assert "somebody" not in repr(came) + repr(said)


@pytest.mark.parametrize(
    "options",
    [{"client_id": ""}, {"client_secret": ""}, {"mode": "always"}, {"endpoint": "issuer.example/introspect"},
     {"stale_if_error": -1}, {"stale_if_error": 61}, {"stale_if_error": float("nan")}],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Introspection(**{"client_id": "a", "client_secret": "b", **options})


def test_an_endpoint_without_tls_is_refused_unless_that_was_allowed(make_api: Callable[..., ResourceServer]) -> None:
    settings = Introspection("a", "b", endpoint="http://issuer.internal/introspect")
    with pytest.raises(ValueError, match="introspection endpoint must be https"):
        make_api(introspection=settings)
    assert make_api(introspection=settings, allow_insecure_http=True)


def test_an_issuer_without_metadata_needs_an_endpoint_to_be_asked(make_api: Callable[..., ResourceServer]) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        make_api(introspection=Introspection("a", "b"), jwks_url=JWKS_URI)
    assert make_api(introspection=Introspection("a", "b", endpoint=INTROSPECT), jwks_url=JWKS_URI)
