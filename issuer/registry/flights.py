"""One thread does what several want done; the others wait for it, and no lock is held meanwhile."""

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from issuer.waiting import about_to_wait
from realmint.protocol.fork import in_forked_child

Key = TypeVar("Key", bound=Hashable)


class NotDone(Exception):
    """Who did it failed, or took longer than was waited for."""


class _Flight:
    def __init__(self) -> None:
        self.landed = threading.Event()
        self.done = False


class Flights(Generic[Key]):
    """What is being done, by key."""

    def __init__(self) -> None:
        self._forget()
        in_forked_child(self._forget)

    def _forget(self) -> None:
        """At first, and in a forked child: the threads that did something are its parent's."""
        self._lock = threading.Lock()
        self._flights: dict[Key, _Flight] = {}

    def join(self, key: Key, work: Callable[[], None], patience: float) -> None:
        """Returns when it was done, by this thread or by another that was at it already.

        patience: seconds to wait for another. Raises NotDone for another's fault, and in the thread that did it what
        `work` raises.
        """
        about_to_wait()
        with self._lock:
            flight = self._flights.get(key)
            leads = flight is None
            flight = self._flights[key] = flight or _Flight()
        if not leads:
            if not flight.landed.wait(patience) or not flight.done:
                raise NotDone
            return
        try:
            work()
            flight.done = True
        finally:
            with self._lock:
                # In a child that was forked meanwhile it is not there.
                self._flights.pop(key, None)
            flight.landed.set()
