"""Counters that the processes of a node share in a file, and that one counts alone where there is none to be had."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from issuer import log
from issuer.secret_checks.counters import Counters, FileCounters, MemoryCounters
from realmint.protocol.fork import in_forked_child

Result = TypeVar("Result")

RETRY = 60
"""Seconds after which a file that could not be used is tried again."""


class SharedCounters:
    """Counters in the file at `path`, which is opened when something is first counted; `what` they count, for the log.

    Where the file cannot be used, this process counts in memory, says so once, and tries the file again each minute.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._what = what
        self._memory = MemoryCounters()
        self._file: FileCounters | None = None
        self._lock = threading.Lock()
        self._retry_at = 0
        self._lost = False
        in_forked_child(self._forget_file)

    def close(self) -> None:
        """Lets go of the file; the counts stay for the other processes."""
        with self._lock:
            self._let_go()

    @property
    def _untouched(self) -> bool:
        """Whether nothing was ever counted here, so that there is nothing to read."""
        return self._file is None and not self._memory.used

    def _read(self, name: bytes, window: int, now: int) -> int:
        """How often `name` was counted in this window."""
        return self._use(lambda counters: counters.read(name, window), now)

    def _add(self, name: bytes, window: int, now: int) -> int:
        """Counts `name` once in this window; how often it was by now."""
        self._open(now)
        return self._use(lambda counters: counters.add(name, window), now)

    def _use(self, act: Callable[[Counters], Result], now: int) -> Result:
        with self._lock:
            try:
                return act(self._file or self._memory)
            except OSError as error:
                self._lose(error, now)
                return act(self._memory)

    def _open(self, now: int) -> None:
        """Sees to it that the file is used, if it can be and it is time to try."""
        with self._lock:
            try:
                if self._file is not None and self._file.replaced():
                    self._let_go()
                # A clock that was set back does not put the next try off.
                if self._file is not None or self._retry_at - RETRY <= now < self._retry_at:
                    return
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = FileCounters(self._path)
            except OSError as error:
                self._lose(error, now)
                return
            regained, self._lost = self._lost, False
        if regained:
            log.event(f"{self._what}_shared_again")

    def _lose(self, error: OSError, now: int) -> None:
        self._let_go()
        self._retry_at = now + RETRY
        if not self._lost:
            self._lost = True
            log.event(f"{self._what}_not_shared", reason=error.strerror, level="WARNING")

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _forget_file(self) -> None:
        """In a forked child: a lock that a thread of the parent held, and the file, which locks by who opened it."""
        self._lock = threading.Lock()
        self._let_go()
