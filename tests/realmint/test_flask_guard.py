"""The Flask guard: refusals as RFC 6750 section 3 has them, through HTTP."""

import asyncio
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from flask.views import MethodView

from realmint import InvalidToken, ResourceServer
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


def fresh(api: ResourceServer) -> tuple[flask.Flask, Guard]:
    app = flask.Flask("orders")
    app.testing = True
    guard = Guard(api)
    guard.init_app(app)
    return app, guard


def is_refused(app: flask.Flask, name: str) -> None:
    with pytest.raises(RuntimeError, match=rf"open: [^ ]*{name}\. .*below the decorator that makes the route"):
        app.test_client().get("/")


def logged(view: Any) -> Any:
    @functools.wraps(view)
    def inner(*args: Any, **more: Any) -> Any:
        return view(*args, **more)

    return inner


def unnamed(view: Any) -> Any:
    def inner(*args: Any) -> Any:
        return view(*args)

    return inner


def test_a_route_below_the_guard_is_open_though_another_stands_above_it(api: ResourceServer) -> None:
    app, guard = fresh(api)

    @app.get("/orders")
    @guard.require()
    @app.get("/orders", endpoint="inner")
    def orders() -> str:
        raise AssertionError

    is_refused(app, "orders")


@pytest.mark.parametrize("bare", [lambda view: view, logged, functools.partial], ids=["bare", "wrapped", "partial"])
def test_a_function_that_is_guarded_at_one_route_only_is_open(api: ResourceServer, bare: Callable[[Any], Any]) -> None:
    app, guard = fresh(api)

    def orders() -> str:
        raise AssertionError

    app.add_url_rule("/x", "x", guard.require()(orders))
    app.add_url_rule("/y", "y", bare(orders))
    is_refused(app, "orders")


def test_a_bound_method_that_is_guarded_at_one_route_only_is_open(api: ResourceServer) -> None:
    app, guard = fresh(api)

    class Orders:
        def all(self) -> str:
            raise AssertionError

    orders = Orders()
    app.add_url_rule("/x", "x", guard.require()(orders.all))
    app.add_url_rule("/y", "y", orders.all)
    is_refused(app, "all")


def test_one_function_with_other_arguments_is_another_view(api: ResourceServer) -> None:
    app, guard = fresh(api)
    word = functools.partial(str, "word")
    app.add_url_rule("/secret", "secret", guard.require()(functools.partial(str, "secret")))
    app.add_url_rule("/word", "word", word)
    assert app.test_client().get("/word").text == "word"
    assert app.test_client().get("/secret").status_code == 401


def test_a_route_that_is_guarded_otherwise_is_not_open(api: ResourceServer) -> None:
    app, guard = fresh(api)
    other = Guard(api)
    inner, outer = flask.Blueprint("inner", "i"), flask.Blueprint("outer", "o")

    def orders() -> str:
        raise AssertionError

    @outer.before_request
    @guard.require()
    def everywhere() -> None:
        raise AssertionError

    app.add_url_rule("/one", "one", guard.require()(orders))
    app.add_url_rule("/other", "other", other.require()(orders))
    app.add_url_rule("/twice", "twice", guard.require("a")(guard.require("b")(orders)))
    inner.add_url_rule("/blue", "blue", orders)
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    for path in ("/one", "/other", "/twice", "/blue"):
        assert app.test_client().get(path).status_code == 401, path


def test_a_second_app_s_routes_are_looked_at_when_its_own_first_request_comes(api: ResourceServer) -> None:
    app, guard = fresh(api)
    second = flask.Flask("second")
    second.testing = True

    def orders() -> str:
        raise AssertionError

    app.add_url_rule("/orders", "orders", guard.require()(orders))
    guard.init_app(second)
    assert app.test_client().get("/orders").status_code == 401
    second.add_url_rule("/", "orders", orders)
    is_refused(second, "orders")


@pytest.mark.parametrize("wrapping", [lambda view: view, logged, unnamed], ids=["bare", "wrapped", "nameless"])
@pytest.mark.parametrize("base_too", [False, True])
def test_a_bare_method_in_place_of_a_guarded_one_is_open(
    api: ResourceServer, wrapping: Callable[[Any], Any], *, base_too: bool
) -> None:
    app, guard = fresh(api)

    class Base(MethodView):
        @wrapping
        @guard.require()
        def get(self) -> str:
            raise AssertionError

    class Middle(Base):
        @wrapping
        def get(self) -> str:
            raise AssertionError

    class Last(Middle):
        @wrapping
        def get(self) -> str:
            return super().get()

    if base_too:
        app.add_url_rule("/base", view_func=Base.as_view("base"))
    app.add_url_rule("/", view_func=wrapping(Last.as_view("last")), endpoint="last")
    is_refused(app, "Last.get")


@pytest.mark.parametrize("wrapping", [lambda view: view, logged, unnamed], ids=["bare", "wrapped", "nameless"])
def test_an_overriding_method_that_the_guard_stands_before_is_not_open(
    api: ResourceServer, fake: FakeIssuer, wrapping: Callable[[Any], Any]
) -> None:
    app, guard = fresh(api)

    class Guarded(MethodView):
        @wrapping
        @guard.require()
        def get(self) -> str:
            return guard.token.client_id

    class Bare(MethodView):
        def get(self) -> str:
            raise AssertionError

    class Super(Guarded):
        @wrapping
        def get(self) -> str:
            return super().get()

    class Named(Guarded):
        @wrapping
        def get(self) -> str:
            return Guarded.get(self)

    class OverBare(Bare):
        @wrapping
        @guard.require("orders:read")
        def get(self) -> str:
            return guard.token.client_id

    class OverGuarded(Guarded):
        @wrapping
        @guard.require("orders:read")
        def get(self) -> str:
            return guard.token.client_id

    class Decorated(Guarded):
        decorators = (guard.require("orders:read"), wrapping)

        def get(self) -> str:
            return guard.token.client_id

    class Dispatched(Guarded):
        dispatch_request = guard.require("orders:read")(MethodView.dispatch_request)

        def get(self) -> str:
            return guard.token.client_id

    views: list[type[MethodView]] = [Super, Named, OverBare, OverGuarded, Decorated, Dispatched]
    for view in views:
        app.add_url_rule(f"/{view.__name__}", view_func=view.as_view(view.__name__))
    for view in views:
        path = f"/{view.__name__}"
        assert app.test_client().get(path).status_code == 401, path
        answer = get(app.test_client(), path, f"Bearer {fake.forge.token()}")
        assert (answer.status_code, answer.text) == (200, "svc"), path


def test_the_token_of_an_inner_request_is_not_the_outer_one_s(api: ResourceServer, fake: FakeIssuer) -> None:
    app, guard = fresh(api)

    @app.get("/one")
    @guard.require()
    def one() -> str:
        return guard.token.client_id

    @app.get("/batch")
    @guard.require()
    def batch() -> Any:
        inner = get(app.test_client(), "/one", f"Bearer {fake.forge.token(client_id='inner', sub='inner')}").text
        with app.test_request_context("/one"), pytest.raises(RuntimeError, match="only inside a route"):
            _ = guard.token
        with app.request_context(flask.request.environ), pytest.raises(RuntimeError, match="only inside a route"):
            _ = guard.token
        return flask.jsonify(inner=inner, outer=guard.token.client_id)

    with app.app_context():
        answer = get(app.test_client(), "/batch", f"Bearer {fake.forge.token()}")
        assert answer.json == {"inner": "inner", "outer": "svc"}
        with pytest.raises(RuntimeError, match="only inside a route"):
            _ = guard.token


def test_each_of_two_guards_has_its_own_token(
    make_api: Callable[..., ResourceServer], api: ResourceServer, fake: FakeIssuer
) -> None:
    app, guard = fresh(api)
    other = Guard(make_api(audience="https://stock.example/v1"))
    other.init_app(app)

    @app.get("/orders")
    @guard.require()
    def orders() -> str:
        with pytest.raises(RuntimeError, match="only inside a route"):
            _ = other.token
        return guard.token.client_id

    @app.get("/both")
    @guard.require()
    @other.require()
    def both() -> Any:
        return flask.jsonify(same=guard.token is other.token)

    assert get(app.test_client(), "/orders", f"Bearer {fake.forge.token()}").text == "svc"
    token = fake.forge.token(aud=["https://orders.example", "https://stock.example/v1"])
    assert get(app.test_client(), "/both", f"Bearer {token}").json == {"same": False}


@pytest.mark.rfc("9728", "3")
@pytest.mark.parametrize("paths", [("", "/v1", "/v2"), ("/v1", "/v2", "")])
def test_several_guards_of_one_application_answer_with_their_own_metadata(
    make_api: Callable[..., ResourceServer], paths: tuple[str, ...]
) -> None:
    app = flask.Flask("orders")
    for path in paths:
        guard = Guard(make_api(audience=f"https://orders.example{path}"))
        guard.init_app(app)
        guard.init_app(app)
        app.add_url_rule(f"/at{path}", path, guard.require()(lambda: ""))
    Guard(make_api(audience="https://another.example")).init_app(app)
    at = "/.well-known/oauth-protected-resource"
    for path in paths:
        assert app.test_client().get(at + path).json["resource"] == f"https://orders.example{path}"
        answer = app.test_client().get(f"/at{path}")
        assert answer.headers["WWW-Authenticate"] == f'Bearer resource_metadata="https://orders.example{at}{path}"'


@pytest.mark.rfc("9728", "3")
def test_the_first_guard_s_metadata_answers_at_the_root_path(make_api: Callable[..., ResourceServer]) -> None:
    app = flask.Flask("orders")
    for audience in ("https://orders.example/v1", "https://orders.example/v2", "orders"):
        Guard(make_api(audience=audience)).init_app(app)
    found = app.test_client().get("/.well-known/oauth-protected-resource").json
    assert found["resource"] == "https://orders.example/v1"


def test_a_refusal_that_a_view_raises_itself_is_answered_by_the_first_guard(
    make_api: Callable[..., ResourceServer], api: ResourceServer
) -> None:
    app, _ = fresh(api)
    Guard(make_api(audience="https://orders.example/v1")).init_app(app)

    @app.get("/")
    def root() -> str:
        api.validate("a.b.c")
        raise AssertionError

    answer = app.test_client().get("/")
    assert (answer.status_code, answer.json["error"]) == (InvalidToken.status, "invalid_token")
    assert answer.headers["WWW-Authenticate"].endswith(POINTER)


def test_the_token_goes_where_the_request_goes(api: ResourceServer, fake: FakeIssuer) -> None:
    class Application(flask.Flask):
        def async_to_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args, **more: asyncio.run(func(*args, **more))

    app = Application("orders")
    guard = Guard(api)
    guard.init_app(app)

    @app.get("/async")
    @guard.require()
    async def asynchronous() -> str:
        await asyncio.sleep(0)
        return guard.token.client_id

    @app.get("/thread")
    @guard.require()
    def thread() -> str:
        found: list[str] = []
        worker = threading.Thread(
            target=flask.copy_current_request_context(lambda: found.append(guard.token.client_id))
        )
        worker.start()
        worker.join()
        return found[0]

    @app.get("/stream")
    @guard.require()
    def stream() -> Any:
        def parts() -> Iterator[str]:
            yield guard.token.client_id

        return flask.Response(flask.stream_with_context(parts()))

    for path in ("/async", "/thread", "/stream"):
        assert app.test_client().get(path).status_code == 401
        answer = get(app.test_client(), path, f"Bearer {fake.forge.token()}")
        assert (answer.status_code, answer.text) == (200, "svc"), path


def test_a_guard_takes_no_name_that_the_issuer_or_the_applications_author_has(
    api: ResourceServer, fake: FakeIssuer
) -> None:
    app = flask.Flask("orders")
    app.extensions["realmint"] = "the issuer's, which gunicorn.conf.py looks for"
    guard = Guard(api)
    guard.init_app(app)
    app.add_url_rule("/orders", view_func=guard.require()(lambda: guard.token.client_id))
    assert get(app.test_client(), "/orders", f"Bearer {fake.forge.token()}").status_code == 200
    assert app.extensions["realmint"] == "the issuer's, which gunicorn.conf.py looks for"
