"""urllib3 with one deadline for the whole of an exchange, and with nothing that a forked child would share.

urllib3 bounds each wait and not their sum, so that a byte now and then holds a caller for as long as it pleases the
sender. Here every wait of a socket, from the look-up of the name to the last byte of the body, ends with its exchange.
"""

import errno
import os
import queue
import socket
import ssl
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple
from weakref import WeakSet

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from realmint.lookups import Lookups
from realmint.protocol import monotonic
from realmint.protocol.fork import in_forked_child
from realmint.proxies import Proxy

CONNECT_SECONDS = 1.0
"""Longest wait for one address of a host to take a connection."""
MAX_IDLE = 8
"""Most connections to one host that are kept for the next exchange."""


class _Exchange(NamedTuple):
    """One request and its answer, and the instant at which it is over."""

    deadline: float
    lookups: Lookups

    def left(self) -> float:
        """Seconds, more than 0. Raises TimeoutError when there are none."""
        left = self.deadline - monotonic()
        if left <= 0:
            raise TimeoutError("the exchange took too long")
        return left


# The sockets of a connection serve one exchange after another, each in one thread from its start to its end.
_EXCHANGE: ContextVar[_Exchange] = ContextVar("realmint_exchange")


@contextmanager
def exchange(seconds: float, lookups: Lookups) -> Iterator[None]:
    """Within the block, what connections do in this thread ends `seconds` from now, with TimeoutError."""
    token = _EXCHANGE.set(_Exchange(monotonic() + seconds, lookups))
    try:
        yield
    finally:
        _EXCHANGE.reset(token)


def connection_pools(tls: ssl.SSLContext | None, proxy: Proxy | None = None) -> urllib3.PoolManager:
    """Pools of connections for use within exchange(): to hosts, or to hosts through a proxy (CONNECT for https).

    tls: without it they are for http alone.
    """
    # Who asks tries again where that is safe: urllib3 would log the address, and it takes an answer that says when to
    # ask again for a reason to read the whole of it, past every bound on its size.
    options: dict[str, Any] = {"retries": False, "maxsize": MAX_IDLE}
    if tls is not None:
        options["ssl_context"] = tls
    pools = (
        urllib3.PoolManager(**options)
        if proxy is None
        else urllib3.ProxyManager(proxy.url, proxy_headers=proxy.headers, **options)
    )
    pools.pool_classes_by_scheme = {"http": _Pool} if tls is None else {"https": _TLSPool}
    return pools


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """TLS that checks the host's name, over sockets that keep to the deadline.

    It trusts the authorities in `ca_file` (PEM) alone; without, what the system trusts, or what SSL_CERT_FILE and
    SSL_CERT_DIR name. Raises ValueError for a file that is of no use.
    """
    context = create_urllib3_context()
    if ca_file is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"ca_file {ca_file!r} cannot be read as certificates in PEM form") from error
    context.sslsocket_class = _TLSSocket
    return context


class _OpenSockets:
    """The sockets of this process, so that a forked child can close its copies."""

    def __init__(self) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()
        in_forked_child(self._close_copies)

    def add(self, sock: socket.socket) -> None:
        self._sockets.add(sock)

    def _close_copies(self) -> None:
        # The descriptors alone: the connection stays open for as long as the parent has it, and no word of TLS is said.
        inherited, self._sockets = list(self._sockets), WeakSet()
        for sock in inherited:
            descriptor = sock.detach()
            if descriptor >= 0:
                os.close(descriptor)


_OPEN = _OpenSockets()


class _Socket(socket.socket):
    """Waits no longer than its exchange lasts; the waits of a C function are bounded as a whole by its time-out."""

    def recv_into(self, *args: Any, **more: Any) -> int:
        self.settimeout(_EXCHANGE.get().left())
        return super().recv_into(*args, **more)

    def send(self, *args: Any) -> int:
        self.settimeout(_EXCHANGE.get().left())
        return super().send(*args)

    def sendall(self, *args: Any) -> None:
        self.settimeout(_EXCHANGE.get().left())
        super().sendall(*args)


class _TLSSocket(_Socket, ssl.SSLSocket):
    def getpeername(self) -> Any:
        """As ssl asks first of all; where the other side has hung up by then, ssl would leave this open."""
        try:
            return super().getpeername()
        except OSError as error:
            self.close()
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from error

    def do_handshake(self, block: bool = False) -> None:
        _OPEN.add(self)
        self.settimeout(_EXCHANGE.get().left())
        super().do_handshake(block)


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        try:
            return _connect(self._dns_host.strip("[]"), self.port, self.socket_options or ())
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "timed out") from error
        except (OSError, ValueError) as error:
            raise NewConnectionError(self, type(error).__name__) from error


class _TLSConnection(_Connection, HTTPSConnection):
    """The same, with TLS."""


class _Idle(queue.LifoQueue[Any]):
    """The idle connections of one host, newest first, without a lock: a forked child might find it held for ever.

    A deque's own operations are whole. Two threads at once may keep a connection more than `maxsize`, no harm.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self._idle: deque[Any] = deque()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ARG002 - as urllib3 calls it
        try:
            return self._idle.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ARG002 - as urllib3 calls it
        if len(self._idle) >= self.maxsize:
            raise queue.Full
        self._idle.append(item)

    def qsize(self) -> int:
        return len(self._idle)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection
    QueueCls = _Idle


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection
    QueueCls = _Idle


def _connect(host: str, port: int, options: Any) -> socket.socket:
    """A connection to the first of the host's addresses that takes one. Raises OSError, ValueError."""
    current = _EXCHANGE.get()
    failed = OSError("the name has no address")
    for family, kind, protocol, _, address in current.lookups.addresses(host, port, current.left()):
        try:
            sock = _Socket(family, kind, protocol)
        except OSError as error:  # a family that this machine does not have
            failed = error
            continue
        _OPEN.add(sock)
        try:
            for option in options:
                sock.setsockopt(*option)
            sock.settimeout(min(CONNECT_SECONDS, current.left()))
            sock.connect(address)
        except OSError as error:
            sock.close()
            failed = error
        else:
            return sock
    raise failed
