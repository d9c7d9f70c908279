"""The one HTTP call, against a real server on loopback that misbehaves."""

import gzip
import os
import select
import socket
import struct
import threading
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from realmint.connections import tls_context
from realmint.transport import HTTPTransport, Request, TransportError, is_secure

BOMB = gzip.compress(b"x" * 50_000_000)


class Misbehaving(BaseHTTPRequestHandler):
    paths: list[str]
    stop: threading.Event

    def do_GET(self) -> None:
        type(self).paths.append(self.path)
        getattr(self, "serve_" + self.path[1:])()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, self.headers["Authorization"].encode() + b"|" + body)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def serve_fine(self) -> None:
        self.answer(200, b"{}", ETag='"1"')

    def serve_redirect(self) -> None:
        self.answer(302, b"", Location="/fine")

    def serve_large(self) -> None:
        self.answer(200, b"x" * 70000)

    def serve_bomb(self) -> None:
        self.answer(200, BOMB, Content_Encoding="gzip")

    def serve_bomb_in_a_bomb(self) -> None:
        self.answer(200, gzip.compress(BOMB), Content_Encoding="gzip, gzip")

    def serve_busy(self) -> None:
        self.answer(503, b"{}", Retry_After="1")

    def serve_busy_for_long(self) -> None:
        self.send_response(503)
        self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(10**11))
        self.end_headers()
        self.wfile.write(b"x" * 100_000)

    def serve_drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        try:
            while not type(self).stop.wait(0.1):
                self.wfile.write(b"x")
                self.wfile.flush()
        except OSError:
            return

    def serve_silence(self) -> None:
        type(self).stop.wait(20)

    def serve_cut(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x")
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[tuple[str, type[Misbehaving]]]:
    handler = type("Handler", (Misbehaving,), {"paths": [], "stop": threading.Event()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}", handler
        handler.stop.set()
        made.shutdown()
        thread.join()


@pytest.fixture
def transport() -> Iterator[HTTPTransport]:
    made = HTTPTransport(timeout=1)
    yield made
    made.close()


def test_an_answer_has_status_headers_in_lower_case_and_body(server: Any, transport: HTTPTransport) -> None:
    answer = transport(Request("GET", server[0] + "/fine"))
    assert (answer.status, answer.headers["etag"], answer.body) == (200, '"1"', b"{}")


def test_a_form_is_sent_with_its_headers(server: Any, transport: HTTPTransport) -> None:
    answer = transport(Request("POST", server[0] + "/fine", {"Authorization": "Basic x"}, b"token=t"))
    assert answer.body == b"Basic x|token=t"


def test_170_a_redirect_is_not_followed(server: Any, transport: HTTPTransport) -> None:
    assert transport(Request("GET", server[0] + "/redirect")).status == 302
    assert server[1].paths == ["/redirect"]


def test_170_an_answer_that_says_when_to_ask_again_is_an_answer_as_any_other(
    server: Any, transport: HTTPTransport
) -> None:
    assert transport(Request("GET", server[0] + "/busy")).status == 503
    with pytest.raises(TransportError, match="too large"):
        transport(Request("GET", server[0] + "/busy_for_long"))
    assert server[1].paths == ["/busy", "/busy_for_long"]


@pytest.mark.parametrize("path", ["large", "bomb", "bomb_in_a_bomb", "drip", "silence", "cut"])
def test_170_an_answer_that_is_too_large_too_slow_or_cut_short_is_one_kind_of_failure(
    server: Any, transport: HTTPTransport, path: str
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TransportError) as failed:
            transport(Request("GET", f"{server[0]}/{path}"))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert server[0] not in str(failed.value)
    # The transport is of use afterwards.
    assert transport(Request("GET", server[0] + "/fine")).status == 200


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "https://127.0.0.1:1/"])
def test_nobody_there_is_the_same_kind_of_failure(transport: HTTPTransport, url: str) -> None:
    with pytest.raises(TransportError):
        transport(Request("GET", url))


@pytest.mark.parametrize(
    "url",
    ["http://issuer.example/", "file:///etc/passwd", "ftp://127.0.0.1/", "data:,x", "", "https://", "//x", "http://127.0.0.1.evil.example/",
     "http://localhost@evil.example/", "http://[::ffff:1.2.3.4]/", "http://[bad/", "http://[::1/jwks", "https://[x]/", "https://[]/",
     "https://issuer.example\u2100/", "https://issuer\uff0eexample/", "https://h:port/", "https://h:99999/", "https://h:-1/",
     "https://h/ ", " https://h/", "https://h/\n", "https://h\\@evil.example/", "https://h/\0", "https://h/\ud800", "https:///", "https://:1/"],
)  # fmt: skip
def test_170_only_https_or_loopback_is_asked(transport: HTTPTransport, url: str) -> None:
    assert not is_secure(url)
    with pytest.raises(TransportError):
        transport(Request("GET", url))


def test_a_connection_that_is_reset_before_tls_begins_is_closed_at_once() -> None:
    # It would be left to the collector, and a descriptor with it, for each try at an issuer that starts anew.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = socket.create_connection(listener.getsockname())
        descriptor = connection.fileno()
        other, _ = listener.accept()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        other.close()
        select.select([connection], [], [], 10)  # the reset is there
        with pytest.raises(ConnectionResetError):
            tls_context().wrap_socket(connection, server_hostname="issuer.example")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
