"""The Flask guard: refusals as RFC 6750 section 3 has them, through HTTP."""

from typing import Any

import flask
import pytest

from realmint import ResourceServer
from realmint.flask import Guard
from tests.support.fake_issuer import ISSUER, FakeIssuer

POINTER = 'resource_metadata="http://localhost/.well-known/oauth-protected-resource"'


@pytest.fixture
def http(api: ResourceServer) -> Any:
    app = flask.Flask("orders")
    guard = Guard(api)
    guard.init_app(app)

    @app.get("/orders")
    @guard.require("orders:read")
    def orders() -> Any:
        return flask.jsonify(client=guard.token.client_id)

    @app.get("/admin")
    @guard.require("orders:admin")
    def admin() -> Any:
        raise AssertionError

    return app.test_client()


def get(http: Any, path: str, *authorization: str) -> Any:
    return http.get(path, headers=[("Authorization", value) for value in authorization])


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_136_a_good_token_gets_through_whatever_the_case_of_the_scheme(
    http: Any, fake: FakeIssuer, scheme: str
) -> None:
    answer = get(http, "/orders", f"{scheme} {fake.forge.token()}")
    assert (answer.status_code, answer.json) == (200, {"client": "svc"})


@pytest.mark.rfc("6750", "3.1")
def test_134_no_token_is_a_bare_challenge_without_an_error_code(http: Any) -> None:
    answer = get(http, "/orders")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == f"Bearer {POINTER}"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer\ta.b.c", "Bearer a.b.c d", "Bearer a,b", "Basic YTpi", "", "Bearer é",
                                   "Bearer " + "a" * 9000])  # fmt: skip
def test_136_a_malformed_header_is_400(http: Any, value: str) -> None:
    answer = get(http, "/orders", value)
    assert answer.status_code == 400
    assert 'error="invalid_request"' in answer.headers["WWW-Authenticate"]


def test_135_two_headers_and_tokens_elsewhere_are_no_way_in(http: Any, fake: FakeIssuer) -> None:
    token = fake.forge.token()
    assert get(http, "/orders", f"Bearer {token}", f"Bearer {token}").status_code == 400
    assert http.get(f"/orders?access_token={token}").status_code == 401


def test_a_bad_token_is_401_with_a_fixed_phrase(http: Any, fake: FakeIssuer) -> None:
    answer = get(http, "/orders", f"Bearer {fake.forge.token(exp=1)}")
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_token")
    assert answer.headers["WWW-Authenticate"] == (
        f'Bearer error="invalid_token", error_description="The token has expired", {POINTER}'
    )


def test_a_token_without_the_scope_is_403_and_the_view_is_not_reached(http: Any, fake: FakeIssuer) -> None:
    answer = get(http, "/admin", f"Bearer {fake.forge.token()}")
    assert (answer.status_code, answer.json["error"]) == (403, "insufficient_scope")
    assert 'scope="orders:admin"' in answer.headers["WWW-Authenticate"]


def test_what_cannot_be_decided_is_503_with_retry_after_and_no_challenge(http: Any, fake: FakeIssuer) -> None:
    fake.down = True
    answer = get(http, "/orders", f"Bearer {fake.forge.token()}")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert "WWW-Authenticate" not in answer.headers


@pytest.mark.rfc("9728", "3")
def test_the_api_says_who_issues_its_tokens(http: Any) -> None:
    assert http.get("/.well-known/oauth-protected-resource").json == {
        "resource": "https://orders.example",
        "authorization_servers": [ISSUER],
        "bearer_methods_supported": ["header"],
    }
