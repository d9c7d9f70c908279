"""The one HTTP call this library makes: bounded in time and size, no redirects, https or loopback only, fork-safe.

Anything that can be called with a Request and returns a Response can stand in its place.
"""

import os
import socket
from functools import partial
from urllib.parse import urlsplit

import urllib3

from realmint.causes import cause_of, never_connected
from realmint.connections import connection_pools, exchange, tls_context
from realmint.lookups import Lookups, Resolve
from realmint.messages import Request, Response, Transport, TransportError
from realmint.protocol.addresses import is_secure, is_url
from realmint.protocol.fork import in_forked_child
from realmint.proxies import Proxy, from_environment, only
from realmint.version import __version__

__all__ = ["TOTAL_SECONDS", "HTTPTransport", "Request", "Response", "Transport", "TransportError", "is_secure"]

TOTAL_SECONDS = 3.0
"""Longest exchange: name, connection, TLS, request and answer together, a second try included."""


class HTTPTransport:
    """The transport over urllib3, with pooled connections. Safe to use from several threads and across a fork.

    ca_file: a file of certificates (PEM): these authorities are trusted and no others; without, the system's, or those
    that SSL_CERT_FILE and SSL_CERT_DIR name, read when the first https address is asked. proxy: `http://host:port`,
    with `user:password@` where it wants that; without, what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say; empty text for
    none. No proxy is used for loopback. certificate: two files in PEM, a client's certificate and its private key,
    which are shown to whoever asks for one (RFC 8705). timeout: longest exchange in seconds, its whole. resolve: asked
    for the addresses of a host, in a thread; what it takes counts, but a resolver that hangs goes on hanging there.
    Not counted is a machine that is itself stopped.

    Raises ValueError for an option or a variable that cannot work.
    """

    def __init__(
        self,
        *,
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        timeout: float = TOTAL_SECONDS,
        certificate: tuple[str, str] | None = None,
        resolve: Resolve = socket.getaddrinfo,
    ) -> None:
        if not timeout > 0:
            raise ValueError("timeout must be above 0 seconds")
        self._timeout = timeout
        self._lookups = Lookups(resolve)
        self._tls = None if ca_file is None else tls_context(os.fspath(ca_file))
        if certificate is not None:
            self._tls = self._tls or tls_context()
            try:
                self._tls.load_cert_chain(*certificate)
            except OSError as error:  # ssl.SSLError is one
                raise ValueError("certificate is no PEM certificate with its private key") from error
        self._proxies = from_environment(os.environ) if proxy is None else only(proxy)
        self._forget_connections()
        in_forked_child(self._forget_connections)

    def __call__(self, request: Request) -> Response:
        """Raises TransportError."""
        if not (is_url(request.url) if request.insecure else is_secure(request.url)):
            raise TransportError("not https")
        seconds = self._timeout if request.seconds is None else min(self._timeout, request.seconds)
        with exchange(seconds, self._lookups):
            return self._exchange(request)

    def _exchange(self, request: Request) -> Response:
        answer = self._send(request)
        connection = answer.connection
        try:
            body = _read(answer, request.max_bytes)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            answer.close()
            kind, cause = cause_of(error)
            raise TransportError(kind) from cause
        except TransportError:
            answer.close()  # with bytes left over, the connection is of no more use
            raise
        if answer.status >= 500 and connection is not None:
            connection.close()  # behind one address there may be other nodes, and a new connection finds them
        return Response(answer.status, {name.lower(): value for name, value in answer.headers.items()}, body)

    def _send(self, request: Request) -> urllib3.BaseHTTPResponse:
        """The answer, whose body is still to be read. Where no connection could be made, one is tried once more."""
        headers = {"Accept-Encoding": "gzip", "User-Agent": f"realmint/{__version__}", **request.headers}
        try:
            send = partial(
                self._pools_for(request.url).request, request.method, request.url, headers=headers, body=request.body,
                redirect=False, preload_content=False,
            )  # fmt: skip
            try:
                return send()
            except (urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.ProxyError) as error:
                # Nothing was sent (RFC 9110 section 9.2.2).
                if not never_connected(error):
                    raise
                return send()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            kind, cause = cause_of(error)
            raise TransportError(kind) from cause

    def close(self) -> None:
        """Lets go of every connection."""
        for pools in list(self._pools.values()):
            pools.clear()

    def _pools_for(self, url: str) -> urllib3.PoolManager:
        """Those of the way to `url`."""
        secure, proxy = urlsplit(url).scheme == "https", self._proxies.of(url)
        found = self._pools.get((secure, proxy))
        if found is None:
            if secure and self._tls is None:
                # OpenSSL takes as long to read what a system trusts as Python does to import all of this: not before it
                # is needed, and never for an issuer on loopback.
                self._tls = tls_context()
            new = connection_pools(self._tls if secure else None, proxy)
            found = self._pools.setdefault((secure, proxy), new)  # the first of two that came at once
        return found

    def _forget_connections(self) -> None:
        """At first, and in a forked child: the connections are its parent's, and their answers too."""
        self._pools: dict[tuple[bool, Proxy | None], urllib3.PoolManager] = {}


def _read(answer: urllib3.BaseHTTPResponse, max_bytes: int) -> bytes:
    # A piece at a time, so that a bomb grows no larger than allowed.
    body = bytearray()
    while piece := answer.read1(8192, decode_content=True):
        body += piece
        if len(body) > max_bytes:
            raise TransportError("answer too large")
    return bytes(body)
