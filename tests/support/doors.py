"""One small API behind every adapter, and requests to it as a server hands them over: no client in between."""

import asyncio
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

import django
import flask
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test.utils import override_settings
from django.urls import path, re_path
from fastapi import Depends, FastAPI
from fastapi.responses import PlainTextResponse

import realmint.asgi
import realmint.django
import realmint.fastapi
import realmint.flask
import realmint.wsgi
from realmint import AccessToken, ResourceServer

OPEN = ("/healthz", "/static/*")
PATHS = {"/orders": "orders:read", "/admin": "orders:admin", "/any": None}
"""What the API has beside what is open, and the scope that each route asks for."""
LIVE: set[str] = set()
"""Routes of what is made next that ask the issuer as well."""


class Answered(NamedTuple):
    """What came back: names of headers in lower case, in order of the alphabet."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


def answered(status: int, headers: Any, body: bytes) -> Answered:
    return Answered(status, tuple(sorted((name.lower(), value) for name, value in headers)), body)


@dataclass
class Door:
    """`send` a request: headers as they are on the wire; mount: where the application is; uri: whether it says.

    peer: who connected; None behind a socket of this machine. certificate: PEM of the one that it showed.
    """

    send: Callable[..., Answered]


def wsgi_door(app: Any) -> Door:
    def send(
        method: str, target: str, *headers: tuple[str, str], mount: str = "", uri: bool = True,
        peer: str | None = "127.0.0.1", certificate: str | None = None,
    ) -> Answered:  # fmt: skip
        sent, _, query = target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method, "SCRIPT_NAME": mount, "QUERY_STRING": query, "SERVER_NAME": "127.0.0.1",
            "PATH_INFO": unquote_to_bytes(sent).decode("latin-1"), "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(),
            "wsgi.multithread": False, "wsgi.multiprocess": False, "wsgi.run_once": False, "REMOTE_ADDR": peer or "",
        }  # fmt: skip
        if certificate is not None:
            environ["SSL_CLIENT_CERT"] = certificate
        if uri:
            environ["REQUEST_URI"] = mount + target
        for name, value in headers:  # as PEP 3333's servers do
            key = "HTTP_" + name.upper().replace("-", "_")
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        started: list[Any] = []
        parts = app(environ, lambda status, headers, _=None: started.extend((status, headers)))
        body = b"".join(parts)
        if hasattr(parts, "close"):
            parts.close()
        return answered(int(started[0][:3]), started[1], body)

    return Door(send)


def asgi_door(app: Any) -> Door:
    def send(
        method: str, target: str, *headers: tuple[str, str], mount: str = "", uri: bool = True,
        peer: str | None = "127.0.0.1", certificate: str | None = None,
    ) -> Answered:  # fmt: skip
        sent, _, query = target.partition("?")
        tls = {"tls": {"client_cert_chain": [certificate], "client_cert_error": None}} if certificate else {}
        scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": unquote(mount + sent), "query_string": query.encode(), "root_path": mount,
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
            "client": (peer, 1) if peer else None, "server": ("127.0.0.1", 80), "extensions": tls,
        }  # fmt: skip
        if uri:
            scope["raw_path"] = (mount + sent).encode()
        messages = asyncio.run(exchange(app, scope, {"type": "http.request", "body": b"", "more_body": False}))
        start = messages[0]
        decoded = [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]]
        return answered(start["status"], decoded, b"".join(more.get("body", b"") for more in messages[1:]))

    return Door(send)


async def exchange(app: Any, scope: dict[str, Any], *first: dict[str, Any]) -> list[dict[str, Any]]:
    """What an ASGI application sends; it receives `first`, and then nothing more."""
    sent: list[dict[str, Any]] = []
    incoming = list(first)

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(dict(message))

    await app(scope, receive, send)
    return sent


def flask_site(api: ResourceServer, protect: Any) -> Any:
    app = flask.Flask("orders", static_folder=None)
    guard = realmint.flask.Guard(api)
    guard.init_app(app)
    if protect is not None:
        guard.protect(app, open_paths=protect)
    for at, scope in PATHS.items():
        app.add_url_rule(
            at, at, guard.require(scope, live=at in LIVE)(lambda: guard.token.client_id), methods=["GET", "POST"]
        )
    app.add_url_rule("/healthz", "up", lambda: "up")
    app.add_url_rule("/static/<path:name>", "static", lambda name: name)
    return wsgi_door(app)


def fastapi_site(api: ResourceServer, protect: Any, *, asynchronous: bool = False) -> Any:
    app = FastAPI()
    guard = realmint.fastapi.Guard(api)
    guard.init_app(app)
    if protect is not None:
        guard.protect(app, open_paths=protect)
    for at, scope in PATHS.items():

        def view(token: Annotated[AccessToken, Depends(guard.require(scope, live=at in LIVE))]) -> Any:
            return PlainTextResponse(token.client_id)

        async def aview(token: Annotated[AccessToken, Depends(guard.require(scope, live=at in LIVE))]) -> Any:
            return PlainTextResponse(token.client_id)

        app.add_api_route(at, aview if asynchronous else view, methods=["GET", "POST", "HEAD"])
    app.add_api_route("/healthz", lambda: PlainTextResponse("up"))
    app.add_api_route("/static/{name:path}", lambda name: PlainTextResponse(f"{name}"))
    return asgi_door(app)


def wsgi_site(api: ResourceServer, protect: Any) -> Any:
    guard = realmint.wsgi.Guard(api)

    def say(text: Callable[[Any], str], status: str = "200 OK") -> Any:
        def app(environ: Any, start_response: Any) -> Any:
            start_response(status, [("Content-Type", "text/plain")])
            return [text(environ).encode()]

        return app

    routes = {
        at: guard.require(scope, live=at in LIVE)(say(lambda env: guard.token(env).client_id))
        for at, scope in PATHS.items()
    }
    routes |= {"/healthz": say(lambda _: "up"), "/static/app.js": say(lambda _: "app.js")}
    missing = say(lambda _: "nothing", "404 Not Found")

    def site(environ: Any, start_response: Any) -> Any:
        return routes.get(environ["PATH_INFO"], missing)(environ, start_response)

    return wsgi_door(guard.protect(site, open_paths=protect or ()) if protect is not None else site)


def asgi_site(api: ResourceServer, protect: Any) -> Any:
    guard = realmint.asgi.Guard(api)

    def say(text: Callable[[Any], str], status: int = 200) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": text(scope).encode()})

        return app

    routes = {
        at: guard.require(scope, live=at in LIVE)(say(lambda scope: guard.token(scope).client_id))
        for at, scope in PATHS.items()
    }
    routes |= {"/healthz": say(lambda _: "up"), "/static/app.js": say(lambda _: "app.js")}
    missing = say(lambda _: "nothing", 404)

    async def site(scope: Any, receive: Any, send: Any) -> None:
        await routes.get(realmint.asgi.path_of(scope), missing)(scope, receive, send)

    return asgi_door(guard.protect(site, open_paths=protect or ()) if protect is not None else site)


MIDDLEWARE: list[Any] = []
"""What the Django project of the moment has; its settings name it by a path."""


def middleware(get_response: Any) -> Any:
    return MIDDLEWARE[-1](get_response)


middleware.sync_capable = middleware.async_capable = True  # type: ignore[attr-defined]


@contextmanager
def project(patterns: list[Any], *named: str, asynchronous: bool = False) -> Iterator[Door]:
    """A Django project with these addresses, and middleware by its names."""
    if not settings.configured:
        settings.configure(SECRET_KEY="a test's", ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None)
        django.setup()
    urls: Any = ModuleType("urls")
    urls.urlpatterns = patterns
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=list(named)):
        yield asgi_door(ASGIHandler()) if asynchronous else wsgi_door(WSGIHandler())


@contextmanager
def django_site(api: ResourceServer, protect: Any, *, asynchronous: bool = False) -> Iterator[Any]:
    guard = realmint.django.Guard(api)

    def view(request: Any) -> Any:
        return HttpResponse(guard.token(request).client_id)

    async def aview(request: Any) -> Any:
        return HttpResponse(guard.token(request).client_id)

    chosen = aview if asynchronous else view
    urls = [path(at[1:], guard.require(scope, live=at in LIVE)(chosen)) for at, scope in PATHS.items()]
    urls += [
        path("healthz", lambda _: HttpResponse("up")),
        re_path("^static/(.+)$", lambda _, name: HttpResponse(name)),
    ]
    named = [] if protect is None else [f"{__name__}.middleware"]
    MIDDLEWARE.append(guard.protect(open_paths=protect or ()))
    try:
        with project(urls, *named, asynchronous=asynchronous) as door:
            yield door
    finally:
        MIDDLEWARE.pop()


SITES: dict[str, Callable[..., Any]] = {
    "flask": flask_site,
    "fastapi": fastapi_site,
    "fastapi-async": lambda api, protect: fastapi_site(api, protect, asynchronous=True),
    "django": django_site,
    "django-async": lambda api, protect: django_site(api, protect, asynchronous=True),
    "wsgi": wsgi_site,
    "asgi": asgi_site,
}


def site(stack: ExitStack, name: str, api: ResourceServer, protect: Any = None) -> Door:
    """The API behind the adapter of this name. protect: the open paths, None where only routes are marked."""
    made: Any = SITES[name](api, protect)
    return made if isinstance(made, Door) else stack.enter_context(made)  # type: ignore[no-any-return]
