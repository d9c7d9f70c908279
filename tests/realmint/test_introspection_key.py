"""An API that shows the introspection endpoint a key of its own, or somebody else's assertion, and no secret."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from realmint import ClientKey, Introspection, ResourceServer, Unavailable
from realmint.introspection_credentials import shown
from realmint.messages import Request
from realmint.protocol import jws
from realmint.testing import FakeIssuer
from realmint.testing.assertions import KeyClient
from tests.support.asking import AUDIENCE, CLIENT, KEY, asking, form, reason, sent
from tests.support.client_keys import ALGORITHMS, MADE, another, pem

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
def issuer() -> FakeIssuer:
    return FakeIssuer()


@pytest.fixture
def client(issuer: FakeIssuer) -> KeyClient:
    return issuer.demand_key(CLIENT, KEY.public_jwk)


@pytest.fixture
def make_asking(issuer: FakeIssuer) -> Callable[..., ResourceServer]:
    return partial(asking, issuer)


def jti(request: Request) -> Any:
    return jws.peek(form(request)["client_assertion"][0]).claims["jti"]


@pytest.mark.rfc("7523", "2.2")
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_62_a_key_of_every_kind_is_taken_by_an_issuer_that_demands_one(issuer: FakeIssuer, alg: str) -> None:
    key = ClientKey(pem(MADE[alg]), alg=alg)
    demanded = issuer.demand_key(CLIENT, key.public_jwk)
    api = issuer.resource_server(AUDIENCE, introspection=Introspection(CLIENT, client_key=key, mode="live"))
    token = issuer.issue(audience=AUDIENCE)
    assert api.validate(token).source == "introspection"
    assert demanded.refused == []
    (request,) = sent(issuer)
    assert not [name for name in request.headers if name.lower() == "authorization"]
    said = form(request)
    assertion = said.pop("client_assertion")
    assert said == {
        "token": [token], "token_type_hint": ["access_token"], "client_id": [CLIENT], "client_assertion_type": [TYPE]
    }  # fmt: skip
    read = jws.peek(assertion[0])
    now = issuer.clock.wall()
    claims = {name: value for name, value in read.claims.items() if name != "jti"}
    assert claims == {"iss": CLIENT, "sub": CLIENT, "aud": issuer.issuer, "iat": now, "exp": now + 60}


def test_70_every_request_has_an_assertion_of_its_own_also_after_a_failure(
    issuer: FakeIssuer, client: KeyClient, make_asking: Callable[..., ResourceServer]
) -> None:
    api = make_asking()
    token = issuer.issue(audience=AUDIENCE)
    for number in range(20):
        if number == 10:
            issuer.introspection.fail()
            assert reason(api, token) == "introspection_failed"
            issuer.introspection.mend()
        assert api.validate(token).source == "introspection"
    every = [jti(request) for request in sent(issuer)]
    assert len(set(every)) == len(every) == 21
    assert client.refused == []


def test_70_an_event_loop_sends_one_for_every_request_too(
    issuer: FakeIssuer, client: KeyClient, make_asking: Callable[..., ResourceServer]
) -> None:
    api = make_asking()
    tokens = [issuer.issue(audience=AUDIENCE) for _ in range(10)]

    async def run() -> list[str]:
        return [(await api.avalidate(token)).source for token in tokens]

    assert asyncio.run(run()) == ["introspection"] * 10
    assert len({jti(request) for request in sent(issuer)}) == 10
    assert client.refused == []


def test_63_the_audience_is_the_issuer_s_name_wherever_it_is_reached(issuer: FakeIssuer, client: KeyClient) -> None:
    api = issuer.resource_server(
        AUDIENCE, introspection=Introspection(CLIENT, client_key=KEY, mode="live"), reach_at="https://issuer.internal:8443"
    )  # fmt: skip
    assert api.validate(issuer.issue(audience=AUDIENCE)).source == "introspection"
    (request,) = sent(issuer)
    assert request.url.startswith("https://issuer.internal:8443/")
    assert jws.peek(form(request)["client_assertion"][0]).claims["aud"] == issuer.issuer
    assert client.refused == []


def test_67_the_time_is_the_clock_s_at_the_moment_of_the_request(
    issuer: FakeIssuer, client: KeyClient, make_asking: Callable[..., ResourceServer]
) -> None:
    api = make_asking()
    for _ in range(3):
        issuer.clock.advance(3600)
        assert api.validate(issuer.issue(audience=AUDIENCE))
    assert client.refused == []


@pytest.mark.parametrize("ahead", [-61, -60, -59, 240, 241])
def test_67_a_clock_that_is_apart_is_503_and_a_warning(
    issuer: FakeIssuer, client: KeyClient, caplog: pytest.LogCaptureFixture, ahead: int
) -> None:
    api = issuer.resource_server(
        AUDIENCE, introspection=Introspection(CLIENT, client_key=KEY, mode="opaque"),
        clock=lambda: issuer.clock.wall() + ahead,
    )  # fmt: skip
    now = issuer.clock.wall()
    token = issuer.issue_opaque(audience=AUDIENCE, iat=now - 600, nbf=now - 600)
    if -60 < ahead <= 240:
        assert api.validate(token).source == "introspection"
        return
    assert reason(api, token) == "introspection_credentials"
    assert client.refused == ["exp"]
    assert "refuses this API's own credentials (status 401)" in caplog.text
    assert "until client_id and client_key of Introspection(...) are those of a live client" in caplog.text


@pytest.mark.parametrize(
    ("shows", "why"),
    [
        ({"client_secret": "a secret"}, "several methods"),
        ({"client_key": ClientKey(pem(another("ES256")))}, "header"),
        ({"client_key": ClientKey(pem(another("ES256")), kid=KEY.kid)}, "signature"),
        ({"client_key": ClientKey(pem(MADE["EdDSA"]), kid=KEY.kid)}, "alg"),
        ({"client_assertion": lambda: KEY.assertion(CLIENT, "https://other.example", 1_795_400_000)}, "aud"),
        ({"client_assertion": lambda: KEY.assertion("another", FakeIssuer().issuer, 1_795_400_000)}, "iss"),
        ({"client_assertion": lambda: "e30.e30.AAAA"}, "alg"),
    ],
)
def test_178_what_the_issuer_does_not_take_is_503_and_never_the_caller_s_fault(
    issuer: FakeIssuer, client: KeyClient, make_asking: Callable[..., ResourceServer], shows: dict[str, Any], why: str
) -> None:
    api = make_asking(**shows)
    with pytest.raises(Unavailable) as refused:
        api.validate(issuer.issue(audience=AUDIENCE))
    assert (refused.value.reason, refused.value.status, refused.value.challenge) == (
        "introspection_credentials",
        503,
        None,
    )
    assert client.refused == [why]


def test_70_an_assertion_that_comes_twice_is_taken_once(
    issuer: FakeIssuer, client: KeyClient, make_asking: Callable[..., ResourceServer]
) -> None:
    once = KEY.assertion(CLIENT, issuer.issuer, issuer.clock.wall())
    api = make_asking(client_assertion=lambda: once)
    assert api.validate(issuer.issue(audience=AUDIENCE)).source == "introspection"
    assert reason(api, issuer.issue(audience=AUDIENCE)) == "introspection_credentials"
    assert client.refused == ["jti"]


class Elsewhere:
    """A key that is in no memory of ours."""

    def assertion(self, client_id: str, audience: str, now: int) -> str:
        return KEY.assertion(client_id, audience, now)


def test_a_key_may_be_anywhere_that_makes_assertions(
    issuer: FakeIssuer, client: KeyClient, make_asking: Callable[..., ResourceServer]
) -> None:
    assert make_asking(client_key=Elsewhere()).validate(issuer.issue(audience=AUDIENCE)).source == "introspection"


def test_nothing_of_an_assertion_is_in_an_event_an_exception_a_log_line_or_a_repr(
    issuer: FakeIssuer, client: KeyClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    events: list[Any] = []
    settings = Introspection(CLIENT, client_key=KEY, mode="live")
    api = issuer.resource_server(
        AUDIENCE, introspection=settings, on_event=lambda name, fields: events.append((name, dict(fields)))
    )
    said = [repr(settings), repr(shown(settings, issuer.issuer, 0))]
    token = issuer.issue(audience=AUDIENCE)
    assert api.validate(token)
    for status in (400, 401, 500, 503):
        issuer.introspection.fail(status)
        with pytest.raises(Unavailable) as refused:
            api.validate(token)
        said += [repr(refused.value), str(refused.value), repr(refused.value.__cause__), repr(refused.value.challenge)]
    issuer.down()
    assert reason(api, token) == "introspection_unreachable"
    said += [repr(events), caplog.text, repr(sent(issuer)), repr(api.health())]
    assert len(sent(issuer)) == 6
    for request in sent(issuer):
        for part in form(request)["client_assertion"][0].split(".")[1:]:
            assert part not in "".join(said)
    assert {fields["credential"] for name, fields in events if name == "introspection.failed"} == {"client_key"}


def test_on_loopback_it_is_the_same() -> None:
    with FakeIssuer.serving() as issuer:
        demanded = issuer.demand_key(CLIENT, KEY.public_jwk)
        api = issuer.resource_server(AUDIENCE, introspection=Introspection(CLIENT, client_key=KEY, mode="live"))
        token = issuer.issue(audience=AUDIENCE)
        for _ in range(3):
            assert api.validate(token).source == "introspection"
        assert demanded.refused == []
        assert api.check().good
        api.close()


def test_an_issuer_that_demands_a_key_answers_nobody_without() -> None:
    issuer = FakeIssuer()
    api = issuer.resource_server(AUDIENCE, introspection=Introspection(CLIENT, "a secret", mode="live"))
    token = issuer.issue(audience=AUDIENCE)
    assert api.validate(token)
    demanded = issuer.demand_key(CLIENT, KEY.public_jwk)
    assert reason(api, token) == "introspection_credentials"
    assert demanded.refused == ["several methods"]
    with pytest.raises(ValueError, match="public key with a kid"):
        issuer.demand_key(CLIENT, {"kty": "oct", "k": "c2VjcmV0"})
