"""Last-used marks of secrets, written in batches by one daemon thread per process.

Kept out of the request path and of the change log. A mark may be lost when a process is killed; it is a
hint for people who look for unused credentials, not an audit.
"""

import atexit
import os
import threading

from issuer import log, stores
from issuer.db import STORE_ERRORS, Database
from realmint.protocol.fork import in_forked_child

FLUSH_SECONDS = 10
GRANULARITY = 60
"""A secret in steady use is marked once in this many seconds."""


class Marks:
    """Collects marks; starts its thread on the first one, after any fork."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._waiting: dict[str, int] = {}
        self._written: dict[str, int] = {}
        self._pid: int | None = None
        self._wake = threading.Event()
        in_forked_child(self._forget)

    def _forget(self) -> None:
        """In a forked child: what waits is its parent's to write, as the lock and the thread are its parent's."""
        self._lock = threading.Lock()
        self._waiting, self._written = {}, {}
        self._pid = None

    def used(self, secret_id: str, now: int) -> None:
        """Notes that a secret was used at `now`."""
        if now - self._written.get(secret_id, 0) < GRANULARITY and self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():
                self._start()
            self._waiting[secret_id] = now
            self._written[secret_id] = now

    def flush(self) -> None:
        """Writes what was noted so far. Marks that could not be written wait for the next turn."""
        with self._lock:
            batch, self._waiting = self._waiting, {}
            if len(self._written) > 100_000:
                self._written = {}
        if not batch:
            return
        try:
            with self._database.write() as connection:
                stores.mark_used(connection, sorted(batch.items()))
        except STORE_ERRORS:
            log.event("marks_not_written", count=len(batch), level="WARNING")
            with self._lock:
                self._waiting = {**batch, **self._waiting}

    def _start(self) -> None:
        self._pid = os.getpid()
        self._wake = threading.Event()
        threading.Thread(target=self._run, args=(self._wake,), name="realmint-marks", daemon=True).start()
        atexit.register(self.close)

    def _run(self, wake: threading.Event) -> None:
        while not wake.wait(FLUSH_SECONDS):
            self.flush()

    def close(self) -> None:
        """Writes what was noted so far and ends the thread."""
        if self._pid == os.getpid():
            self._wake.set()
            self.flush()
            self._pid = None
            atexit.unregister(self.close)
