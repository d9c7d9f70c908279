"""The Flask guard: refusals as RFC 6750 section 3 has them, through HTTP."""

import functools
from collections.abc import Callable
from typing import Any

import flask
import pytest
from flask.views import MethodView

from realmint import ResourceServer
from realmint.flask import Guard
from tests.support.fake_issuer import ISSUER, FakeIssuer

POINTER = 'resource_metadata="https://orders.example/.well-known/oauth-protected-resource"'


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
    assert answer.headers["WWW-Authenticate"] == f'Bearer scope="orders:read", {POINTER}'
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
        "scopes_supported": ["orders:admin", "orders:read"],
    }


def test_21_a_host_header_moves_no_address(http: Any) -> None:
    for path in ("/orders", "/.well-known/oauth-protected-resource"):
        answer = http.get(path, headers={"Host": "evil.example"})
        assert "evil.example" not in answer.text + str(answer.headers)


@pytest.mark.rfc("9728", "3.1")
@pytest.mark.parametrize(
    ("audience", "resource", "url"),
    [
        ("http://127.0.0.1:8000/orders", None, "http://127.0.0.1:8000/.well-known/oauth-protected-resource/orders"),
        ("https://api.example/a/b/", None, "https://api.example/.well-known/oauth-protected-resource/a/b"),
        ("https://api.example/", None, "https://api.example/.well-known/oauth-protected-resource"),
        (["orders", "https://api.example/o"], None, "https://api.example/.well-known/oauth-protected-resource/o"),
        ("orders", "https://api.example/o", "https://api.example/.well-known/oauth-protected-resource/o"),
        ("orders", None, None),
    ],
)
def test_the_metadata_s_address_comes_from_the_audience_or_an_option(
    make_api: Callable[..., ResourceServer], audience: Any, resource: str | None, url: str | None
) -> None:
    app = flask.Flask("orders")
    guard = Guard(make_api(audience=audience), resource=resource)
    guard.init_app(app)

    @app.get("/orders")
    @guard.require()
    def orders() -> Any:
        raise AssertionError

    challenge = app.test_client().get("/orders").headers["WWW-Authenticate"]
    assert challenge == ("Bearer" if url is None else f'Bearer resource_metadata="{url}"')
    document = app.test_client().get("/.well-known/oauth-protected-resource").json
    assert "scopes_supported" not in document
    if url is not None:
        found = app.test_client().get("/" + url.partition("://")[2].partition("/")[2])
        assert found.json == document
        assert document["resource"] == resource or document["resource"] in audience


@pytest.mark.parametrize(
    "resource", ["orders", "ftp://x", "https://", "https://x#f", "https://x?q", "https://x y", "https://[x]/"]
)
def test_a_resource_that_is_no_url_is_refused(api: ResourceServer, resource: str) -> None:
    with pytest.raises(ValueError, match="http or https URL"):
        Guard(api, resource=resource)


def test_a_403_is_an_event_as_every_refusal(http: Any, fake: FakeIssuer, events: list[tuple[str, Any]]) -> None:
    get(http, "/admin", f"Bearer {fake.forge.token()}")
    assert ("token.denied", {"status": 403, "reason": "scope"}) in events


@pytest.mark.parametrize("scope", ["a  b", " a", "a ", "", 'a"b', "a\tb", "ä"])
def test_what_is_no_scope_fails_where_it_is_written(api: ResourceServer, scope: str) -> None:
    with pytest.raises(ValueError, match="scope values"):
        Guard(api).require(scope)


def test_require_without_its_parentheses_fails_where_it_is_written(api: ResourceServer) -> None:
    guard = Guard(api)
    with pytest.raises(TypeError, match=r"@guard.require\(\)"):

        @guard.require
        def orders() -> None:
            raise AssertionError


def test_a_route_that_the_guard_does_not_stand_before_fails_every_request(api: ResourceServer) -> None:
    app = flask.Flask("orders")
    guard = Guard(api)
    guard.init_app(app)

    @guard.require("orders:read")
    @app.get("/orders")
    def orders() -> str:
        return "open to everybody"

    app.testing = False
    for _ in range(2):
        answer = app.test_client().get("/orders")
        assert answer.status_code == 500
        assert "open to everybody" not in answer.text
    app.testing = True
    with pytest.raises(RuntimeError, match=r"orders.*below the decorator that makes the route"):
        app.test_client().get("/orders")


def test_a_route_above_its_guard_is_found_though_another_view_calls_the_guarded_name(api: ResourceServer) -> None:
    app = flask.Flask("orders")
    guard = Guard(api)
    guard.init_app(app)

    def nameless(view: Any) -> Any:
        def inner() -> Any:
            return view()

        return inner

    @guard.require("orders:read")
    @app.get("/orders")
    def orders() -> str:
        return "open to everybody"

    @guard.require("orders:read")
    @nameless
    @app.get("/stock")
    def stock() -> str:
        return "open to everybody"

    @app.get("/alias")
    def alias() -> Any:
        return orders(), stock()

    app.testing = True
    for path in ("/orders", "/stock", "/alias"):
        with pytest.raises(RuntimeError, match=r"orders.*nameless.*below the decorator that makes the route"):
            app.test_client().get(path)


def test_a_guarded_function_that_a_view_calls_may_lead_to_other_guarded_views(
    api: ResourceServer, fake: FakeIssuer
) -> None:
    app = flask.Flask("orders")
    guard = Guard(api)
    guard.init_app(app)

    @app.get("/orders")
    @guard.require()
    def orders() -> str:
        return guard.token.client_id

    @guard.require()
    def helper() -> Any:
        return orders()

    @app.get("/alias")
    def alias() -> Any:
        return helper()

    for path in ("/orders", "/alias"):
        assert app.test_client().get(path).status_code == 401
        answer = get(app.test_client(), path, f"Bearer {fake.forge.token()}")
        assert (answer.status_code, answer.text) == (200, "svc")


def test_a_guard_is_found_under_whatever_wraps_it(api: ResourceServer, fake: FakeIssuer) -> None:
    app = flask.Flask("orders")
    guard = Guard(api)
    guard.init_app(app)
    blueprint = flask.Blueprint("b", "b")

    def wrapped(view: Any) -> Any:
        @functools.wraps(view)
        def inner(*args: Any, **more: Any) -> Any:
            return view(*args, **more)

        return inner

    def nameless(view: Any) -> Any:
        def inner(*args: Any) -> Any:
            return view(*args)

        return inner

    @app.get("/wrapped")
    @wrapped
    @nameless
    @guard.require()
    def one() -> str:
        return guard.token.client_id

    class Method(MethodView):
        @guard.require()
        def get(self) -> str:
            return guard.token.client_id

    class Decorated(MethodView):
        decorators = (guard.require(),)

        def get(self) -> str:
            return guard.token.client_id

    @blueprint.get("/blue")
    @guard.require()
    def blue() -> str:
        return guard.token.client_id

    @guard.require()
    def everywhere() -> None:
        assert guard.token.client_id

    blueprint.before_request(everywhere)
    app.add_url_rule("/method", view_func=Method.as_view("method"))
    app.add_url_rule("/decorated", view_func=Decorated.as_view("decorated"))
    app.add_url_rule("/partial", "partial", functools.partial(guard.require()(lambda word: word), "svc"))
    app.register_blueprint(blueprint)
    for path in ("/wrapped", "/method", "/decorated", "/blue", "/partial"):
        assert app.test_client().get(path).status_code == 401, path
        answer = get(app.test_client(), path, f"Bearer {fake.forge.token()}")
        assert (answer.status_code, answer.text) == (200, "svc"), path


def test_the_token_of_a_request_is_there_in_a_guarded_route_only(api: ResourceServer) -> None:
    app = flask.Flask("orders")
    guard = Guard(api)
    guard.init_app(app)
    with pytest.raises(RuntimeError, match="only inside a route"):
        _ = guard.token
    with app.test_request_context("/"), pytest.raises(RuntimeError, match="only inside a route"):
        _ = guard.token
