"""A server that speaks PostgreSQL's protocol up to the end of a login, and then does to each connection as it is told."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PARAMETERS = {"server_version": "15.0", "client_encoding": "UTF8", "standard_conforming_strings": "on"}


def hang_up(connection: socket.socket) -> None:
    """Closes when the first question comes."""
    connection.recv(65536)


def say_nothing(connection: socket.socket) -> None:
    """Reads whatever comes until the other side closes."""
    while connection.recv(65536):
        pass


@contextmanager
def logging_in(*after: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of the server, until the block ends. `after` is what becomes of each connection, in order; then the last."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, list(after)), daemon=True).start()
        yield f"postgresql+psycopg://realmint@127.0.0.1:{listener.getsockname()[1]}/store?sslmode=disable&gssencmode=disable"
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, after: list[Callable[[socket.socket], None]]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        then = after.pop(0) if len(after) > 1 else after[0]
        threading.Thread(target=_answer, args=(connection, then), daemon=True).start()


def _answer(connection: socket.socket, then: Callable[[socket.socket], None]) -> None:
    with connection:
        try:
            connection.recv(65536)  # the start-up message, which is short
            parameters = b"".join(_message(b"S", f"{name}\0{value}\0".encode()) for name, value in _PARAMETERS.items())
            key = _message(b"K", struct.pack("!II", 1, 1))
            connection.sendall(_message(b"R", struct.pack("!I", 0)) + parameters + key + _message(b"Z", b"I"))
            then(connection)
        except OSError:
            return


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body
