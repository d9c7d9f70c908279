"""Marks of proofs that were used, so that each counts once (RFC 9449 section 11.1)."""

import threading
from typing import Protocol

from realmint.protocol.fork import in_forked_child

SIZE = 500_000


class ReplaysFull(Exception):
    """There is no room for another mark. To forget one that still counts would let its proof in again."""


class ReplayStore(Protocol):
    """What keeps marks. One that several processes share takes a proof once for all of them.

    `blocks = False` on one that never waits for anything: an event loop calls it at once, and any other in a thread.
    `shared = False` on one that knows of one process alone: where a server has several, the log says so.
    """

    def first(self, key: bytes, until: int, now: int) -> bool:
        """Whether `key` was not marked yet; it is from now on. In one step: of any number of callers one is told True.

        until: the last second, since the epoch, at which the mark counts; now: this one. Whatever it raises is
        answered with 503.
        """
        ...


class MemoryReplays:
    """Marks of this process: each process of several takes a proof once. size: most marks that count at a time.

    Where there are as many, which by default take 55 MB and 5,000 proofs a second, first() raises ReplaysFull.
    """

    blocks = shared = False

    def __init__(self, size: int = SIZE) -> None:
        if size < 1:
            raise ValueError("MemoryReplays: size must be 1 or more")
        self._size = size
        self._marks: set[bytes] = set()
        self._ending: dict[int, list[bytes]] = {}
        self._swept = 0
        self._begin()
        in_forked_child(self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()

    def first(self, key: bytes, until: int, now: int) -> bool:
        """As ReplayStore says."""
        with self._lock:
            if now > self._swept:
                self._sweep(now)
            if key in self._marks:
                return False
            if len(self._marks) >= self._size:
                raise ReplaysFull
            self._marks.add(key)
            self._ending.setdefault(until, []).append(key)
            return True

    def __len__(self) -> int:
        return len(self._marks)

    def _sweep(self, now: int) -> None:
        """Once in a second: the seconds in which marks end are few."""
        self._swept = now
        for until in [until for until in self._ending if until < now]:
            self._marks.difference_update(self._ending.pop(until))
