"""How often client authentication fails: per client id, and per client id and address, over all processes of a node.

Over the limit of a client id, the work for wrong secrets ends but for what each address has a limit of its own for, so
that its right secret is still accepted, from elsewhere at the least.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from issuer import log
from issuer.counters import Counters, FileCounters, MemoryCounters
from realmint.protocol.fork import in_forked_child

Result = TypeVar("Result")

WINDOW = 60
"""Seconds that failures are counted over, and after which a file that could not be used is tried again."""


class FailureLimit:
    """Counts failures; `per_minute` 0 turns it off. The file at `path` is opened on the first failure.

    Where the file cannot be used, this process counts in memory, says so once, and tries the file again each minute.
    """

    def __init__(self, path: Path, per_minute: int) -> None:
        self._path = path
        self._limit = per_minute
        self._memory = MemoryCounters()
        self._file: FileCounters | None = None
        self._lock = threading.Lock()
        self._retry_at = 0
        self._lost = False
        in_forked_child(self._forget_file)

    def wait(self, realm_id: int, client_id: str, now: int, origin: str | None = None) -> int:
        """Seconds until failures of this client id are looked at again; 0 when it is within the limit.

        With `origin`, an address, those that were noted from there.
        """
        if self._limit == 0:
            return 0
        name = _name(realm_id, client_id, origin)
        count = self._use(lambda counters: counters.read(name, now // WINDOW), now)
        return WINDOW - now % WINDOW if count >= self._limit else 0

    def note(self, realm_id: int, client_id: str, now: int, origin: str | None = None) -> None:
        """One more failure of this client id; with `origin`, of this client id from there."""
        if self._limit == 0:
            return
        name = _name(realm_id, client_id, origin)
        self._open(now)
        self._use(lambda counters: counters.add(name, now // WINDOW), now)

    def close(self) -> None:
        """Lets go of the file; the counts stay for the other processes."""
        with self._lock:
            self._let_go()

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
                if self._file is not None or self._retry_at - WINDOW <= now < self._retry_at:
                    return
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = FileCounters(self._path)
            except OSError as error:
                self._lose(error, now)
                return
            regained, self._lost = self._lost, False
        if regained:
            log.event("failures_shared_again")

    def _lose(self, error: OSError, now: int) -> None:
        self._let_go()
        self._retry_at = now + WINDOW
        if not self._lost:
            self._lost = True
            log.event("failures_not_shared", reason=error.strerror, level="WARNING")

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _forget_file(self) -> None:
        """In a forked child: a lock that a thread of the parent held, and the file, which locks by who opened it."""
        self._lock = threading.Lock()
        self._let_go()


def _name(realm_id: int, client_id: str, origin: str | None) -> bytes:
    parts = (str(realm_id), client_id) if origin is None else (str(realm_id), client_id, origin)
    return "\0".join(parts).encode("utf-8", "surrogateescape")
