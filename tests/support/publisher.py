"""Whoever publishes keys at an address of their own: a real server on loopback, which may be hostile."""

import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.assertions import Signer
from tests.support.servers import Asked, serving

Answer = tuple[int, Mapping[str, str], bytes]


class Publisher:
    """`keys`: what its set holds. `says`: an answer in the place of what it would say, by path."""

    def __init__(self) -> None:
        self.port = 0
        self.scheme = "http"
        self.keys: list[dict[str, Any]] = []
        self.metadata: dict[str, Any] = {}
        self.says: dict[str, Callable[[], Answer]] = {}
        self.asked: list[Asked] = []

    @property
    def issuer(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def jwks_uri(self) -> str:
        return f"{self.issuer}/keys"

    @property
    def internal(self) -> str:
        """As REALMINT_INTERNAL_HOSTS allows it."""
        return f"127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [asked.target for asked in self.asked]

    def publish(self, *signers: Signer) -> None:
        self.keys = [signer.public_jwk(use="sig") for signer in signers]

    def key_set(self) -> Answer:
        return 200, {"Content-Type": "application/json"}, json.dumps({"keys": self.keys}).encode()

    def answer(self, asked: Asked) -> Answer:
        if asked.target in self.says:
            return self.says[asked.target]()
        if asked.target == "/keys":
            return self.key_set()
        documents = {
            "/.well-known/openid-configuration": {"issuer": self.issuer, "jwks_uri": self.jwks_uri, **self.metadata},
        }
        if asked.target not in documents:
            return 404, {}, b"{}"
        return 200, {"Content-Type": "application/json"}, json.dumps(documents[asked.target]).encode()


@contextmanager
def publishing(certificate: tuple[Path, Path] | None = None) -> Iterator[Publisher]:
    """One that answers, until the block ends; over TLS where it has a certificate."""
    publisher = Publisher()
    publisher.scheme = "https" if certificate else "http"
    with serving(publisher.answer, certificate) as server:
        publisher.port, publisher.asked = server.port, server.asked
        yield publisher


Raw = Callable[[socket.socket, threading.Event], None]
"""Answers one connection, whose request was read, until it is done or the event is set."""


@contextmanager
def answering(raw: Raw) -> Iterator["Bare"]:
    """A server on loopback that says bytes of its own, in a thread for each connection, until the block ends."""
    bare = Bare(socket.create_server(("127.0.0.1", 0)))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            bare.asked.append(connection.recv(65536))
            raw(connection, bare.over)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = bare.listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield bare
    finally:
        bare.over.set()
        bare.listener.shutdown(socket.SHUT_RDWR)
        bare.listener.close()
        thread.join(10)


class Bare:
    """`asked`: what each connection began with. `sent`: bytes of bodies so far."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.over = threading.Event()
        self.asked: list[bytes] = []
        self.sent = 0

    @property
    def internal(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    @property
    def jwks_uri(self) -> str:
        return f"http://{self.internal}/keys"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def hangs(_: socket.socket, over: threading.Event) -> None:
    """Takes the request and says nothing."""
    over.wait(60)


def drips(connection: socket.socket, over: threading.Event) -> None:
    """A byte now and then, for ever."""
    connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
    while not over.wait(0.05):
        connection.sendall(b" ")


def grows(connection: socket.socket, over: threading.Event) -> None:
    """10 GB, and says so."""
    connection.sendall(HEAD + b"Content-Length: 10000000000\r\n\r\n")
    while not over.is_set():
        connection.sendall(b" " * 65536)


def grows_unsaid(connection: socket.socket, over: threading.Event) -> None:
    """Chunk after chunk, without an end."""
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while not over.is_set():
        connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")


def bombs(connection: socket.socket, over: threading.Event) -> None:
    """64 MiB, of which as many KiB are sent."""
    packer = zlib.compressobj(9, wbits=31)
    body = b"".join(packer.compress(b" " * 2**20) for _ in range(64)) + packer.flush()
    connection.sendall(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    over.wait(5)
