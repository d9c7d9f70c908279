"""When the store is looked at for changes, by whom, and until when what is held may be used.

The decisions are pure, and told the time: Looks and gap(). Lookout carries them out, one thread at a time.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from issuer import log
from issuer.registry.cache import Change
from issuer.storage.changes import Moment
from issuer.storage.engine import STORE_ERRORS
from issuer.waiting import about_to_wait
from realmint.protocol import Monotonic
from realmint.protocol.fork import in_forked_child

NEVER = float("-inf")


class SnapshotTooOld(Exception):
    """The store was out of reach for so long that what this process holds may not be used any more."""


class HistoryWentBack(SnapshotTooOld):
    """An older backup is in the place of the database: what is right now nobody can tell (design 3.1)."""

    def __init__(self) -> None:
        super().__init__(f"an older backup came back: say {AFTER_RESTORE}")


AFTER_RESTORE = "flask db after-restore"
"""The command that ends this state."""


@dataclass(frozen=True)
class Looks:
    """When the store was last looked at, and what follows. All in seconds, `now` on a clock that never steps.

    refresh: how often it should be. max_age: until when what is held may be used. good: when the last look that
    succeeded began, tried: when the last one ended.
    """

    refresh: float
    max_age: float
    good: float = NEVER
    tried: float = NEVER

    def age(self, now: float) -> float:
        """How old what is held is; infinite before the first good look."""
        return now - self.good

    def young(self, now: float, *, polled: bool) -> bool:
        """Whether a request need not care. Where a thread looks, `polled`, it does so only at max_age."""
        return now - self.good < (self.max_age if polled else self.refresh)

    def due(self, now: float) -> bool:
        """Whether a request may look: a store that is out of reach is not asked anew by each."""
        return now - self.tried >= min(self.refresh, 1)

    def too_old(self, now: float) -> bool:
        """Whether what is held may not be used. Before the first good look that is for each load to find out."""
        return self.good != NEVER and self.age(now) >= self.max_age

    def patience(self, now: float, started: float) -> float:
        """How long to wait for a look of another's that began at `started`.

        Not at all while what is held is young. After a quiet time, in which nobody asked, until one refresh after it
        began, all who wait together: a store that hangs must not hold up each request anew.
        """
        return max(0, started + self.refresh - now) if self.age(now) >= 2 * self.refresh else 0


def gap(held: Moment, found: Moment, changed: Sequence[Change] | None, *, replaced: bool = False) -> str | None:
    """What the log calls it when the history `found` in the database does not follow on what was `held`, else None.

    changed: what changed between them; None when the change log does not tell. replaced: it tells of another history.
    """
    if changed is not None:
        return None
    # An older backup was put in the place of the database (#188), or this process is far behind.
    return "store_went_back" if replaced or found.generation <= held.generation else "changes_missed"


@dataclass(frozen=True)
class _Flight:
    """A look at the store under way, which others may wait for."""

    started: float
    done: threading.Event


class Lookout:
    """Calls `look`, which raises one of STORE_ERRORS when the store is out of reach, and knows how that went.

    What else it raises comes to the same: nothing was heard, of which no request is to blame and the next look is free.
    """

    def __init__(self, look: Callable[[], None], looks: Looks, monotonic: Monotonic) -> None:
        self._look = look
        self._monotonic = monotonic
        self._never = looks
        self._forget()
        in_forked_child(self._forget)

    def _forget(self) -> None:
        """At first, and in a forked child: nothing was looked at, and no lock is held by a thread of the parent's."""
        self._lock = threading.Lock()
        self._flight: _Flight | None = None
        self._looks = self._never
        self.reachable = True
        """Whether the last look succeeded."""

    @property
    def good(self) -> float:
        """When the last look that succeeded began, on the clock that was handed in; NEVER before the first."""
        return self._looks.good

    def age(self) -> float:
        """Seconds since the store was last read; infinite before the first good look."""
        return self._looks.age(self._monotonic())

    def keep_fresh(self, *, polled: bool, may_be_old: bool) -> None:
        """Looks, if it is time; `polled`: a thread does. Raises SnapshotTooOld for what is, unless it `may_be_old`."""
        now, looks = self._monotonic(), self._looks
        if looks.young(now, polled=polled):
            return
        if self._looks.due(now):
            self.look()
        if not may_be_old and self._looks.too_old(self._monotonic()):
            raise SnapshotTooOld

    def keep_younger(self, than: float) -> None:
        """Looks, if what is held is older than so many seconds and it is time. Raises SnapshotTooOld if it stays so."""
        if self.age() < than:
            return
        if self._looks.due(self._monotonic()):
            self.look()
        if self.age() >= than:
            raise SnapshotTooOld

    def look_anew(self) -> None:
        """Looks at the store as it is after this call, whoever is looking now. Never fails for the store's sake."""
        for _ in range(2):
            flight = self._begin()
            if flight is None:
                return
            flight.done.wait(self._looks.refresh)

    def look(self) -> None:
        """Looks, or waits for who is looking, for as long as Looks says. Never fails for the store's sake."""
        flight = self._begin()
        if flight is not None:
            flight.done.wait(self._looks.patience(self._monotonic(), flight.started))

    def _begin(self) -> _Flight | None:
        """Looks, unless somebody is at it: then it is their look that is returned."""
        about_to_wait()
        with self._lock:
            under_way = self._flight
            if under_way is not None:
                return under_way
            flight = self._flight = _Flight(self._monotonic(), threading.Event())
        self._fly(flight)
        return None

    def _fly(self, flight: _Flight) -> None:
        try:
            self._look()
            self._looks = replace(self._looks, good=flight.started)
            self._say(reachable=True)
        except STORE_ERRORS:
            self._say(reachable=False)
        except Exception:  # noqa: BLE001 - somebody may have written anything into the database (#187)
            if self.reachable:
                log.LOGGER.exception("look_failed")
            self._say(reachable=False)
        finally:
            self._looks = replace(self._looks, tried=self._monotonic())
            with self._lock:
                self._flight = None
            flight.done.set()

    def _say(self, *, reachable: bool) -> None:
        """One line when the store goes, and one when it comes back; nobody needs one a second."""
        if reachable != self.reachable:
            name, level = ("store_reachable", "INFO") if reachable else ("store_unreachable", "WARNING")
            log.event(name, snapshot_age=round(min(self.age(), 1e6)), level=level)
        self.reachable = reachable
