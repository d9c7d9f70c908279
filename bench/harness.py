"""What the measurements share: WSGI calls in this process, and ratios taken in turns."""

import io
import statistics
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask

from app import create_app
from issuer import provisioning
from issuer.log import LOGGER
from issuer.runtime import Runtime
from issuer.settings import Settings
from keys.audit import Actor

Call = Callable[[], None]
ACTOR = Actor("bench", "bench")


def issuer(folder: Path, **environ: str) -> tuple[flask.Flask, Runtime]:
    """An issuer in this process on its own embedded database; its log goes nowhere."""
    app = create_app(Settings.from_environ({f"REALMINT_{k}": v for k, v in environ.items()}, folder), str(folder))
    LOGGER.handlers = []
    runtime: Runtime = app.extensions["realmint"]
    runtime.boot()
    return app, runtime


def empty_view() -> flask.Flask:
    """The least that Flask does for a POST."""
    app = flask.Flask("empty", static_folder=None)
    app.add_url_rule("/empty", "empty", lambda: flask.jsonify(ok=True), methods=["POST"])
    return app


def client(runtime: Runtime, realm: str = "/", client_id: str = "svc") -> tuple[str, str]:
    """A client that may read; its name and secret."""
    may = {"scopes": ["read"], "default_scopes": ["read"]}
    made = provisioning.create_client(runtime, realm, client_id, lambda _: may)
    assert made.secret is not None
    return client_id, made.secret


def post(app: flask.Flask, path: str, body: bytes = b"", credentials: tuple[str, str] | None = None) -> Call:
    """One WSGI call that must answer 200."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": path, "RAW_URI": path, "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "5000", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0), "wsgi.errors": io.StringIO(), "wsgi.multithread": True, "wsgi.multiprocess": True,
        "wsgi.run_once": False, "CONTENT_TYPE": "application/x-www-form-urlencoded", "CONTENT_LENGTH": str(len(body)),
    }  # fmt: skip
    if credentials:
        environ["HTTP_AUTHORIZATION"] = "Basic " + b64encode(":".join(credentials).encode()).decode()
    statuses: list[str] = []

    def call() -> None:
        parts = app({**environ, "wsgi.input": io.BytesIO(body)}, lambda status, *_: statuses.append(status))
        b"".join(parts)
        assert statuses.pop() == "200 OK"

    return call


def token(app: flask.Flask, credentials: tuple[str, str], path: str = "/oauth2/realms/root/access_token") -> Call:
    """One token request."""
    return post(app, path, b"grant_type=client_credentials&scope=read", credentials)


def compare(calls: dict[str, Call], rounds: int = 15, batch: int = 200) -> dict[str, float]:
    """Median microseconds per call, measured in turns, so that a noisy machine is as noisy for each."""
    for call in calls.values():
        for _ in range(batch):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(batch):
                call()
            times[name].append((time.perf_counter() - start) / batch * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}
