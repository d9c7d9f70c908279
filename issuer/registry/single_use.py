"""What may be used once is used here: many at a time share one transaction, so that a disk is waited for once for all.

Whoever comes while one transaction is under way joins the next. No lock is held meanwhile, and nothing is remembered:
the store alone says who was first, over all processes and nodes.
"""

import hashlib
import threading
from collections.abc import Callable

from issuer.refusals import TemporarilyUnavailableError, because
from issuer.storage import used_once
from issuer.storage.engine import Database
from issuer.storage.used_once import Mark
from issuer.waiting import about_to_wait
from realmint.protocol import Clock, Monotonic
from realmint.protocol.fork import in_forked_child

MOST_AT_ONCE = 100
"""Marks in one transaction."""
PATIENCE = 5.0
"""Seconds to wait for the transaction of another."""
PRUNED_BESIDE = 2
"""How many rows that are over go with each that comes, so that none pile up under traffic."""
_STEP = 60
"""Seconds that the wall clock may run ahead of the steady one before rows are kept for longer."""
_LASTING = 2 * 86400
"""Seconds after which one that stays ahead is right, and was not before: few rows, if any, are needed for as long."""


class _Waiting:
    """One that wants to be first, and how that went."""

    def __init__(self, mark: Mark) -> None:
        self.mark = mark
        self.event = threading.Event()
        self.leads = False
        self.first: bool | None = None
        self.error: Exception | None = None


class SingleUse:
    """One per process; a forked child begins with nothing.

    margin: seconds that a mark outlives what it is about, for the clocks of other nodes. patience: seconds to wait for
    the transaction of another.
    """

    def __init__(
        self, database: Database, clock: Clock, monotonic: Monotonic, margin: int, *, patience: float = PATIENCE
    ) -> None:
        self._database = database
        self._clock = clock
        self._monotonic = monotonic
        self._margin = margin
        self._patience = patience
        self._began = clock() - monotonic()
        self._leapt: float | None = None
        self._forget()
        in_forked_child(self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._queue: list[_Waiting] = []
        self._led = False

    def first(self, what: str, whose: int, name: str, until: int) -> bool:
        """Whether nobody used this before; nobody does after it.

        what: a kind of thing, in whose names no other kind's are looked for. whose: the id of a client. until: the
        first second at which nobody would accept it any more. Raises temporarily_unavailable, or one of STORE_ERRORS:
        it may be used then, or not.
        """
        about_to_wait()
        mine = _Waiting(Mark(digest(what, whose, name), until + self._margin))
        with self._lock:
            self._queue.append(mine)
            mine.leads, self._led = not self._led, True
        if not mine.leads:
            mine.event.wait(self._patience)
            with self._lock:
                if not mine.leads and not mine.event.is_set():
                    self._queue = [each for each in self._queue if each is not mine]
                    raise because(TemporarilyUnavailableError(), "single_use_too_slow")
        if mine.leads:
            self._write()
        if mine.error is not None:
            raise mine.error
        assert mine.first is not None
        return mine.first

    def _write(self) -> None:
        """One transaction for all who wait now, this thread among them; then the next of them leads."""
        with self._lock:
            batch, self._queue = self._queue[:MOST_AT_ONCE], self._queue[MOST_AT_ONCE:]
        try:
            won = self._take([each.mark for each in batch])
            for each in batch:
                each.first = each.mark.digest in won
                won.discard(each.mark.digest)  # of several alike one was first
        except Exception as error:
            for each in batch:
                each.error = error
            raise
        except BaseException:
            for each in batch:  # that this thread is to end is no reason for the others to
                each.error = because(TemporarilyUnavailableError(), "single_use_unknown")
            raise
        finally:
            with self._lock:
                self._led = bool(self._queue)
                if self._queue:
                    self._queue[0].leads = True
                    self._queue[0].event.set()
            for each in batch:
                each.event.set()

    def _take(self, marks: list[Mark]) -> set[bytes]:
        with self._database.write() as connection:
            won = used_once.take(connection, marks)
            used_once.prune(connection, self._believed(), PRUNED_BESIDE * len(marks))
        return won

    def _believed(self) -> int:
        """The time, for pruning alone: a wall clock that leapt ahead does not make what lives look dead (#73), unless
        it stays there."""
        now, steady = self._clock(), self._monotonic()
        if now - steady <= self._began + _STEP:
            self._leapt = None
            return now
        self._leapt = steady if self._leapt is None else self._leapt
        if steady - self._leapt <= _LASTING:
            return int(self._began + steady) + _STEP
        self._began, self._leapt = now - steady, None
        return now


def digest(what: str, whose: int, name: str) -> bytes:
    """Over all three; no two of them come to the same (#69, #71)."""
    hashed = hashlib.sha256(f"{what}\0{whose}\0".encode())
    hashed.update(name.encode("utf-8", "surrogatepass"))
    return hashed.digest()


First = Callable[[str, int, str, int], bool]
"""As SingleUse.first()."""
