"""A bound on every wait for the database that does not depend on the database (#190).

A server that is stopped, or a network that swallows what is sent, answers nothing and closes nothing: time-outs that
the server keeps are of no use then, and those of TCP end no wait for an answer. Here a thread closes the connection
under who waits too long, who then meets an ordinary failure.
"""

import os
import socket
import threading

from realmint.protocol import monotonic
from realmint.protocol.fork import in_forked_child


class Deadlines:
    """Connections that somebody waits for. Safe to use from several threads and across a fork."""

    _thread: threading.Thread | None
    _next: float | None

    def __init__(self) -> None:
        self._forget()
        in_forked_child(self._forget)

    def begin(self, key: int, descriptor: int, seconds: float) -> None:
        """From now on, what waits for an answer on this socket is ended after so many seconds. `key` names the wait."""
        with self._changed:
            self._waits[key] = (monotonic() + seconds, descriptor)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="realmint-deadlines", daemon=True)
                self._thread.start()
                return
            if self._next is None or self._waits[key][0] < self._next:
                self._changed.notify()

    def end(self, key: int) -> None:
        """The answer came."""
        with self._changed:
            self._waits.pop(key, None)

    def _watch(self) -> None:
        with self._changed:
            while True:
                key, (until, descriptor) = min(self._waits.items(), key=lambda item: item[1][0], default=_NOBODY)
                left = until - monotonic()
                if left > 0:
                    self._next = None if key is None else until
                    self._changed.wait(None if key is None else left)
                    continue
                # Within the lock: who waits cannot let go of the descriptor meanwhile, so it is still the connection's.
                _shut(descriptor)
                self._waits.pop(key, None)

    def _forget(self) -> None:
        """In a forked child: neither the connections nor the thread are its own."""
        self._changed = threading.Condition()
        self._waits: dict[int | None, tuple[float, int]] = {}
        self._next = None
        self._thread = None


_NOBODY: tuple[None, tuple[float, int]] = (None, (float("inf"), -1))


def _shut(descriptor: int) -> None:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already, which is what was wanted
