"""What an API's own tests get: hostile requests that find a naive guard, and an issuer that does what it is told."""

from contextlib import ExitStack
from typing import Any

import flask
import jwt
import pytest

from realmint import (
    ClientCertificates,
    DPoPPolicy,
    Introspection,
    InvalidToken,
    ResourceServer,
    TokenError,
    Unavailable,
)
from realmint.flask import Guard
from realmint.protocol import jws
from realmint.testing import FakeIssuer, as_caller, assert_guarded, hostile_tokens
from tests.support.doors import SITES, site

AUDIENCE = "https://orders.example"


@pytest.fixture
def issuer() -> FakeIssuer:
    return FakeIssuer()


@pytest.fixture
def api(issuer: FakeIssuer) -> ResourceServer:
    return issuer.resource_server(AUDIENCE)


def guarded_app(api: ResourceServer) -> flask.Flask:
    app = flask.Flask("orders")
    guard = Guard(api)
    guard.init_app(app)

    @app.get("/orders")
    @guard.require("orders:read")
    def orders() -> Any:
        return {"client": guard.token.client_id}

    return app


def naive_app(issuer: FakeIssuer) -> flask.Flask:
    """The three lines that stand in many a tutorial."""
    app = flask.Flask("naive")

    @app.get("/orders")
    def orders() -> Any:
        token = flask.request.headers.get("Authorization", "").removeprefix("Bearer ")
        key = next(key for key in issuer.keys if key.kid == jwt.get_unverified_header(token)["kid"])
        said = jwt.decode(token, jwt.PyJWK(dict(key.jwk)), algorithms=["ES256"], audience=AUDIENCE)
        return {"client": said["sub"]}

    return app


@pytest.mark.parametrize("alg", ["ES256", "RS256", "EdDSA"])
def test_no_hostile_request_gets_past_the_guard(alg: str) -> None:
    issuer = FakeIssuer(alg=alg)
    app = guarded_app(issuer.resource_server(AUDIENCE))
    fired = assert_guarded(app.test_client(), "GET /orders", issuer=issuer, audience=AUDIENCE, scope="orders:read")
    assert fired >= 60


BOUND: dict[str, dict[str, Any]] = {
    "dpop": {"dpop": DPoPPolicy},
    "required": {"dpop": lambda: DPoPPolicy(required=True)},
    "certificates": {"certificates": ClientCertificates},
    "both, behind a proxy": {
        "dpop": DPoPPolicy,
        "certificates": lambda: ClientCertificates(["127.0.0.0/8"], "Client-Cert", "rfc9440"),
    },
    "asked": {"dpop": DPoPPolicy, "introspection": lambda: Introspection("orders", "secret", mode="live")},
}


@pytest.mark.parametrize("adapter", sorted(SITES))
@pytest.mark.parametrize("options", BOUND)
def test_92_101_102_103_105_no_hostile_request_gets_past_a_guard_that_takes_bound_tokens(
    issuer: FakeIssuer, options: str, adapter: str
) -> None:
    api = issuer.resource_server(AUDIENCE, **{name: make() for name, make in BOUND[options].items()})
    with ExitStack() as stack:
        door = site(stack, adapter, api)

        def send(method: str, path: str, headers: Any) -> int:
            return door.send(method, path, *headers).status

        fired = assert_guarded(send, "GET /orders", issuer=issuer, audience=AUDIENCE, scope="orders:read")
    assert fired >= 180


def naive_proofs(issuer: FakeIssuer) -> flask.Flask:
    """Whoever takes DPoP for a kind of Bearer: the token is checked as it has to be, and the proof is there."""
    api, app = issuer.resource_server(AUDIENCE, dpop=DPoPPolicy()), flask.Flask("naive")

    @app.get("/orders")
    def orders() -> Any:
        scheme, _, token = flask.request.headers.get("Authorization", "").partition(" ")
        if scheme not in ("Bearer", "DPoP") or (scheme == "DPoP" and not flask.request.headers.get("DPoP")):
            return {}, 401
        claims = jws.peek(token).claims if token.count(".") == 2 else {}
        plain = {name: value for name, value in claims.items() if name != "cnf"}
        try:
            api.validate(issuer.keys[0].token(issuer.header(), plain), scope="orders:read")
        except TokenError as refused:
            return {}, refused.status
        return {}

    return app


def test_102_103_105_who_takes_dpop_for_a_kind_of_bearer_is_told_of_it(issuer: FakeIssuer) -> None:
    client = naive_proofs(issuer).test_client()
    with pytest.raises(AssertionError) as found:
        assert_guarded(client, "GET /orders", issuer=issuer, audience=AUDIENCE, scope="orders:read")
    got_in = {line.strip().partition(":")[0] for line in str(found.value).splitlines() if "got in" in line}
    assert got_in >= {
        "a proof of another key", "a proof that was used before", "a proof without ath", "a proof for another method",
        "a proof for another host", "a proof of an hour ago", "bound to a key, as Bearer", "bound to nothing, as DPoP",
        "bound to a certificate, and none there", "bound to a key and a certificate, with the proof alone",
    }  # fmt: skip


def test_hostile_requests_get_past_a_naive_guard_and_are_named(issuer: FakeIssuer) -> None:
    client = naive_app(issuer).test_client()
    with pytest.raises(AssertionError) as found:
        assert_guarded(client, "GET /orders", issuer=issuer, audience=AUDIENCE, scope="orders:read")
    got_in = [line.strip() for line in str(found.value).splitlines() if "got in" in line]
    print(f"{len(got_in)} of {len(hostile_tokens(issuer, AUDIENCE, 'orders:read'))} get in")
    assert any(line.startswith("revoked:") for line in got_in)
    assert any(line.startswith("bound to a key (DPoP)") for line in got_in)
    assert any(line.startswith("typ of an ID token") for line in got_in)
    assert len(got_in) >= 20


def test_each_hostile_request_is_another_one(issuer: FakeIssuer) -> None:
    every = hostile_tokens(issuer, AUDIENCE, "orders:read")
    assert len({one.name for one in every}) == len(every) >= 60


def test_an_issuer_does_what_it_is_told(issuer: FakeIssuer, api: ResourceServer) -> None:
    token = issuer.issue(audience=AUDIENCE, scope="orders:read", client_id="svc")
    assert api.validate(token, scope="orders:read").client_id == "svc"
    issuer.revoke_client("svc")
    issuer.clock.advance(10)
    with pytest.raises(InvalidToken, match="revoked"):
        api.validate(token)
    old = issuer.issue(audience=AUDIENCE)
    issuer.rotate(overlap=False)
    api.refresh_keys()
    with pytest.raises(InvalidToken):
        api.validate(old)
    issuer.down()
    assert api.validate(issuer.issue(audience=AUDIENCE))
    cold = issuer.resource_server(AUDIENCE)
    with pytest.raises(Unavailable):
        cold.validate(issuer.issue(audience=AUDIENCE))
    issuer.up()
    issuer.clock.advance(60)
    assert cold.validate(issuer.issue(audience=AUDIENCE))


@pytest.mark.parametrize("wrong", ["garbage", "slow", "jwks", "metadata", "status_list"])
def test_what_is_wrong_with_an_issuer_is_503(issuer: FakeIssuer, api: ResourceServer, wrong: str) -> None:
    if wrong == "slow":
        issuer.slow(5)
    elif wrong == "garbage":
        issuer.garbage()
    else:
        getattr(issuer, wrong).fail()
    with pytest.raises(Unavailable):
        api.validate(issuer.issue(audience=AUDIENCE))


def test_it_answers_introspection(issuer: FakeIssuer) -> None:
    api = issuer.resource_server(AUDIENCE, introspection=Introspection("orders", "secret", mode="opaque"))
    token = issuer.issue_opaque(audience=AUDIENCE, scope="orders:read")
    assert api.validate(token).source == "introspection"
    issuer.introspection.fail(500)
    with pytest.raises(TokenError):
        api.validate(issuer.issue_opaque(audience=AUDIENCE))


def test_it_listens_on_loopback() -> None:
    with FakeIssuer.serving() as issuer:
        api = issuer.resource_server(AUDIENCE)
        token = issuer.issue(audience=AUDIENCE)
        assert api.validate(token).audience == (AUDIENCE,)
        assert issuer.fetches("jwk_uri") == 1
        api.close()


def test_a_caller_is_taken_for_granted_within_the_block_alone(api: ResourceServer) -> None:
    client = guarded_app(api).test_client()
    with as_caller(api, client_id="svc", scopes="orders:read"):
        assert client.get("/orders").get_json() == {"client": "svc"}
    with as_caller(api, scopes="orders:write"):
        assert client.get("/orders").status_code == 403
    assert client.get("/orders").status_code == 401
