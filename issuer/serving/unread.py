"""Cuts connections whose answer nobody takes: the server beneath waits for as long as the reader likes.

Once a second the sockets of this process are asked what stands in them unsent. Whoever takes less than a rate for a
time loses the connection. Linux only, which is where `serve.py` runs in production; elsewhere nothing is cut.
"""

import errno
import fcntl
import os
import socket
import stat
import struct
import sys
import termios
import threading
from dataclasses import dataclass

from issuer import log
from issuer.serving.looks import look_until
from realmint.protocol import Monotonic, monotonic
from realmint.protocol.threads import StartThread, start_daemon

_ACKED = slice(120, 128)
"""tcpi_bytes_acked of struct tcp_info (linux/tcp.h): how much the other side has taken."""
_PERIOD = 1.0


@dataclass
class _Slow:
    since: float
    acked: int


class UnreadAnswers:
    """Looks after the connections of this process to `port`."""

    def __init__(self, port: int, seconds: float, rate: int, clock: Monotonic = monotonic) -> None:
        self._port = port
        self._seconds = seconds
        self._rate = rate
        self._clock = clock
        self._slow: dict[tuple[int, int], _Slow] = {}

    def start(self, stop: threading.Event, start_thread: StartThread = start_daemon) -> None:
        """Sweeps from a thread of its own until `stop` is set."""
        if sys.platform != "linux":
            return
        look_until(stop, _PERIOD, self.sweep, "realmint-unread-answers", start_thread)

    def sweep(self) -> int:
        """Looks once; how many were cut."""
        now = self._clock()
        slow: dict[tuple[int, int], _Slow] = {}
        cut = 0
        for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, of which some are gone by now
            fd = int(entry)
            key = _unsent(fd)
            if key is None:
                continue
            # A descriptor of our own: the server may close its one, and the number be another connection's, meanwhile.
            try:
                held = socket.socket(fileno=os.dup(fd))
            except OSError as error:
                if error.errno in {errno.EBADF, errno.EMFILE}:
                    continue
                raise
            with held:
                if os.fstat(held.fileno()).st_ino != key[1] or not self._ours(held):
                    continue
                acked = _acked(held)
                known = self._slow.get(key)
                if known is None or acked - known.acked > self._rate * (now - known.since):
                    known = _Slow(now, acked)
                if now - known.since >= self._seconds:
                    _cut(held)
                    cut += 1
                else:
                    slow[key] = known
        self._slow = slow
        if cut:
            log.event("cut_off", reason="answer_unread", count=cut)
        return cut

    def _ours(self, held: socket.socket) -> bool:
        try:
            return held.family in {socket.AF_INET, socket.AF_INET6} and held.getsockname()[1] == self._port
        except OSError:
            return False


def _unsent(fd: int) -> tuple[int, int] | None:
    """The descriptor and what tells its socket from every other, if something stands in it unsent or unacknowledged."""
    try:
        found = os.fstat(fd)
        if not stat.S_ISSOCK(found.st_mode):
            return None
        (unsent,) = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, b"\0\0\0\0"))
    except OSError:  # closed meanwhile, or no socket that has a queue
        return None
    return (fd, found.st_ino) if unsent else None


def _acked(held: socket.socket) -> int:
    info = held.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.stop)
    return int.from_bytes(info[_ACKED], sys.byteorder)


def _cut(held: socket.socket) -> None:
    """At once, and what stands in it is thrown away."""
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        held.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        if error.errno != errno.ENOTCONN:  # it went by itself
            raise
