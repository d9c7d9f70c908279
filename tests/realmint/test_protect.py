"""guard.protect(): every request needs a token, but to paths that are open, however a path is spelled."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Annotated, Any

import flask
import pytest
from fastapi import Depends, FastAPI, WebSocket
from fastapi.middleware.cors import CORSMiddleware

import realmint.asgi
import realmint.django
import realmint.fastapi
import realmint.flask
import realmint.wsgi
from realmint import AccessToken, ResourceServer
from realmint.open_paths import OpenPaths
from tests.realmint.test_adapters import bearer, missing
from tests.support.doors import OPEN, SITES, Door, asgi_door, exchange, site, wsgi_door
from tests.support.fake_issuer import FakeIssuer


@pytest.fixture(params=sorted(SITES))
def door(request: pytest.FixtureRequest, api: ResourceServer) -> Iterator[Door]:
    """The API behind one adapter, all of it protected."""
    with ExitStack() as stack:
        yield site(stack, request.param, api, OPEN)


CLOSED = [
    "/", "/nothing", "/orders", "/docs", "/openapi.json", "/admin/../healthz", "*", "http://x/healthz",
    # Another spelling of what is open.
    "/healthz/", "//healthz", "/./healthz", "/healthz/.", "/healthz/x", "/healthz;x", "/healthz%00", "/healthz%20", "/healthz%2F",
    "/HEALTHZ", "/Healthz", "/%2Fhealthz", "/healthz%3Fx", "/healthz%23", "/healthz%0A", "/x/..%2Fhealthz", "/healthz//", "healthz",
    # What seems to be below what is open.
    "/static", "/static/", "/Static/app.js", "/static/../orders", "/static/./app.js", "/static//orders", "/static/a/../../orders",
    "/static/%2e%2e/orders", "/static/..%2Forders", "/static%2F..%2Forders", "/static%2Fapp.js", "/static/%2Forders", "/static/..%5Corders",
    "/static/..\\orders", "/static/..;/orders", "/static/%252e%252e/orders", "/static/..%252Forders", "/static/a%00", "/static/a%0d%0a",
    "/static/..", "/static/.", "/static/%ff", "/static/..%c0%af", "/staticx", "/static*", "/static/%3F",
]  # fmt: skip


def test_what_is_not_open_needs_a_token_and_looks_the_same_whether_it_is_there_or_not(door: Door) -> None:
    for target in CLOSED:
        for uri in (True, False):
            if not uri and target == "/static%2Fapp.js":
                continue  # to such a server it is /static/app.js, and so it is to the application
            assert door.send("GET", target, uri=uri) == missing(), target


def test_what_is_open_needs_none_and_gets_none(door: Door, fake: FakeIssuer) -> None:
    for target, body in (
        ("/healthz", b"up"),
        ("/healthz?x=/../%2F", b"up"),
        ("/%68ealthz", b"up"),
        ("/static/app.js", b"app.js"),
    ):
        for headers in ([], [bearer("rubbish")], [bearer(fake.forge.token())]):
            answer = door.send("GET", target, *headers)
            assert (answer.status, answer.body) == (200, body), target


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"])
def test_every_method_needs_a_token_a_preflight_too(door: Door, method: str) -> None:
    preflight = [("Origin", "https://x.example"), ("Access-Control-Request-Method", "GET")]
    for target in ("/orders", "/nothing"):
        assert door.send(method, target, *preflight) == missing()


def test_an_application_that_is_mounted_is_asked_for_the_path_below(door: Door) -> None:
    assert door.send("GET", "/healthz", mount="/api").body == b"up"
    for target in ("/orders", "/api/healthz", "/static/../orders", ""):
        for mount in ("/api", "/healthz", "/static"):
            assert door.send("GET", target, mount=mount) == missing(), (mount, target)


@pytest.mark.parametrize(
    "pattern",
    ["", "healthz", "*", "/*", "/a*", "/a*/b", "/a/**", "//a", "/a//b", "/a/../b", "/./a", "/a?b", "/a#b", "/a%2Fb", "/a\\b", "/a\n", "/\ud800", "/..;x/a"],
)  # fmt: skip
def test_what_is_no_path_fails_where_it_is_written(api: ResourceServer, pattern: str) -> None:
    with pytest.raises(ValueError, match="is no path like"):
        OpenPaths(["/healthz", pattern])
    with pytest.raises(ValueError, match="is no path like"):
        realmint.flask.Guard(api).protect(flask.Flask("x"), open_paths=[pattern])


def test_a_string_is_no_list_of_paths(api: ResourceServer) -> None:
    with pytest.raises(TypeError, match="list of paths"):
        realmint.wsgi.Guard(api).protect(lambda *_: [], open_paths="/healthz")


def test_the_root_can_be_open_alone() -> None:
    paths = OpenPaths(["/"])
    assert paths.is_open("/")
    assert not paths.is_open("/x")
    assert not paths.is_open("")


def test_flask_s_misplaced_guard_is_found_though_all_is_protected(api: ResourceServer) -> None:
    app = flask.Flask("orders")
    app.testing = True
    guard = realmint.flask.Guard(api)
    guard.protect(app)

    @guard.require("orders:read")
    @app.get("/orders")
    def orders() -> str:
        raise AssertionError

    with pytest.raises(RuntimeError, match=r"open: [^ ]*orders"):
        app.test_client().get("/")


def test_a_token_is_that_of_its_own_request_and_header(api: ResourceServer, fake: FakeIssuer) -> None:
    """An application that sends a request inside a request, with what it was given and another caller's token."""
    guard = realmint.wsgi.Guard(api)
    inner = guard.require()(lambda environ, _: [guard.token(environ).client_id.encode()])
    open_inner = guard.protect(lambda environ, _: [repr(there(environ)).encode()], open_paths=["/orders"])

    def there(environ: Any) -> bool:
        try:
            return bool(guard.token(environ))
        except RuntimeError:
            return False

    def outer(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        other = {**environ, "HTTP_AUTHORIZATION": bearer(fake.forge.token(client_id="b", sub="b"))[1]}
        found = [*inner(other, start_response), *open_inner(dict(environ), start_response)]
        return [*found, guard.token(environ).client_id.encode()]

    answer = wsgi_door(guard.protect(outer)).send("GET", "/orders", bearer(fake.forge.token()))
    assert answer.body == b"bFalsesvc"


def test_outside_what_is_guarded_there_is_no_token(api: ResourceServer) -> None:
    for look in (realmint.wsgi.Guard(api).token, realmint.asgi.Guard(api).token):
        with pytest.raises(RuntimeError, match="only inside a route"):
            look({})


# ASGI: websockets and the rest.


def websocket(path: str, *headers: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {
        "type": "websocket", "asgi": {"version": "3.0"}, "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": b"", "headers": [(name.lower().encode(), value.encode()) for name, value in headers], "extensions": {},
        "subprotocols": [], "scheme": "ws", "http_version": "1.1", **more,
    }  # fmt: skip


def opened(app: Any, scope: dict[str, Any]) -> list[dict[str, Any]]:
    return asyncio.run(
        exchange(app, scope, {"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000})
    )


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})


def fast(api: ResourceServer, *, protect: bool) -> FastAPI:
    app = FastAPI()
    guard = realmint.fastapi.Guard(api)
    if protect:
        guard.protect(app, open_paths=["/open"])

    @app.websocket("/open")
    async def free(websocket: WebSocket) -> None:
        await websocket.accept()

    @app.websocket("/orders")
    async def orders(websocket: WebSocket, token: Annotated[AccessToken, Depends(guard.require())]) -> None:
        assert token.client_id == "svc"
        await websocket.accept()

    return app


@pytest.mark.parametrize("which", ["asgi", "fastapi", "fastapi-marked"])
def test_a_websocket_needs_a_token_too(api: ResourceServer, fake: FakeIssuer, which: str) -> None:
    guard = realmint.asgi.Guard(api)
    app = guard.protect(echo, open_paths=["/open"]) if which == "asgi" else fast(api, protect=which == "fastapi")
    good = bearer(fake.forge.token())
    assert [sent["type"] for sent in opened(app, websocket("/orders", good))] == ["websocket.accept"]
    assert [sent["type"] for sent in opened(app, websocket("/open"))] == ["websocket.accept"]
    for headers in ([], [bearer("rubbish")], [good, good]):
        assert opened(app, websocket("/orders", *headers)) == [{"type": "websocket.close", "code": 1008}]
    able = {"extensions": {"websocket.http.response": {}}}
    start, body = opened(app, websocket("/orders", **able))
    answer = missing()
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert tuple(sorted((name.decode(), value.decode()) for name, value in start["headers"])) == answer.headers
    assert (body["type"], body["body"]) == ("websocket.http.response.body", answer.body)
    # Nor does a websocket get in by the path of the metadata.
    assert opened(app, websocket("/.well-known/oauth-protected-resource"))[0]["type"] == "websocket.close"


def test_a_lifespan_goes_through_and_an_unknown_kind_of_connection_does_not(api: ResourceServer) -> None:
    reached: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["type"])

    protected = realmint.asgi.Guard(api).protect(app, open_paths=["/"])
    asyncio.run(exchange(protected, {"type": "lifespan"}))
    with pytest.raises(RuntimeError, match="webtransport"):
        asyncio.run(exchange(protected, {"type": "webtransport", "path": "/"}))
    assert reached == ["lifespan"]


def test_cors_that_is_added_after_the_guard_answers_its_preflights_itself(api: ResourceServer) -> None:
    app = FastAPI()
    realmint.fastapi.Guard(api).protect(app)
    app.add_middleware(CORSMiddleware, allow_origins=["https://x.example"], allow_headers=["Authorization"])
    preflight = [("Origin", "https://x.example"), ("Access-Control-Request-Method", "GET")]
    door = asgi_door(app)
    assert door.send("OPTIONS", "/orders", *preflight).status == 200
    answer = door.send("GET", "/orders", preflight[0])
    assert (answer.status, answer.header("access-control-allow-origin")) == (401, "https://x.example")


@pytest.mark.parametrize("kind", [realmint.flask, realmint.fastapi, realmint.django, realmint.wsgi, realmint.asgi])
def test_what_is_no_scope_or_no_url_fails_where_it_is_written(api: ResourceServer, kind: Any) -> None:
    with pytest.raises(ValueError, match="scope values"):
        kind.Guard(api).require("a  b")
    with pytest.raises(TypeError, match=r"@guard.require\(\)"):
        kind.Guard(api).require(len)
    with pytest.raises(ValueError, match="http or https URL"):
        kind.Guard(api, resource="orders")


def test_no_token_is_in_what_a_request_carries_along(api: ResourceServer, fake: FakeIssuer) -> None:
    """Pages and services that show an error show the environ, but for headers of this name."""
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.extend(value for name, value in environ.items() if not name.startswith("HTTP_"))
        start_response("200 OK", [])
        return []

    token = fake.forge.token()
    wsgi_door(realmint.wsgi.Guard(api).protect(app)).send("GET", "/", bearer(token))
    assert "svc" in repr(seen)
    assert token.rpartition(".")[2] not in repr(seen)


def test_nothing_of_a_flask_application_runs_for_a_stranger(api: ResourceServer, fake: FakeIssuer) -> None:
    """Nor what looks at the values in an address, which comes before all that is called before a request."""
    app = flask.Flask("orders")
    reached: list[Any] = []
    app.before_request(lambda: reached.append("before"))
    app.url_value_preprocessor(lambda endpoint, values: reached.append(values))
    app.register_error_handler(Exception, lambda _: reached.append("error") or "shown to strangers")
    app.register_error_handler(401, lambda _: reached.append("401") or "shown to strangers")
    app.add_url_rule("/orders/<int:number>", "order", lambda number: f"{number}")
    realmint.flask.Guard(api).protect(app)
    door = wsgi_door(app)
    assert [door.send("GET", path) for path in ("/orders/7", "/orders/x", "/orders//7")] == [missing()] * 3
    assert reached == []
    assert door.send("GET", "/orders/7", bearer(fake.forge.token())).body == b"7"
    assert reached == [{"number": 7}, "before"]
