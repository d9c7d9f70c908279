"""What every request and every answer passes, whichever door it takes: paths as configured, the body as it is framed,
the conditions of the request, headers of private answers."""

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import flask
from werkzeug.exceptions import PreconditionFailed, RequestEntityTooLarge
from werkzeug.wsgi import get_content_length, get_input_stream

from issuer.answer import Answer
from issuer.peer import client_address
from issuer.proxies import Proxies
from issuer.refusals import BODY_MALFORMED, invalid_request
from issuer.request import Arrival

_DIGITS = 10
"""A length of so many digits or more is left to Werkzeug to refuse."""

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

NOSNIFF = ("X-Content-Type-Options", "nosniff")
NOT_STORED = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))
"""Of private answers, good or bad (RFC 6749 section 5.1)."""


class WholePath:
    """Addresses come from the configured base URL alone: SCRIPT_NAME is put back in front of the path.

    Host is not looked at, malformed or not: what is answered depends on the path (#21).

    A percent sign in the path leads nowhere, since no address of ours holds one and decoding happens before
    routing (#130).
    """

    def __init__(self, wsgi_app: WSGI) -> None:
        self._wsgi_app = wsgi_app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["PATH_INFO"] = whole_path(environ)
        environ["SCRIPT_NAME"] = ""
        environ["HTTP_HOST"] = "issuer.invalid"
        if encoded(environ):
            environ["PATH_INFO"] = "/%"
        return self._wsgi_app(environ, start_response)


def whole_path(environ: dict[str, Any]) -> str:
    """The path of a request, wherever the application is mounted."""
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return path


def encoded(environ: dict[str, Any]) -> bool:
    """Whether the path, as it came, holds a percent sign."""
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    return "%" in raw and "%" in raw.partition("?")[0]


def arrival(
    environ: dict[str, Any], method: str, realm_path: str, variables: dict[str, str], proxies: Proxies
) -> Arrival:
    """What a server hands in, at an endpoint that was found."""
    return Arrival(
        method,
        realm_path,
        variables,
        client_address(environ, proxies.addresses),
        environ.get("QUERY_STRING", ""),
        partial(_header, environ),
        partial(_read_body, environ),
        partial(proxies.certificate, environ),
    )


def _header(environ: dict[str, Any], name: str) -> str | None:
    value: str | None = environ.get(_environ_key(name))
    return value


@cache
def _environ_key(name: str) -> str:
    """Where WSGI keeps a header (PEP 3333); `name` is one of those that the program reads."""
    key = name.upper().replace("-", "_")
    return key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"


def _read_body(environ: dict[str, Any], most: int) -> bytes:
    length = environ.get("CONTENT_LENGTH", "")
    try:
        if (
            length.isdecimal()
            and length.isascii()
            and len(length) < _DIGITS
            and "HTTP_TRANSFER_ENCODING" not in environ
        ):
            # The usual case, read at once: a whole body of the length that was said.
            return _exactly(environ["wsgi.input"].read, int(length)) if int(length) <= most else bytes(most + 1)
        # A body that comes in chunks is cut at the limit without a word: one byte more tells.
        body = get_input_stream(environ, max_content_length=most + 1).read()
    except RequestEntityTooLarge:
        return bytes(most + 1)
    except Exception:  # noqa: BLE001 - each server has its own for a chunk whose size is none (RFC 9112 section 7.1)
        raise invalid_request("body_malformed", BODY_MALFORMED) from None
    # Servers that end the stream themselves say nothing of a body that broke off (RFC 9112 section 8).
    if len(body) < (get_content_length(environ) or 0):
        raise invalid_request("body_malformed", BODY_MALFORMED)
    return body


def _exactly(read: Callable[[int], bytes], length: int) -> bytes:
    """So many bytes. Raises EOFError where there are fewer, whatever a server thinks of that."""
    body = read(length) if length else b""
    while len(body) < length:
        more = read(length - len(body))
        if not more:
            raise EOFError
        body += more
    return body


def response(answer: Answer, environ: dict[str, Any], *, private: bool) -> flask.Response:
    """The answer, or as much of it as the conditions of the request leave: 304, and PreconditionFailed is raised."""
    made = flask.Response(answer.body, answer.status, content_type=answer.content_type)
    if answer.headers:
        made.headers.update(answer.headers)
    if answer.etag is not None:
        made.set_etag(answer.etag, answer.weak)
        made.make_conditional(environ)
        if made.status_code == PreconditionFailed.code:
            raise PreconditionFailed  # Werkzeug would send the document under that status
    # No sniffing anywhere.
    for name, value in (NOSNIFF, *NOT_STORED) if private else (NOSNIFF,):
        made.headers[name] = value
    return made
