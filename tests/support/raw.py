"""Bytes on a connection of their own, and what comes back."""

import re
import socket
import time
from typing import NamedTuple


class Heard(NamedTuple):
    """Everything that came until the server closed, and after how many seconds it did; None where it did not in time."""

    answer: bytes
    closed_after: float | None

    @property
    def statuses(self) -> list[int]:
        """Of every answer that came."""
        return [int(status) for status in re.findall(rb"HTTP/1\.[01] ([0-9]{3}) ", self.answer)]


def heard(port: int, data: bytes, *, half_close: bool = False, seconds: float = 20) -> Heard:
    """Sends it, all at once. half_close: and then says that nothing more comes."""
    started = time.monotonic()
    answer = b""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.settimeout(seconds)
        try:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answer += piece
        except (ConnectionResetError, BrokenPipeError):
            pass  # a server that closes while more is coming
        except TimeoutError:
            return Heard(answer, None)
    return Heard(answer, time.monotonic() - started)
