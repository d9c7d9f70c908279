"""What every request and every answer passes: paths as configured, headers of private answers."""

from collections.abc import Callable, Iterable
from typing import Any

import flask

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WholePath:
    """Addresses come from the configured base URL alone: SCRIPT_NAME is put back in front of the path.

    Host is not looked at, malformed or not: what is answered depends on the path (#21).

    A percent sign in the path leads nowhere, since no address of ours holds one and decoding happens before
    routing (#130).
    """

    def __init__(self, wsgi_app: WSGI) -> None:
        self._wsgi_app = wsgi_app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["PATH_INFO"] = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        environ["SCRIPT_NAME"] = ""
        environ["HTTP_HOST"] = "issuer.invalid"
        raw = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
        if "%" in raw.partition("?")[0]:
            environ["PATH_INFO"] = "/%"
        return self._wsgi_app(environ, start_response)


def private_headers(response: flask.Response, *, private: bool) -> flask.Response:
    """No sniffing anywhere; private answers, good or bad, are stored nowhere (RFC 6749 section 5.1)."""
    response.headers["X-Content-Type-Options"] = "nosniff"
    if private:
        response.headers["Cache-Control"] = "no-store"
        response.headers["Pragma"] = "no-cache"
    return response
