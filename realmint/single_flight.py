"""One fetch at a time, however many ask for it, and a growing pause after each that failed."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from realmint.protocol import Monotonic
from realmint.protocol.fork import in_forked_child
from realmint.transport import TransportError


class FetchError(Exception):
    """An answer was no use. The message is a short kind, never content."""


@dataclass
class _Flight:
    """A fetch under way, which others may wait for."""

    landed: threading.Event = field(default_factory=threading.Event)
    good: bool = False


class SingleFlight:
    """Fetches for all who ask at once. No lock is held meanwhile.

    back_off: pause in seconds after a failed fetch, doubling up to max_back_off. A forked child begins anew: neither
    what is under way in its parent nor what failed there is any of its business.
    """

    def __init__(self, back_off: float, max_back_off: float, monotonic: Monotonic) -> None:
        self._back_off = back_off
        self._max_back_off = max_back_off
        self._monotonic = monotonic
        self._begin()
        in_forked_child(self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._under_way: _Flight | None = None
        self._retry_at = float("-inf")
        self.failures = 0
        """How many failed since the last that did not."""

    @property
    def due(self) -> bool:
        """Whether the pause after the last failure is over."""
        return self._monotonic() >= self._retry_at

    @property
    def retry_after(self) -> int:
        """Whole seconds, from 1 to 60, until another fetch may succeed."""
        return max(1, min(int(self._retry_at - self._monotonic()) + 1, 60)) if self.failures else 1

    def fetch(self, work: Callable[[], None], wait: float) -> bool:
        """Does `work`, or waits at most `wait` seconds for who is doing it; whether it succeeded.

        Work fails by FetchError or TransportError.
        """
        with self._lock:
            leader = self._under_way is None
            flight = self._under_way = self._under_way or _Flight()
        if not leader:
            return flight.landed.wait(wait) and flight.good
        try:
            work()
        except (FetchError, TransportError):
            self.failures += 1
            self._retry_at = self._monotonic() + self._pause()
        else:
            self.failures = 0
            self._retry_at = float("-inf")
            flight.good = True
        finally:
            with self._lock:
                self._under_way = None
            flight.landed.set()
        return flight.good

    def _pause(self) -> float:
        return float(min(self._back_off * 2 ** min(self.failures - 1, 16), self._max_back_off))
