"""Slow checks: one at a time, in a thread that gives way to all others, and in turns by who asks.

Those who wait are in a room with fewer places than the server has threads, so that requests which need no slow check
never wait for a thread. Where it is full, whoever has most places in it gives one to who has fewer, and 429 is the
answer for that one: however many connections somebody opens, another's first request is next.
"""

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from issuer.secrets import TooManyAttempts
from issuer.waiting import about_to_wait
from realmint.protocol.fork import in_forked_child
from realmint.protocol.threads import NoThread, StartThread, start_daemon

Result = TypeVar("Result")

ROOM = 3
"""Places unless told otherwise: a server with four threads has one left."""
PATIENCE = 10
"""Seconds after which a check that had no turn is refused; only a machine that is out of breath comes to that."""
_GIVE_WAY = 10
"""How much nicer than the rest of the process its slow checks are, as of nice(2)."""


@dataclass(frozen=True)
class _Check:
    """What somebody waits for."""

    work: Callable[[], Any]
    answer: Future[Any] = field(default_factory=Future)

    def refuse(self) -> None:
        if self.answer.set_running_or_notify_cancel():  # else nobody waits for it any more
            self.answer.set_exception(TooManyAttempts("slow_checks_waiting"))


class SlowLane:
    """The lane of one process and the room before it. Its thread lives while there is something to do."""

    def __init__(self, room: int = ROOM, patience: float = PATIENCE, start_thread: StartThread = start_daemon) -> None:
        self.room = room
        self._patience = patience
        self._start_thread = start_thread
        self._forget_waiting()
        in_forked_child(self._forget_waiting)

    def run(self, origin: str, work: Callable[[], Result]) -> Result:
        """What `work` returns or raises, once it was the turn of `origin`. Raises TooManyAttempts."""
        about_to_wait()
        check = _Check(work)
        with self._guard:
            self._enter(origin, check)
        try:
            result: Result = check.answer.result(self._patience)
        except TimeoutError:
            check.answer.cancel()
            raise TooManyAttempts("slow_checks_waiting") from None
        return result

    def waiting(self) -> int:
        """How many checks wait for their turn now, beside the one that is being run."""
        with self._guard:
            return sum(map(len, self._waiting.values()))

    def _forget_waiting(self) -> None:
        """In a forked child too: whoever waits, and the thread that works, are its parent's."""
        self._guard = threading.Lock()
        self._waiting: dict[str, deque[_Check]] = {}
        self._turns: deque[str] = deque()  # the origins that wait, but for the one whose check is being run
        self._working_for: str | None = None
        self._working = False

    def _enter(self, origin: str, check: _Check) -> None:
        # First, so that nobody gives a place to a check that comes to nothing. It waits for what we hold.
        if not self._working:
            try:
                self._start()
            except NoThread:
                raise TooManyAttempts("no_thread") from None
        mine = len(self._waiting.get(origin, ()))
        taken = sum(map(len, self._waiting.values())) + (self._working_for is not None)
        if taken >= self.room:
            # The newest of the greediest has waited least. One that is being run has a thread whatever is done.
            greediest = max(self._waiting, key=lambda name: len(self._waiting[name]), default=origin)
            if len(self._waiting.get(greediest, ())) <= mine + 1:
                raise TooManyAttempts("slow_checks_waiting")
            self._waiting[greediest].pop().refuse()
        if not mine:
            self._waiting[origin] = deque()
            if origin != self._working_for:
                self._turns.append(origin)
        self._waiting[origin].append(check)

    def _start(self) -> None:
        """Raises NoThread."""
        self._start_thread(self._work, "realmint-slow-checks")
        self._working = True

    def _work(self) -> None:
        try:
            _give_way()
            while (check := self._next()) is not None:
                if check.answer.set_running_or_notify_cancel():
                    _run(check)
        except BaseException:
            with self._guard:
                self._served()
                self._working = False  # this thread is lost, and those who wait have another, or the next who comes
                if self._waiting:
                    with contextlib.suppress(NoThread):
                        self._start()
            raise

    def _next(self) -> _Check | None:
        """The check of whoever's turn it is; None, and the thread ends, when nobody waits."""
        with self._guard:
            self._served()
            if not self._turns:
                self._working = False
                return None
            self._working_for = origin = self._turns.popleft()
            check = self._waiting[origin].popleft()
            if not self._waiting[origin]:
                del self._waiting[origin]
            return check

    def _served(self) -> None:
        """Who was served goes behind those who came meanwhile."""
        if self._working_for in self._waiting:
            self._turns.append(self._working_for)
        self._working_for = None


def _run(check: _Check) -> None:
    try:
        result = check.work()
    except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
        check.answer.set_exception(error)
    except BaseException:  # it is for the thread, and whoever waits is not to end as well
        check.answer.set_exception(TooManyAttempts("slow_checks_waiting"))
        raise
    else:
        check.answer.set_result(result)


def _give_way() -> None:
    if sys.platform == "linux":  # where a thread has a priority of its own
        thread = threading.get_native_id()
        # What may not even make itself less important, as in some sandboxes, competes as all others do.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + _GIVE_WAY, 19))
