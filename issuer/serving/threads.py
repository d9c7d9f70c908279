"""Threads for what has to wait: started when one is needed and none is free, and kept."""

import queue
import threading
from collections.abc import Callable

from issuer import log
from realmint.protocol.threads import NoThread, StartThread, start_daemon

Work = Callable[[], None]


class Threads:
    """At most `most` of them. Work is handed in by one thread alone."""

    def __init__(self, most: int, start_thread: StartThread = start_daemon) -> None:
        self._most = most
        self._start_thread = start_thread
        self._work: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._counting = threading.Lock()  # never over work
        self._undone = 0
        self._many = 0

    def do(self, work: Work) -> None:
        """Has it done by the next thread that is free. Raises NoThread when there is none, nor one to be had."""
        with self._counting:
            self._undone += 1
            more = self._many < min(self._undone, self._most)
        if more:
            try:
                self._start_thread(self._run, "realmint-request")
                self._many += 1
            except NoThread:
                if not self._many:
                    with self._counting:
                        self._undone -= 1
                    raise
        self._work.put(work)

    def _run(self) -> None:
        while True:
            work = self._work.get()
            try:
                work()
            except Exception:  # noqa: BLE001 - a thread that ended would be missing for ever
                log.LOGGER.exception("server_error")
            finally:
                with self._counting:
                    self._undone -= 1
