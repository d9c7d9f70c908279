"""The application is called as WSGI (PEP 3333) has it, and what it says becomes the bytes of an answer."""

import io
from collections.abc import Callable, Iterable
from functools import cache
from http import HTTPStatus
from typing import Any, NamedTuple

from issuer import log
from issuer.answer import document
from issuer.serving.environ import Refused

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_FAULT = Refused(500, "server_fault", "The server could not handle the request")
_REFUSAL = [
    ("Content-Type", "application/json"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Pragma", "no-cache"),
]
_NO_BODY = frozenset({"204", "304"})


class Whole(NamedTuple):
    """A request that is there whole. body: None for one that broke off. keep: the connection may go on behind it."""

    environ: dict[str, Any]
    body: bytes | None
    keep: bool


class Said(NamedTuple):
    """What is sent. keep: the connection goes on behind it."""

    data: bytes
    keep: bool


class _BrokenOff(io.RawIOBase):
    """A body that ended before its end, or was not framed as HTTP frames one."""

    def readable(self) -> bool:
        return True

    def readinto(self, _: Any) -> int:
        raise OSError("the body broke off")


def answer(application: WSGI, whole: Whole, date: str, ending: Callable[[], bool]) -> Said:
    """What is sent for this request, whatever the application does. Raises nothing but WouldWait.

    ending: whether no connection is kept any more, asked when the answer is known.
    """
    # A copy, since it may be asked once more.
    environ = whole.environ | {"wsgi.input": _BrokenOff() if whole.body is None else io.BytesIO(whole.body)}
    said: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:  # noqa: ARG001 - PEP 3333's
        said[:] = [status, headers]

    try:
        parts = application(environ, start_response)
        try:
            body = b"".join(parts)
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()
        status, headers = said
        if environ["REQUEST_METHOD"] == "HEAD" or status[:3] in _NO_BODY:
            body = b""
        elif not any(name.lower() == "content-length" for name, _ in headers):
            headers = [*headers, ("Content-Length", str(len(body)))]
        return _said(status, headers, body, date, whole if whole.keep and not ending() else whole._replace(keep=False))
    except Exception as error:  # noqa: BLE001 - each request is answered
        log.LOGGER.error("server_error", exc_info=error)
        return _refusal(_FAULT, "server_error", date, whole._replace(keep=False))


def refusal(refused: Refused, address: str, date: str) -> Said:
    """What is sent to who sent no request; the connection ends with it."""
    # The line first, as behind every other answer: who was refused finds it.
    log.event("refused", address=address, error="invalid_request", reason=refused.reason)
    return _refusal(refused, "invalid_request", date, _NOBODYS)


_NOBODYS = Whole({"REQUEST_METHOD": "", "SERVER_PROTOCOL": "HTTP/1.1"}, None, keep=False)


def _refusal(refused: Refused, error: str, date: str, whole: Whole) -> Said:
    said = document(refused.status, {"error": error, "error_description": refused.text})
    headers = [*_REFUSAL, ("Content-Length", str(len(said.body)))]
    body = b"" if whole.environ["REQUEST_METHOD"] == "HEAD" else said.body
    return _said(_status(refused.status), headers, body, date, whole)


@cache
def _status(code: int) -> str:
    return f"{code} {HTTPStatus(code).phrase}"


def _said(status: str, headers: list[tuple[str, str]], body: bytes, date: str, whole: Whole) -> Said:
    """Raises ValueError for a header that would be more than one."""
    lines = [f"HTTP/1.1 {status}", *[f"{name}: {value}" for name, value in headers], date]
    if not whole.keep:
        lines.append("Connection: close")
    elif whole.environ["SERVER_PROTOCOL"] == "HTTP/1.0":
        lines.append("Connection: keep-alive")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise ValueError("a header holds the end of a line")
    return Said(b"%b\r\n\r\n%b" % (head.encode("latin-1"), body), whole.keep)
