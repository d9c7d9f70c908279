"""One thread that looks after what will be needed, so that no caller waits for it."""

import logging
import threading
import weakref
from collections.abc import Callable

from realmint.protocol.fork import in_forked_child
from realmint.protocol.threads import NoThread, start_daemon

LOGGER = logging.getLogger("realmint")

LONGEST = 60.0
"""Longest sleep in seconds: a machine that was suspended sleeps on after it woke up."""
SHORTEST = 0.02
AFTER_A_FAULT = 1.0


class Upkeep:
    """Calls the bound method `look`, which does what is due and answers with the seconds until the next look.

    It begins with start(), and so anew in a forked child. It ends with close(), or after the object of `look` went.
    """

    def __init__(self, look: Callable[[], float]) -> None:
        self._look = weakref.WeakMethod(look)
        self.running = False
        """Whether nothing is to be gained from start()."""
        self._forget()
        in_forked_child(self._forget)

    def _forget(self) -> None:
        """At first, and in a forked child, which has no thread of its parent's."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self.running = False

    def start(self) -> None:
        """Begins, where it has not yet. Where no thread is to be had, the next call may have one."""
        with self._lock:
            if self.running or self._closed:
                return
            try:
                start_daemon(self._run, "realmint-upkeep", self._wake)
            except NoThread:
                return
            self.running = True

    def wake(self) -> None:
        """Something changed: looks now."""
        self._wake.set()

    def close(self) -> None:
        """Ends the thread, soon and for good."""
        with self._lock:
            self._closed = self.running = True
        self._wake.set()

    def _run(self, wake: threading.Event) -> None:
        while (seconds := self._due()) is not None:
            wake.wait(min(max(seconds, SHORTEST), LONGEST))
            wake.clear()

    def _due(self) -> float | None:
        """Seconds until the next look; None when there is none."""
        look = self._look()
        if look is None or self._closed:
            return None
        try:
            return look()
        except Exception:
            LOGGER.exception("what is due could not be done")  # and the thread goes on: without it all would wait
            return AFTER_A_FAULT
