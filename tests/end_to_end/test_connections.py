"""Connections to what `make serve` starts: order, keep-alive, 100-continue, half-closed ones, TLS."""

import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest
import urllib3

from tests.support.load import ask
from tests.support.process import Deployment, until
from tests.support.raw import heard
from tests.support.tls import TLSSocket, certificate

PATH = "/oauth2/realms/root"


class Node:
    def __init__(self, folder: Path) -> None:
        self.deployment = Deployment(folder, LOG_LEVEL="ERROR")
        secret = self.deployment.run("clients create svc --scope read --default-scope read")["client_secret"]
        self.credentials = ("svc", secret)

    def request(self, endpoint: str, version: str = "1.1", fields: str = "", **form: str) -> bytes:
        body = urlencode({"client_id": "svc", "client_secret": self.credentials[1], **form})
        lines = [
            f"POST {PATH}/{endpoint} HTTP/{version}", "Host: x", "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(body)}", *filter(None, [fields]),
        ]  # fmt: skip
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def token_request(self, version: str = "1.1", fields: str = "") -> bytes:
        return self.request("access_token", version, fields, grant_type="client_credentials")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node(tmp_path_factory.mktemp("node"))
    with node.deployment.production("--workers 1"):
        ask(node.deployment.issuer(), node.credentials)
        yield node


def bodies(answer: bytes) -> list[bytes]:
    return re.findall(rb"\r\n\r\n(\{[^\r]*\})\n?", answer)


def test_requests_sent_ahead_are_answered_in_their_order_though_every_other_one_has_to_wait(node: Node) -> None:
    token = ask(node.deployment.issuer(), node.credentials).token
    pair = node.token_request() + node.request("introspect", token=token)
    answer = heard(node.deployment.port, pair * 60 + node.token_request(fields="Connection: close")).answer
    kinds = ["token" if b"access_token" in body else "introspected" for body in bodies(answer)]
    assert kinds == ["token", "introspected"] * 60 + ["token"]
    assert b'{"active":false}' not in answer


def test_what_is_sent_ahead_of_an_end_is_answered_and_what_stands_behind_it_is_not(node: Node) -> None:
    last = node.token_request(fields="Connection: close")
    answer = heard(node.deployment.port, node.token_request() + last + node.token_request())
    assert answer.statuses == [200, 200]
    assert answer.closed_after is not None


@pytest.mark.parametrize("endpoint", ["access_token", "introspect"])
def test_a_client_that_says_that_nothing_more_comes_gets_its_answer(node: Node, endpoint: str) -> None:
    request = node.request(endpoint, grant_type="client_credentials", token="x")
    answer = heard(node.deployment.port, request, half_close=True)
    assert answer.statuses == [200]
    assert answer.closed_after is not None
    assert answer.closed_after < 5


@pytest.mark.parametrize(
    ("fields", "kept"), [("", False), ("Connection: keep-alive", True), ("Connection: close", False)]
)
def test_http_1_0_keeps_a_connection_where_it_is_asked_to_and_says_so(node: Node, fields: str, kept: bool) -> None:
    request = node.token_request("1.0", fields)
    answer = heard(node.deployment.port, request + request, seconds=3)
    assert answer.statuses == [200, 200] if kept else [200]
    assert (b"Connection: keep-alive" in answer.answer) is kept
    assert (answer.closed_after is None) is kept


def test_who_waits_to_be_asked_for_the_body_is_asked(node: Node) -> None:
    head, _, body = node.token_request(fields="Expect: 100-continue\r\nConnection: close").partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", node.deployment.port), 10) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("fields", ["Connection: close", "Connection: Upgrade\r\nUpgrade: h2c"])
def test_a_request_in_single_bytes_is_a_request(node: Node, fields: str) -> None:
    with socket.create_connection(("127.0.0.1", node.deployment.port), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in node.token_request(fields=fields):
            connection.send(bytes([byte]))
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_over_tls_it_serves_as_without_and_who_never_speaks_it_is_cut_off(tmp_path: Path) -> None:
    node = Node(tmp_path)
    cert, key = certificate(tmp_path, "issuer.example")
    deployment, context = node.deployment, ssl.create_default_context(cafile=str(cert))
    context.sslsocket_class = TLSSocket
    command = [*deployment.gunicorn_line("--workers 1"), "--certfile", str(cert), "--keyfile", str(key)]
    with deployment.process(command, ca=str(cert)):
        silent = socket.create_connection(("127.0.0.1", deployment.port), 30)
        other = socket.create_connection(("127.0.0.1", deployment.port), 30)
        started = time.monotonic()
        with silent, other:
            silent.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
            other.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            with urllib3.PoolManager(retries=False, ssl_context=context) as pool:
                for _ in range(3):
                    answer = pool.request(
                        "POST", f"https://127.0.0.1:{deployment.port}{PATH}/access_token",
                        body=node.token_request().partition(b"\r\n\r\n")[2] ,
                        headers={"Content-Type": "application/x-www-form-urlencoded"},
                    )  # fmt: skip
                    assert answer.status == 200
            assert b"HTTP" not in other.recv(4096)
            assert silent.recv(4096) == b""
        assert time.monotonic() - started < 25
        with socket.create_connection(("127.0.0.1", deployment.port), 30) as plain:
            secured = context.wrap_socket(plain, server_hostname="127.0.0.1")
            secured.sendall(node.token_request()[:-5])
            assert b"HTTP/1.1 408 " in secured.recv(4096)
            until(lambda: secured.recv(4096) == b"")
            secured.close()
    assert "Traceback" not in deployment.log.read_text()


TOY = """
import time
from issuer.waiting import about_to_wait

def application(environ, start_response):
    path, _, seconds = environ["PATH_INFO"].partition(":")
    if path == "/slow":
        about_to_wait()
        time.sleep(float(seconds))
    if path == "/spin":
        end = time.perf_counter() + float(seconds)
        while time.perf_counter() < end:
            pass
    if path == "/boom":
        raise RuntimeError
    body = b"x" * int(seconds) if path == "/large" else path.encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
CLOSE = "Connection: close"


def get(path: str, fields: str = "") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *filter(None, [fields]), "", ""]).encode()


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path_factory.mktemp("toy"), LOG_LEVEL="ERROR")
    with deployment.production("--workers 1", TOY):
        yield deployment


def opened(deployment: Deployment, *, buffer: int = 0) -> socket.socket:
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", deployment.port))
    return connection


@pytest.mark.parametrize(
    "behind", [b"GARBAGE\r\n\r\n", get("/x", "A_B: c"), b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n"]
)
def test_what_is_refused_is_refused_in_its_turn(toy: Deployment, behind: bytes) -> None:
    answer = heard(toy.port, get("/slow:0.5") + behind)
    assert answer.statuses[0] == 200
    assert b"/slow" in answer.answer
    assert answer.statuses[1] in (400, 501)


def test_the_time_of_a_body_that_waits_behind_another_request_has_not_begun(toy: Deployment) -> None:
    body = b"x" * 6000
    ahead = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 6000\r\nConnection: close\r\n\r\n" + body
    assert heard(toy.port, get("/slow:11") + ahead, seconds=30).statuses == [200, 200]


def test_a_connection_that_ended_is_cut_off_whatever_is_still_sent_on_it(toy: Deployment) -> None:
    with opened(toy) as connection:
        connection.sendall(get("/x", CLOSE))
        while connection.recv(4096):
            pass
        started = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() < started + 20:
                connection.sendall(get("/x"))
                time.sleep(0.2)
        assert time.monotonic() - started < 8


def test_many_requests_at_once_on_some_connections_leave_others_their_turns(toy: Deployment) -> None:
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(opened(toy)).sendall(get("/spin:0.0005") * 2000)
        waits = []
        for _ in range(10):
            started = time.monotonic()
            assert heard(toy.port, get("/x", CLOSE)).statuses == [200]
            waits.append(time.monotonic() - started)
    # All that was sent ahead takes four seconds.
    assert sorted(waits)[5] < 0.5, waits


def test_a_large_answer_that_is_taken_late_and_slowly_is_taken_whole_and_the_connection_goes_on(
    toy: Deployment,
) -> None:
    with opened(toy, buffer=4096) as connection:
        connection.sendall(get("/large:400000"))
        time.sleep(3)
        answer = b""
        while len(answer) < 400_000:
            answer += connection.recv(16384)
            time.sleep(0.05)
        time.sleep(3)
        connection.sendall(get("/x", CLOSE))
        while piece := connection.recv(65536):
            answer += piece
    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_the_last_answer_of_a_connection_may_be_taken_slowly_too(toy: Deployment) -> None:
    with opened(toy, buffer=4096) as connection:
        connection.sendall(get("/large:400000", CLOSE))
        time.sleep(3.5)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.count(b"x") >= 400_000


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_an_application_raises_ends_the_connection_and_to_head_there_is_no_body(
    toy: Deployment, method: str
) -> None:
    answer = heard(toy.port, get("/boom").replace(b"GET", method.encode()) + get("/x"))
    assert answer.statuses == [500]
    assert answer.closed_after is not None
    assert (b"server_error" in answer.answer) is (method == "GET")


def test_a_head_may_not_be_larger_in_many_fields_than_in_one(toy: Deployment) -> None:
    fields = "\r\n".join(f"A{number}: {'x' * 8000}" for number in range(12))
    assert heard(toy.port, get("/x", fields)).statuses == [431]


def test_those_who_hung_up_over_tls_are_not_worked_for(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, LOG_LEVEL="ERROR")
    cert, key = certificate(tmp_path, "issuer.example")
    context = ssl.create_default_context(cafile=str(cert))
    context.sslsocket_class = TLSSocket
    command = [*deployment.gunicorn_line("--workers 1", TOY), "--certfile", str(cert), "--keyfile", str(key)]
    with deployment.process(command, ca=str(cert)):
        for _ in range(150):
            with context.wrap_socket(opened(deployment), server_hostname="127.0.0.1") as connection:
                connection.sendall(get("/slow:2"))
        started = time.monotonic()
        with context.wrap_socket(opened(deployment), server_hostname="127.0.0.1") as connection:
            connection.sendall(get("/slow:0", CLOSE))
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK")
        # For all of them it would be nine.
        assert time.monotonic() - started < 6


def test_clients_that_keep_their_connections_lose_no_request_when_it_is_told_to_stop(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, LOG_LEVEL="ERROR")
    lost: list[str] = []
    stopping = threading.Event()

    def ask_on(path: str) -> None:
        with opened(deployment) as connection, connection.makefile("rb") as answers:
            while not stopping.is_set():
                connection.sendall(get(path))
                head = b""
                while line := answers.readline():
                    head += line
                    if line == b"\r\n":
                        break
                if not head:
                    lost.append(path)
                    return
                answers.read(int(re.findall(rb"Content-Length: (\d+)", head)[0]))
                if b"Connection: close" in head:
                    return

    with deployment.production("--workers 1", TOY) as server:
        paths = ["/slow:0.3", "/spin:0.001"] * 8
        threads = [threading.Thread(target=ask_on, args=(path,)) for path in paths]
        for thread in threads:
            thread.start()
        time.sleep(1)
        server.terminate()
        assert server.wait(20) == 0
        stopping.set()
        for thread in threads:
            thread.join(10)
    assert lost == []
