"""Slow checks wait their turn: one at a time, by who asks, in a room that never fills the server (#46, #201)."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from issuer.secret_checks.slow_lane import SlowLane
from issuer.secrets import TooManyAttempts
from tests.support.process import until


class Lane:
    """A lane whose checks run when told to; `served` is whose were run, in order."""

    def __init__(self, room: int) -> None:
        self.lane = SlowLane(room)
        self.served: list[str] = []
        self._go = threading.Semaphore(0)
        self._pool = ThreadPoolExecutor(32)

    def ask(self, origin: str) -> "Future[str]":
        """Somebody asks, and is in the room or was refused when this returns."""
        before = self.inside(origin)

        def work() -> str:
            self._go.acquire()
            self.served.append(origin)
            return origin

        asked = self._pool.submit(self.lane.run, origin, work)
        until(lambda: asked.done() or self.inside(origin) > before)
        return asked

    def inside(self, origin: str) -> int:
        """How many checks of this origin wait or are being run."""
        with self.lane._guard:
            return len(self.lane._waiting.get(origin, ())) + (self.lane._working_for == origin)

    def serve(self, number: int = 1) -> None:
        """Lets so many checks run to their end."""
        wanted = len(self.served) + number
        for _ in range(number):
            self._go.release()
        until(lambda: len(self.served) >= wanted)

    def close(self) -> None:
        for _ in range(100):
            self._go.release()
        self._pool.shutdown()


def refused(asked: "Future[Any]") -> bool:
    error = asked.exception(10)
    return isinstance(error, TooManyAttempts) and (error.reason, error.retry_after) == ("slow_checks_waiting", 1)


@pytest.fixture
def make_lane() -> Iterator[Callable[[int], Lane]]:
    made: list[Lane] = []

    def make(room: int) -> Lane:
        made.append(Lane(room))
        return made[-1]

    yield make
    for lane in made:
        lane.close()


def test_201_however_many_somebody_sends_the_first_of_another_is_next(make_lane: Callable[[int], Lane]) -> None:
    lane = make_lane(4)
    greedy = [lane.ask("greedy") for _ in range(10)]
    assert [asked.done() for asked in greedy] == [False] * 4 + [True] * 6
    assert all(refused(asked) for asked in greedy[4:])
    other = lane.ask("other")
    assert refused(greedy[3])  # gave its place up, as the newest of whoever has most
    lane.serve(4)
    assert lane.served == ["greedy", "other", "greedy", "greedy"]
    assert [asked.result(10) for asked in (*greedy[:3], other)] == ["greedy"] * 3 + ["other"]


def test_201_those_who_keep_coming_are_served_in_turns(make_lane: Callable[[int], Lane]) -> None:
    lane = make_lane(9)
    for origin in ("a", "a", "a", "b", "b", "c", "a", "b", "c"):
        assert not lane.ask(origin).done()
    lane.serve(9)
    assert lane.served == ["a", "b", "c", "a", "b", "c", "a", "b", "a"]


def test_201_a_full_room_of_equals_refuses_who_comes_last(make_lane: Callable[[int], Lane]) -> None:
    lane = make_lane(4)
    inside = [lane.ask(origin) for origin in ("a", "b", "c", "d")]
    assert refused(lane.ask("e"))
    assert refused(lane.ask("a"))
    lane.serve()
    late = lane.ask("e")
    assert not late.done()
    lane.serve(4)
    assert [asked.result(10) for asked in (*inside, late)] == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("room", [1, 2, 3])
def test_201_no_room_is_too_small_to_work(make_lane: Callable[[int], Lane], room: int) -> None:
    lane = make_lane(room)
    for _ in range(3):
        inside = [lane.ask("a") for _ in range(room)]
        assert refused(lane.ask("a"))
        lane.serve(room)
        assert [asked.result(10) for asked in inside] == ["a"] * room


def test_201_a_check_that_fails_fails_where_it_was_asked_for_and_nowhere_else() -> None:
    lane = SlowLane()
    with pytest.raises(ZeroDivisionError):
        lane.run("a", lambda: 1 // 0)
    assert lane.run("a", lambda: "next") == "next"


def no_thread_is_left() -> bool:
    """What one of them died of is told by now, and to no test that comes after."""
    return all(thread.name != "realmint-slow-checks" for thread in threading.enumerate())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_201_a_check_that_takes_its_thread_along_is_refused_and_the_next_has_another() -> None:
    lane = SlowLane(room=1)
    for _ in range(2):
        with pytest.raises(TooManyAttempts):
            lane.run("a", sys.exit)
        assert lane.run("a", lambda: "next") == "next"
    until(no_thread_is_left)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_201_those_who_wait_behind_a_check_that_takes_its_thread_along_have_another() -> None:
    lane, go_on = SlowLane(room=3), threading.Event()

    def end() -> None:
        go_on.wait(10)
        sys.exit()

    with ThreadPoolExecutor(2) as pool:
        lost = pool.submit(lane.run, "a", end)
        until(lambda: lane._working_for)
        behind = pool.submit(lane.run, "b", lambda: "next")
        until(lane.waiting)
        go_on.set()
        assert refused(lost)
        assert behind.result(5) == "next"
    until(no_thread_is_left)


def test_201_a_check_that_comes_to_no_end_holds_those_who_wait_up_for_a_bounded_time_only() -> None:
    lane, stuck = SlowLane(room=3, patience=0.2), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(lane.run, "a", lambda: stuck.wait(60))
        until(lambda: lane._working_for)
        started = time.monotonic()
        with pytest.raises(TooManyAttempts):
            lane.run("b", lambda: "never")
        assert refused(holder)
        assert time.monotonic() - started < 5
        stuck.set()
    until(lambda: lane._working_for is None)
    assert lane.run("c", lambda: "again") == "again"


def test_201_the_thread_of_slow_checks_gives_way_and_ends_when_nobody_waits() -> None:
    lane = SlowLane()

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    mine = niceness()
    assert lane.run("a", niceness) == min(mine + 10, 19)
    assert niceness() == mine
    until(no_thread_is_left)


def test_201_many_threads_at_once_are_all_answered_and_never_two_at_a_time() -> None:
    lane, running, most = SlowLane(room=8), [0], [0]

    def work() -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0)
        running[0] -= 1

    def ask(number: int) -> str:
        try:
            lane.run(str(number % 5), work)
        except TooManyAttempts:
            return "refused"
        return "checked"

    with ThreadPoolExecutor(32) as pool:
        answers = set(pool.map(ask, range(2000)))
    assert answers <= {"checked", "refused"}
    assert most == [1]
    assert lane._waiting == {}
