"""A bound on every wait for the database that does not depend on the database (#190).

A server that is stopped, or a network that swallows what is sent, answers nothing and closes nothing: time-outs that
the server keeps are of no use then, and those of TCP end no wait for an answer. Here a thread closes the connection
under who waits too long, who then meets an ordinary failure.
"""

import contextlib
import os
import socket
import threading
from typing import NoReturn

from realmint.protocol import monotonic
from realmint.protocol.fork import in_forked_child
from realmint.protocol.threads import StartThread, start_daemon


class Deadlines:
    """Connections that somebody waits for. Safe to use from several threads and across a fork."""

    _next: float | None
    _watched: bool

    def __init__(self, start_thread: StartThread = start_daemon) -> None:
        self._start_thread = start_thread
        self._waits: dict[int, tuple[float, int]] = {}
        self._forget()
        in_forked_child(self._forget)

    def begin(self, key: int, descriptor: int, seconds: float) -> None:
        """From now on, what waits for an answer on this socket is ended after so many seconds. `key` names the wait.

        Raises OSError, and begins none, where the process can have no thread or no descriptor for it.
        """
        with self._changed:
            if not self._watched:
                self._start_thread(self._watch, "realmint-deadlines")
                self._watched = True
            # The wait has a descriptor of its own. The connection's may be closed without a word, and its number be
            # another socket's by the time that the wait is over.
            ours = os.dup(descriptor)
            self._drop(key)
            self._waits[key] = (monotonic() + seconds, ours)
            if self._next is None or self._waits[key][0] < self._next:
                self._changed.notify()

    def end(self, key: int) -> None:
        """The answer came."""
        with self._changed:
            self._drop(key)

    def _drop(self, key: int) -> None:
        _, descriptor = self._waits.pop(key, _NOBODY[1])
        if descriptor != -1:
            os.close(descriptor)

    def _watch(self) -> None:
        with self._changed:
            try:
                self._end_what_is_due()
            finally:
                self._watched = False  # without memory, say: the next wait has another thread

    def _end_what_is_due(self) -> NoReturn:
        while True:
            # A copy, and nothing taken for granted of it: a connection that is collected here, of all places, ends
            # its wait within our lock.
            key, (until, _) = min(self._waits.copy().items(), key=lambda item: item[1][0], default=_NOBODY)
            left = until - monotonic()
            if left > 0:
                self._next = until if self._waits else None
                self._changed.wait(left if self._waits else None)
                continue
            _, descriptor = self._waits.pop(key, _NOBODY[1])
            if descriptor != -1:
                _shut(descriptor)

    def _forget(self) -> None:
        """In a forked child: neither the connections nor the thread are its own."""
        self._changed = threading.Condition()
        # Closed and not shut, which would end them for the parent too. None is there that was closed already: who lets
        # go of a wait takes it out of here before its descriptor is closed.
        for _, descriptor in self._waits.values():
            os.close(descriptor)
        self._waits = {}
        self._next = None
        self._watched = False


_NOBODY: tuple[int, tuple[float, int]] = (0, (float("inf"), -1))


def _shut(descriptor: int) -> None:
    """Ends every wait on the socket behind a descriptor of ours, and closes that. Takes no further one."""
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:  # it is no socket, or the system cannot say now which kind
        os.close(descriptor)
        return
    # The other side may have ended it already, which is what was wanted.
    with connection, contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
