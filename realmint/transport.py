"""The one HTTP call this library makes: bounded in time and size, no redirects, https or loopback only.

Anything that can be called with a Request and returns a Response can stand in its place.
"""

import io
import ipaddress
import os
import re
import socket
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import urllib3

from realmint.protocol import monotonic
from realmint.protocol.fork import in_forked_child
from realmint.version import __version__

CONNECT_SECONDS = 1.0
TOTAL_SECONDS = 3.0
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")


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
    """Whether `url` is https, or http to this machine: absolute, of visible ASCII, without a user."""
    if not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port  # a ValueError of its own
    except ValueError:
        return False
    host = parts.hostname or ""
    if "@" in parts.netloc or not (_HOST.fullmatch(host) or _address(host)):
        return False
    if parts.scheme == "http":
        address = _address(host)
        return address.is_loopback if address else host == "localhost"
    return parts.scheme == "https"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class HTTPTransport:
    """The transport over urllib3, with pooled connections. Safe to use from several threads and across a fork.

    One deadline of TOTAL_SECONDS covers an exchange: connecting, the handshake, and every byte of the answer, its
    headers too. Not bounded here: looking up the host's name, which the machine's resolver does in its own time.
    """

    def __init__(self) -> None:
        self._pool = _pool()
        in_forked_child(self._forget_connections)

    def __call__(self, request: Request) -> Response:
        """Raises TransportError."""
        if not is_secure(request.url):
            raise TransportError("not https")
        headers = {"Accept-Encoding": "gzip", "User-Agent": f"realmint/{__version__}", **request.headers}
        _exchange.deadline = monotonic() + TOTAL_SECONDS
        try:
            answer = self._pool.request(
                request.method, request.url, headers=headers, body=request.body, redirect=False, preload_content=False
            )
        except _FAILURES as error:
            raise TransportError(type(error).__name__) from None
        try:
            body = self._read(answer, request.max_bytes)
        except _FAILURES as error:
            answer.close()
            raise TransportError(type(error).__name__) from None
        except TransportError:
            answer.close()  # with bytes left over, the connection is of no more use
            raise
        return Response(answer.status, {name.lower(): value for name, value in answer.headers.items()}, body)

    def _read(self, answer: urllib3.BaseHTTPResponse, max_bytes: int) -> bytes:
        # A piece at a time, so that a bomb grows no larger than allowed.
        body = bytearray()
        while piece := answer.read1(8192, decode_content=True):
            body += piece
            if len(body) > max_bytes:
                raise TransportError("answer too large")
            if _left() <= 0:
                raise TransportError("answer too slow")
        return bytes(body)

    def close(self) -> None:
        """Lets go of every connection."""
        self._pool.clear()

    def _forget_connections(self) -> None:
        """In a forked child: over one socket, parent and child would read each other's answers.

        Only the child's descriptors are closed; nothing is said on a connection that the parent goes on using.
        """
        for connected in list(_connected):
            descriptor = connected.detach()
            if descriptor >= 0:
                os.close(descriptor)
        self._pool = _pool()


_FAILURES = (urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError)
"""What urllib3, http.client and the sockets below them raise; UnicodeError is a ValueError."""

_exchange = threading.local()
"""The deadline of the exchange that this thread is in."""
_connected: "weakref.WeakSet[socket.socket]" = weakref.WeakSet()
"""Every socket of every pool of this process."""


def _left() -> float:
    """Seconds until the deadline of this thread's exchange."""
    deadline: float = _exchange.deadline
    return deadline - monotonic()


def _within_deadline(connected: socket.socket, longest: float = TOTAL_SECONDS) -> None:
    left = _left()
    if left <= 0:
        raise TimeoutError("the deadline of the exchange has passed")
    connected.settimeout(min(left, longest))


class _Timed(io.RawIOBase):
    """Reads from a socket no longer than to the deadline: a time-out of the socket's would count from each byte."""

    def __init__(self, connected: socket.socket, raw: io.RawIOBase) -> None:
        self._socket = connected
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        _within_deadline(self._socket)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()  # which lets the socket go, where the connection has let go of it
        super().close()


class _TimedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        self.fp = io.BufferedReader(_Timed(sock, self.fp.detach()))


class _HTTPConnection(urllib3.connection.HTTPConnection):
    response_class = _TimedResponse

    def _new_conn(self) -> socket.socket:
        return _connect(self)


class _HTTPSConnection(urllib3.connection.HTTPSConnection):
    response_class = _TimedResponse

    def _new_conn(self) -> socket.socket:
        return _connect(self)

    def connect(self) -> None:
        super().connect()
        _connected.add(self.sock)  # the wrapped socket has taken the descriptor over


def _connect(connection: urllib3.connection.HTTPConnection) -> socket.socket:
    """A connected socket. Each address that a name stands for is tried, all of them within the deadline."""
    try:
        found = socket.getaddrinfo(connection.host.strip("[]"), connection.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise urllib3.exceptions.NewConnectionError(connection, "the host's name is not known") from error
    failed: OSError | None = None
    for family, kind, protocol, _, address in found:
        connected = socket.socket(family, kind, protocol)
        try:
            for option in connection.socket_options or ():
                connected.setsockopt(*option)
            _within_deadline(connected, CONNECT_SECONDS)
            connected.connect(address)
            _within_deadline(connected, CONNECT_SECONDS)  # for the handshake
        except OSError as error:
            connected.close()
            failed = error
        else:
            _connected.add(connected)
            return connected
    if isinstance(failed, TimeoutError):
        raise urllib3.exceptions.ConnectTimeoutError(connection, "no connection in time") from failed
    raise urllib3.exceptions.NewConnectionError(connection, "no connection") from failed


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


def _pool() -> urllib3.PoolManager:
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, total=TOTAL_SECONDS),
        # One retry, and only where no connection was made (RFC 9110 section 9.2.2).
        retries=urllib3.Retry(total=1, connect=1, read=0, redirect=0, status=0, other=0, backoff_factor=0),
        maxsize=8,
    )
    pool.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
    return pool
