"""The thread that asks the change log, one in each process, so that no request has to (design decision 15)."""

import os
import threading
from collections.abc import Callable

from issuer import log
from realmint.protocol.fork import in_forked_child


class Poll:
    """Calls `look` every so many seconds, from the first request of a process on, whatever was before a fork."""

    def __init__(self, look: Callable[[], None], seconds: float) -> None:
        self._look = look
        self._seconds = seconds
        self._stop = threading.Event()
        self._starting = threading.Lock()
        self._pid: int | None = None
        in_forked_child(self._forget)

    def start(self) -> None:
        """Starts the thread, once in each process."""
        if self._pid == os.getpid():
            return
        with self._starting:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                self._stop = threading.Event()
                threading.Thread(target=self._run, args=(self._stop,), name="realmint-poll", daemon=True).start()

    def close(self) -> None:
        """Ends the thread; the next start() makes another."""
        self._stop.set()
        self._pid = None

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(self._seconds):
            try:
                self._look()
            except Exception:  # noqa: BLE001 - a thread that ended would leave this process deaf
                log.LOGGER.exception("poll_failed")

    def _forget(self) -> None:
        self._starting = threading.Lock()
        self._pid = None
