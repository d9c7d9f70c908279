"""The one HTTP call this library makes: bounded in time and size, no redirects, https or loopback only.

Anything that can be called with a Request and returns a Response can stand in its place.
"""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import urllib3

from realmint.protocol import monotonic
from realmint.version import __version__

CONNECT_SECONDS = 1.0
TOTAL_SECONDS = 3.0


class TransportError(Exception):
    """No usable answer came. The message names a kind of fault, never an address or a header."""


@dataclass(frozen=True)
class Request:
    """What is asked: `body` is sent as a form. `max_bytes` bounds the answer, after decompression."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    max_bytes: int = 65536


@dataclass(frozen=True)
class Response:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


Transport = Callable[[Request], Response]


def is_secure(url: str) -> bool:
    """Whether `url` is https, or http to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    if parts.scheme != "http":
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class HTTPTransport:
    """The transport over urllib3, with pooled connections. Safe to use from several threads."""

    def __init__(self) -> None:
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, total=TOTAL_SECONDS),
            # One retry, and only where no connection was made (RFC 9110 section 9.2.2).
            retries=urllib3.Retry(total=1, connect=1, read=0, redirect=0, status=0, other=0, backoff_factor=0),
            maxsize=8,
        )

    def __call__(self, request: Request) -> Response:
        """Raises TransportError."""
        if not is_secure(request.url):
            raise TransportError("not https")
        headers = {"Accept-Encoding": "gzip", "User-Agent": f"realmint/{__version__}", **request.headers}
        try:
            answer = self._pool.request(
                request.method, request.url, headers=headers, body=request.body, redirect=False, preload_content=False
            )
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise TransportError(type(error).__name__) from None
        try:
            body = self._read(answer, request.max_bytes, monotonic() + TOTAL_SECONDS)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            answer.close()
            raise TransportError(type(error).__name__) from None
        except TransportError:
            answer.close()  # with bytes left over, the connection is of no more use
            raise
        return Response(answer.status, {name.lower(): value for name, value in answer.headers.items()}, body)

    def _read(self, answer: urllib3.BaseHTTPResponse, max_bytes: int, deadline: float) -> bytes:
        # A piece at a time, so that neither a drip nor a bomb lasts longer or grows larger than allowed.
        body = bytearray()
        while piece := answer.read1(8192, decode_content=True):
            body += piece
            if len(body) > max_bytes:
                raise TransportError("answer too large")
            if monotonic() > deadline:
                raise TransportError("answer too slow")
        return bytes(body)

    def close(self) -> None:
        """Lets go of every connection."""
        self._pool.clear()
