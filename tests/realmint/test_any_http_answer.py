"""Any bytes as an answer over HTTP: an answer or a TransportError, and nothing else (#161)."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realmint.transport import HTTPTransport, Request, TransportError

many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

SAID = {
    "connection reset",
    "timed out",
    "answer cut short",
    "malformed answer",
    "connection failed",
    "answer too large",
}
"""What a fault may be called: fixed words, and nothing of what came."""


class Raw:
    """A server that answers every connection with the same bytes, whatever they are, and hangs up."""

    def __init__(self) -> None:
        self.sent = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):  # who asked may have had enough of it
                connection.recv(65536)
                connection.sendall(self.sent)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@pytest.fixture
def transport() -> Iterator[HTTPTransport]:
    made = HTTPTransport(timeout=2)
    yield made
    made.close()


@pytest.fixture
def raw() -> Iterator[Raw]:
    server = Raw()
    yield server
    server.close()


field = st.tuples(
    st.sampled_from([b"Content-Length", b"Transfer-Encoding", b"Content-Encoding", b"ETag", b"Age", b"Cache-Control", b"Location", b"X"]),
    st.binary(max_size=20) | st.sampled_from([b"chunked", b"gzip", b"deflate", b"gzip, gzip", b"-1", b"9" * 5000, b"1, 2", b'"a"\r\n b', b"\xff"]),
).map(lambda pair: pair[0] + b": " + pair[1] + b"\r\n")  # fmt: skip
status_line = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200\r\n", b"HTTP/1.1 304 X\r\n", b"HTTP/1.1 99999 X\r\n"]
)
body = st.binary(max_size=50) | st.sampled_from(
    [b"-1\r\nx\r\n", b"5\r\nx", b"f" * 70 + b"\r\n", b"0\r\n\r\n", b"\x1f\x8b\x08\0"]
)
answer = st.tuples(status_line, st.lists(field, max_size=5).map(b"".join), st.just(b"\r\n"), body).map(b"".join)


@many
@given(
    sent=answer
    | st.binary(max_size=300)
    | st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200, b"\n" * 70_000])
)
def test_161_170_any_bytes_as_an_http_answer(raw: Raw, transport: HTTPTransport, sent: bytes) -> None:
    raw.sent = sent
    try:
        got = transport(Request("GET", raw.url))
    except TransportError as failed:
        assert str(failed) in SAID  # noqa: PT017 - either outcome is right
    else:
        assert len(got.body) <= 65536
