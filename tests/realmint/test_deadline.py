"""One deadline for the whole of an exchange, against real servers that take their time (facts: 55 s for a header)."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from realmint import Introspection, ResourceServer, Unavailable
from realmint.transport import TOTAL_SECONDS, HTTPTransport, Request, TransportError
from tests.support.forge import Forge
from tests.support.tls import certificate

SECONDS = 0.5
PAUSE = 0.15
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Serve = Callable[["Slow", socket.socket], None]


class Slow:
    """A server that hands each connection to `serve`, in a thread of its own, until `stop` is set."""

    def __init__(self, serve: Serve) -> None:
        self.stop = threading.Event()
        self.connections = 0
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self._answer, args=(connection,)))
            self._threads[-1].start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._serve(self, connection)
            except OSError:
                return

    def drip(self, connection: socket.socket, first: bytes, drop: bytes) -> None:
        """Sends `first`, then `drop` again and again with pauses, so that no single wait is a long one."""
        connection.recv(65536)
        connection.sendall(first)
        while not self.stop.wait(PAUSE):
            connection.sendall(drop)

    def close(self) -> None:
        self.stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)


@contextmanager
def serving(serve: Serve) -> Iterator[Slow]:
    server = Slow(serve)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def transport() -> Iterator[HTTPTransport]:
    made = HTTPTransport(timeout=SECONDS)
    yield made
    made.close()


def seconds_until_refused(transport: HTTPTransport, request: Request) -> float:
    began = time.monotonic()
    with pytest.raises(TransportError):
        transport(request)
    return time.monotonic() - began


HEAD = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "status line": (b"HTTP/1.1 200 ", b"O"),
    "a header": (HEAD + b"X: ", b"x"),
    "headers": (HEAD, b"X: x\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (HEAD + b"Content-Length: 1000\r\n\r\n", b"x"),
    "body without a length": (HEAD + b"\r\n", b"x"),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "the size of a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "trailers": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: x\r\n"),
    "gzip": (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 1000\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\0"),
}


@pytest.mark.parametrize("part", list(DRIPS))
def test_170_an_answer_that_comes_in_drips_ends_with_the_deadline_whichever_part_drips(
    transport: HTTPTransport, part: str
) -> None:
    with serving(lambda server, connection: server.drip(connection, *DRIPS[part])) as server:
        assert seconds_until_refused(transport, Request("GET", f"http://{server.address}/")) < SECONDS + 1.5
        assert server.connections == 1  # nothing that was asked is asked twice


@pytest.mark.parametrize("drop", [b"", b"\0"])
def test_170_a_tls_handshake_in_drips_ends_with_the_deadline(transport: HTTPTransport, drop: bytes) -> None:
    record = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03"  # the start of a long ServerHello
    with serving(lambda server, connection: server.drip(connection, record, drop)) as server:
        assert seconds_until_refused(transport, Request("GET", f"https://{server.address}/")) < SECONDS + 1.5


def test_170_headers_in_drips_end_with_the_deadline_under_tls_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = certificate(tmp_path, "issuer.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    asked = iter([FINE, HEAD + b"X: "])

    def serve(server: Slow, connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(65536)
            secured.sendall(next(asked))
            server.drip(secured, next(asked), b"x")

    with serving(serve) as server:
        transport = HTTPTransport(timeout=SECONDS)
        assert transport(Request("GET", f"https://{server.address}/")).body == b"{}"
        assert seconds_until_refused(transport, Request("GET", f"https://{server.address}/")) < SECONDS + 1.5
        assert server.connections == 1


def test_170_a_server_that_does_not_read_holds_nobody_past_the_deadline(transport: HTTPTransport) -> None:
    with serving(lambda server, _: server.stop.wait(10)) as server:  # type: ignore[arg-type, return-value]
        request = Request("POST", f"http://{server.address}/", body=b"x" * 20_000_000)
        assert seconds_until_refused(transport, request) < SECONDS + 1.5


def test_170_many_addresses_that_take_no_connection_share_one_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:  # more than the queue holds: the kernel answers nobody from here on
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        found = socket.getaddrinfo(*full.getsockname(), type=socket.SOCK_STREAM) * 20
        transport = HTTPTransport(timeout=SECONDS, resolve=lambda *_, **__: found)
        assert seconds_until_refused(transport, Request("GET", "https://issuer.example/")) < SECONDS + 1.5
        for sock in waiting:
            sock.close()


def test_170_a_resolver_that_hangs_holds_nobody_past_the_deadline_and_one_thread_at_most() -> None:
    answered = threading.Event()
    asked: list[str] = []
    with serving(lambda server, connection: server.drip(connection, FINE, b"")) as server:

        def resolve(host: str, port: int, **_: Any) -> Sequence[Any]:
            asked.append(host)
            assert answered.wait(20)
            return socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)

        transport = HTTPTransport(timeout=SECONDS, resolve=resolve)
        request = Request("GET", f"http://localhost:{server.address.partition(':')[2]}/")
        took: list[float] = []
        threads = [
            threading.Thread(target=lambda: took.append(seconds_until_refused(transport, request))) for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(took) == 5
        assert max(took) < SECONDS + 1.5
        assert asked == ["localhost"]
        answered.set()
        assert transport(request).body == b"{}"


def test_170_validate_gives_up_in_the_time_of_one_exchange_where_headers_come_in_drips() -> None:
    with serving(lambda server, connection: server.drip(connection, HEAD + b"X: ", b"x")) as server:
        issuer = f"http://{server.address}/oauth2/realms/root"
        now = int(time.time())
        token = Forge(issuer=issuer).token(iat=now, nbf=now, exp=now + 600)
        began = time.monotonic()
        with pytest.raises(Unavailable):
            ResourceServer(issuer=issuer, audience="https://orders.example").validate(token)
        assert time.monotonic() - began < TOTAL_SECONDS + 1.5


def test_170_introspection_gives_up_with_the_deadline_where_headers_come_in_drips() -> None:
    with serving(lambda server, connection: server.drip(connection, HEAD + b"X: ", b"x")) as server:
        settings = Introspection("orders-api", "secret", mode="opaque", endpoint=f"http://{server.address}/introspect")
        api = ResourceServer(
            issuer="https://issuer.example", audience="https://orders.example", introspection=settings,
            transport=HTTPTransport(timeout=SECONDS),
        )  # fmt: skip
        began = time.monotonic()
        with pytest.raises(Unavailable):
            api.validate("rmt_0123456789")
        assert time.monotonic() - began < SECONDS + 1.5


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_deadline_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError):
        HTTPTransport(timeout=timeout)
