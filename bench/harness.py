"""What the measurements share: an issuer and its WSGI calls in this process."""

import io
from base64 import b64encode
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import flask

from app import create_app
from issuer.admin import clients
from issuer.log import LOGGER
from issuer.runtime import Runtime
from issuer.settings import Settings
from keys.audit import Actor

Call = Callable[[], None]
WSGI = Callable[..., Iterable[bytes]]
ACTOR = Actor("bench", "bench")
KEK = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def issuer(folder: Path, *, logged: bool = False) -> tuple[flask.Flask, Runtime]:
    """An issuer in this process on its own embedded database; its log goes nowhere unless it is `logged`."""
    app = create_app(Settings.from_environ({}, folder), str(folder))
    if not logged:
        LOGGER.handlers = []
    runtime: Runtime = app.extensions["realmint"]
    runtime.boot()
    return app, runtime


def opened(url: str, folder: Path) -> tuple[flask.Flask, Runtime]:
    """An issuer in this process on a database that need not have a schema yet; it logs errors alone."""
    environ = {"REALMINT_DATABASE_URL": url, "REALMINT_KEK": KEK, "REALMINT_LOG_LEVEL": "ERROR"}
    app = create_app(Settings.from_environ(environ, folder), str(folder))
    return app, app.extensions["realmint"]


def empty_view() -> flask.Flask:
    """The least that Flask does for a POST."""
    app = flask.Flask("empty", static_folder=None)
    app.add_url_rule("/empty", "empty", lambda: flask.jsonify(ok=True), methods=["POST"])
    return app


def client(runtime: Runtime, realm: str = "/", client_id: str = "svc") -> tuple[str, str]:
    """A client that may read; its name and secret."""
    may = {"scopes": ["read"], "default_scopes": ["read"]}
    made = clients.create(runtime.administration, realm, client_id, may, ACTOR)
    assert made.secret is not None
    return client_id, made.secret


def post(app: WSGI, path: str, body: bytes = b"", credentials: tuple[str, str] | None = None) -> Call:
    """One WSGI call that must answer 200."""
    ask = asking(app, path, body, credentials)

    def call() -> None:
        assert ask() == 200

    return call


def asking(app: WSGI, path: str, body: bytes = b"", credentials: tuple[str, str] | None = None) -> Callable[[], int]:
    """One WSGI call; its status."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": path, "RAW_URI": path, "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "5000", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0), "wsgi.errors": io.StringIO(), "wsgi.multithread": True, "wsgi.multiprocess": True,
        "wsgi.run_once": False, "CONTENT_TYPE": "application/x-www-form-urlencoded", "CONTENT_LENGTH": str(len(body)),
    }  # fmt: skip
    if credentials:
        environ["HTTP_AUTHORIZATION"] = "Basic " + b64encode(":".join(credentials).encode()).decode()
    statuses: list[str] = []

    def call() -> int:
        parts = app({**environ, "wsgi.input": io.BytesIO(body)}, lambda status, *_: statuses.append(status))
        b"".join(parts)
        return int(statuses.pop()[:3])

    return call


def token(app: WSGI, credentials: tuple[str, str], path: str = "/oauth2/realms/root/access_token") -> Call:
    """One token request."""
    return post(app, path, b"grant_type=client_credentials&scope=read", credentials)
