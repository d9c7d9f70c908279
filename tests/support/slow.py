"""Clients that send half of a request, or read their answer a byte at a time: many, from one thread."""

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HALVES = {
    "header": b"POST /oauth2/access_token HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "body": b"POST /oauth2/access_token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 1000\r\n\r\ngrant_type=",
}
ASKS = b"GET /oauth2/connect/jwk_uri HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWERS = {"reader": 20, "greedy reader": 2000}
"""How many answers of some 700 bytes each asks for at once: what its own socket does not hold, or not the server's either."""
ESTABLISHED = 1
"""tcpi_state, the first byte of struct tcp_info (linux/tcp.h)."""


class Slow:
    """`cut`: after how many seconds the server closed each connection that it did. ports: where all began."""

    def __init__(self, port: int, kind: str, many: int, *, drip: bool) -> None:
        self.kind = kind
        self.many = many
        self.cut: list[float] = []
        self.ports: set[int] = set()
        self._port = port
        self._drip = drip
        self._selector = selectors.DefaultSelector()
        self._opened: dict[socket.socket, float] = {}
        self._stop = threading.Event()
        self._connected = threading.Event()

    @property
    def left(self) -> int:
        return len(self._opened)

    @contextmanager
    def running(self) -> Iterator["Slow"]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            assert self._connected.wait(30)
            yield self
        finally:
            self._stop.set()
            thread.join(30)
            for connection in self._opened:
                connection.close()
            self._selector.close()

    def _run(self) -> None:
        for _ in range(self.many):
            self._open()
        self._connected.set()
        dripped = time.monotonic()
        while not self._stop.is_set():
            if self.kind in ANSWERS:
                self._read()
            else:
                for key, _ in self._selector.select(0.1):
                    self._hear(key.fileobj)  # type: ignore[arg-type]
            if self._drip and time.monotonic() - dripped >= 1:
                dripped = time.monotonic()
                for connection in list(self._opened):
                    with suppress(OSError):
                        connection.send(b"x")

    def _open(self) -> None:
        connection = socket.socket()
        if self.kind in ANSWERS:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", self._port))
        connection.setblocking(False)
        with suppress(BlockingIOError):
            connection.send(ASKS * ANSWERS[self.kind] if self.kind in ANSWERS else HALVES[self.kind])
        self.ports.add(connection.getsockname()[1])
        self._opened[connection] = time.monotonic()
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self) -> None:
        """A byte from each, twenty times a second."""
        self._stop.wait(0.05)
        for connection in list(self._opened):
            # What came before a reset is read on, byte by byte, for minutes.
            if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED:
                self._ended(connection)
            else:
                self._hear(connection, 1)

    def _hear(self, connection: socket.socket, size: int = 4096) -> None:
        try:
            ended = connection.recv(size) == b""
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self._ended(connection)

    def _ended(self, connection: socket.socket) -> None:
        self.cut.append(time.monotonic() - self._opened.pop(connection))
        self._selector.unregister(connection)
        connection.close()
