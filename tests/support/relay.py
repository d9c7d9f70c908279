"""A TCP relay before a socket: it can swallow what its connections send, as a failover does, be slow, or answer itself."""

import socket
import threading
import time
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
    """Listens on a port of loopback and connects to a socket of the file system, or to an address and port.

    delay: seconds for which each piece is held back, in either direction. says: what is answered in place of the target.
    """

    def __init__(self, target: str | tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.pairs: list[Pair] = []
        self._swallows_new = False
        self.delay = 0.0
        self.says: bytes | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """Whatever is sent on the connections there are now goes nowhere, in either direction, and nothing is closed."""
        for pair in self.pairs:
            pair.swallowed.set()

    def cut(self) -> None:
        """The same for new connections too, which are still accepted, until mend()."""
        self._swallows_new = True
        self.swallow()

    def mend(self) -> None:
        """New connections are passed on again."""
        self._swallows_new = False

    def close(self) -> None:
        self._listener.close()
        for pair in self.pairs:
            pair.near.close()
            pair.far.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET)
            try:
                far.connect(self._target)
            except OSError:  # nobody is there just now
                near.close()
                far.close()
                continue
            pair = Pair(near, far)
            self.pairs.append(pair)
            if self._swallows_new:  # after it is there for cut() to find
                pair.swallowed.set()
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(pair, source, sink), daemon=True).start()

    def _pass_on(self, pair: Pair, source: socket.socket, sink: socket.socket) -> None:
        try:
            while piece := source.recv(65536):
                time.sleep(self.delay)
                if self.says is not None:
                    pair.near.sendall(self.says)
                    pair.near.shutdown(socket.SHUT_WR)
                    return
                if not pair.swallowed.is_set():
                    sink.sendall(piece)
            if not pair.swallowed.is_set():
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


@contextmanager
def relay(target: str | tuple[str, int]) -> Iterator[Relay]:
    """The relay, until the block ends."""
    made = Relay(target)
    try:
        yield made
    finally:
        made.close()
