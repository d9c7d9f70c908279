"""The one HTTP call this library makes: bounded in time and size, no redirects, https or loopback only, fork-safe.

Anything that can be called with a Request and returns a Response can stand in its place.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import urllib3

from realmint.connections import connection_pools, exchange, tls_context
from realmint.lookups import Lookups, Resolve
from realmint.protocol.fork import in_forked_child
from realmint.version import __version__

TOTAL_SECONDS = 3.0
"""Longest exchange: name, connection, TLS, request and answer together, a second try included."""

# What a URL is written with (RFC 3986 section 2). Anything else is read differently from one parser to the next.
_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")


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
    """Whether `url` is https, or http to this machine. Text that is no URL is not; nothing is raised for it."""
    if not _URL.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - raises for a port that is none
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
    """The transport over urllib3, with pooled connections. Safe to use from several threads and across a fork.

    timeout: longest exchange in seconds, its whole. resolve: asked for the addresses of a host, in a thread; what it
    takes counts, but a resolver that hangs goes on hanging there. Not counted is a machine that is itself stopped.
    """

    def __init__(self, *, timeout: float = TOTAL_SECONDS, resolve: Resolve = socket.getaddrinfo) -> None:
        if not timeout > 0:
            raise ValueError("timeout must be above 0 seconds")
        self._timeout = timeout
        self._lookups = Lookups(resolve)
        self._tls = tls_context()
        self._pools = connection_pools(self._tls)
        in_forked_child(self._forget_connections)

    def __call__(self, request: Request) -> Response:
        """Raises TransportError."""
        if not is_secure(request.url):
            raise TransportError("not https")
        with exchange(self._timeout, self._lookups):
            return self._exchange(request)

    def _exchange(self, request: Request) -> Response:
        headers = {"Accept-Encoding": "gzip", "User-Agent": f"realmint/{__version__}", **request.headers}
        try:
            answer = self._pools.request(
                request.method, request.url, headers=headers, body=request.body, redirect=False, preload_content=False
            )
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise TransportError(type(error).__name__) from None
        try:
            body = _read(answer, request.max_bytes)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            answer.close()
            raise TransportError(type(error).__name__) from None
        except TransportError:
            answer.close()  # with bytes left over, the connection is of no more use
            raise
        return Response(answer.status, {name.lower(): value for name, value in answer.headers.items()}, body)

    def close(self) -> None:
        """Lets go of every connection."""
        self._pools.clear()

    def _forget_connections(self) -> None:
        """In a forked child: the connections are its parent's, and their answers too."""
        self._pools = connection_pools(self._tls)


def _read(answer: urllib3.BaseHTTPResponse, max_bytes: int) -> bytes:
    # A piece at a time, so that a bomb grows no larger than allowed.
    body = bytearray()
    while piece := answer.read1(8192, decode_content=True):
        body += piece
        if len(body) > max_bytes:
            raise TransportError("answer too large")
    return bytes(body)
