"""Last-used marks of credentials and of scope values, written in batches by one daemon thread per process.

Kept out of the request path and of the change log. A mark may be lost when a process is killed; it is a
hint for people who look for what nobody uses, not an audit.
"""

import atexit
import os
import threading

from issuer import log
from issuer.registry.bounded import Bounded
from issuer.storage import credentials as credential_store
from issuer.storage import scope_marks
from issuer.storage.engine import STORE_ERRORS, Database
from realmint.protocol.fork import in_forked_child
from realmint.protocol.threads import NoThread, StartThread, start_daemon

FLUSH_SECONDS = 10
GRANULARITY = 60
"""A credential in steady use is marked once in this many seconds."""
DAY = 86400
"""A scope value of a client is marked once a day."""
_REMEMBERED = 100_000
"""Credentials, and sets of scopes, whose last mark is known; one that is not is marked too often, which is harmless."""
_MOST_WAITING = 100_000
"""Scope values that wait to be marked; one more is noted when it is asked for again."""


class Marks:
    """Collects marks; starts its thread on the first one, after any fork."""

    def __init__(self, database: Database, start_thread: StartThread = start_daemon) -> None:
        self._database = database
        self._start_thread = start_thread
        self._lock = threading.Lock()
        self._waiting: dict[str, int] = {}
        self._scopes: dict[tuple[int, str], int] = {}
        self._written: Bounded[str, int] = Bounded(_REMEMBERED)
        self._asked: Bounded[tuple[int, tuple[str, ...]], int] = Bounded(_REMEMBERED)
        self._pid: int | None = None
        self._wake = threading.Event()
        in_forked_child(self._forget)

    def _forget(self) -> None:
        """In a forked child: what waits is its parent's to write, as the lock and the thread are its parent's."""
        self._lock = threading.Lock()
        self._waiting = {}
        self._scopes = {}
        self._pid = None

    def used(self, credential_id: str, now: int) -> None:
        """Notes that a credential was used at `now`. Where no thread can be had, it waits for the next use of one."""
        if now - self._written.get(credential_id, 0) < GRANULARITY and self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():
                self._start()
            self._waiting[credential_id] = now
            self._written.put(credential_id, now)

    def requested(self, client_pk: int, scopes: tuple[str, ...], now: int) -> None:
        """Notes that a client got a token with these scope values at `now`, as used() does."""
        day = now - now % DAY
        if self._asked.get((client_pk, scopes), -1) == day and self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():
                self._start()
            if len(self._scopes) + len(scopes) > _MOST_WAITING:
                return
            self._scopes |= {(client_pk, scope): day for scope in scopes if len(scope) <= scope_marks.LONGEST}
            self._asked.put((client_pk, scopes), day)

    def flush(self) -> None:
        """Writes what was noted so far. Marks that could not be written wait for the next turn."""
        with self._lock:
            batch, self._waiting = self._waiting, {}
            scopes, self._scopes = self._scopes, {}
        if not batch and not scopes:
            return
        try:
            with self._database.write() as connection:
                # Sorted, so that two processes wait for each other at most, and never both.
                if batch:
                    credential_store.mark_used(connection, sorted(batch.items()))
                if scopes:
                    scope_marks.mark_requested(connection, [(*mine, day) for mine, day in sorted(scopes.items())])
        except STORE_ERRORS:
            log.event("marks_not_written", count=len(batch) + len(scopes), level="WARNING")
            with self._lock:
                self._waiting = {**batch, **self._waiting}
                self._scopes = {**scopes, **self._scopes}

    def _start(self) -> None:
        wake = threading.Event()
        try:
            self._start_thread(self._run, "realmint-marks", wake)
        except NoThread:
            if not self._waiting and not self._scopes:  # else it was said when the first of them came
                log.event("marks_not_started", level="WARNING")
            return
        self._wake, self._pid = wake, os.getpid()
        atexit.register(self.close)

    def _run(self, wake: threading.Event) -> None:
        while not wake.wait(FLUSH_SECONDS):
            try:
                self.flush()
            except Exception:  # noqa: BLE001 - a thread that ended would leave every later mark unwritten
                log.LOGGER.exception("marks_failed")

    def close(self) -> None:
        """Writes what was noted so far and ends the thread."""
        if self._pid == os.getpid():
            self._wake.set()
            self._pid = None
            atexit.unregister(self.close)
        self.flush()
