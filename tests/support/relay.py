"""A TCP relay before a socket: it can swallow what its old connections send and pass new ones on, as a failover does."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Pair:
    """One connection through the relay."""

    near: socket.socket
    far: socket.socket
    swallowed: threading.Event = field(default_factory=threading.Event)


class Relay:
    """Listens on a port of loopback and connects to a socket of the file system."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.pairs: list[Pair] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """Whatever is sent on the connections there are now goes nowhere, in either direction, and nothing is closed."""
        for pair in self.pairs:
            pair.swallowed.set()

    def close(self) -> None:
        self._listener.close()
        for pair in self.pairs:
            pair.near.close()
            pair.far.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._target)
            except OSError:
                return
            pair = Pair(near, far)
            self.pairs.append(pair)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(pair, source, sink), daemon=True).start()

    def _pass_on(self, pair: Pair, source: socket.socket, sink: socket.socket) -> None:
        try:
            while piece := source.recv(65536):
                if not pair.swallowed.is_set():
                    sink.sendall(piece)
            if not pair.swallowed.is_set():
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


@contextmanager
def relay(target: str) -> Iterator[Relay]:
    """The relay, until the block ends."""
    made = Relay(target)
    try:
        yield made
    finally:
        made.close()
