"""The thread that asks the change log, one in each process, so that no request has to (design decision 15)."""

import os
import threading
from collections.abc import Callable

from issuer import log
from realmint.protocol.fork import in_forked_child
from realmint.protocol.threads import NoThread, StartThread, start_daemon


class Poll:
    """Calls `look` every so many seconds, from the first request of a process on, whatever was before a fork."""

    def __init__(self, look: Callable[[], None], seconds: float, start_thread: StartThread = start_daemon) -> None:
        self._look = look
        self._seconds = seconds
        self._start_thread = start_thread
        self._stop = threading.Event()
        self._starting = threading.Lock()
        self._pid: int | None = None
        self._startable = True
        in_forked_child(self._forget)

    def start(self) -> bool:
        """Starts the thread, once in each process. Whether it runs: where none can be had, the next call tries it."""
        if self._pid == os.getpid():
            return True
        with self._starting:
            if self._pid != os.getpid():
                stop = threading.Event()
                try:
                    self._start_thread(self._run, "realmint-poll", stop)
                except NoThread:
                    self._say(started=False)
                    return False
                self._stop, self._pid = stop, os.getpid()
                self._say(started=True)
        return True

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

    def _say(self, *, started: bool) -> None:
        """One line when it cannot be started, not one for each request, and one when it could after all."""
        if started != self._startable:
            name, level = ("poll_started", "INFO") if started else ("poll_not_started", "WARNING")
            log.event(name, level=level)
        self._startable = started

    def _forget(self) -> None:
        self._starting = threading.Lock()
        self._startable = True
        self._pid = None
