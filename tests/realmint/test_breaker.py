"""When a place that fails is left alone, and when it is tried again. On told time, with told chance."""

import pytest

from realmint.breaker import Breaker

MIDDLE = 0.5
"""The chance that leaves a pause as it is."""


def failing(breaker: Breaker, times: int, now: float = 0.0) -> Breaker:
    for _ in range(times):
        breaker = breaker.failed("down", now, MIDDLE, decides=False)
    return breaker


def opened(now: float = 0.0) -> Breaker:
    return failing(Breaker(), 5, now)


def tried(breaker: Breaker, now: float) -> Breaker:
    admitted = breaker.admit(now)
    assert admitted is not None
    assert admitted[1]
    return admitted[0]


def test_it_opens_at_the_fifth_failure_in_a_row_and_not_before() -> None:
    assert failing(Breaker(), 4).state(0) == "closed"
    assert failing(Breaker(), 5).state(0) == "open"
    assert failing(failing(Breaker(), 4).succeeded(0, decides=False), 4).state(0) == "closed"


@pytest.mark.parametrize(("good", "bad", "state"), [(10, 9, "closed"), (10, 10, "open"), (11, 9, "closed")])
def test_it_opens_when_half_of_at_least_twenty_failed(good: int, bad: int, state: str) -> None:
    breaker = Breaker()
    # Never five in a row, and the failures last, so that half is reached only with the last of them.
    turns = (
        [True] * max(good - bad, 0)
        + [ok for _ in range(min(good, bad)) for ok in (True, False)]
        + [False] * max(bad - good, 0)
    )
    for ok in turns:
        assert breaker.state(0) == "closed"
        breaker = breaker.succeeded(0, decides=False) if ok else failing(breaker, 1)
    assert breaker.state(0) == state


@pytest.mark.parametrize(("gap", "state"), [(9.9, "open"), (10.0, "closed")])
def test_what_ended_ten_seconds_ago_counts_no_more(gap: float, state: str) -> None:
    breaker = Breaker()
    for _ in range(8):
        breaker = failing(breaker, 1).succeeded(0, decides=False)
    for _ in range(2):
        breaker = failing(breaker, 1, gap).succeeded(gap, decides=False)
    # The twentieth, half of which failed; a failure more tells.
    assert failing(breaker, 1, gap).state(gap) == state


def test_while_it_is_open_nobody_is_let_through_and_then_one() -> None:
    breaker = opened()
    assert [breaker.admit(now) is None for now in (0, 0.5, 0.999, 1.0)] == [True, True, True, False]
    half = tried(breaker, 1.0)
    assert half.state(1.0) == "half open"
    assert half.admit(5.0) is None


def test_the_one_that_succeeds_closes_it_and_forgets_what_was() -> None:
    breaker = tried(opened(), 1.0).succeeded(1.5, decides=True)
    assert breaker == Breaker()


def test_the_pause_doubles_up_to_thirty_seconds() -> None:
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(8):
        assert breaker.retry_at is not None
        pauses.append(breaker.retry_at - now)
        now = breaker.retry_at
        breaker = tried(breaker, now).failed("down", now, MIDDLE, decides=True)
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30])


def test_chance_spreads_a_pause_by_a_fifth_and_never_past_the_longest() -> None:
    for jitter, length in ((0.0, 0.8), (1.0, 1.2)):
        breaker = failing(Breaker(), 4).failed("down", 0, jitter, decides=False)
        assert breaker.retry_at == pytest.approx(length)


def test_a_call_of_before_that_ends_late_neither_closes_it_nor_makes_the_pause_longer() -> None:
    breaker = opened()
    assert breaker.succeeded(0.5, decides=False).retry_at == breaker.retry_at
    late = failing(breaker, 3, 0.5)
    assert (late.retry_at, late.pause) == (breaker.retry_at, breaker.pause)
    half = failing(tried(breaker, 1.0), 1, 1.1)
    assert half.trying
    assert half.succeeded(1.2, decides=True).state(1.2) == "closed"


def test_a_try_that_was_not_made_is_another_s() -> None:
    assert tried(tried(opened(), 1.0).abandoned(), 1.0)


@pytest.mark.parametrize(("asked", "pause"), [(0, 0), (7, 7), (60, 60), (61, 60), (1e9, 60)])
def test_a_pause_that_is_asked_for_is_kept_at_the_first_failure_up_to_a_minute(asked: float, pause: float) -> None:
    breaker = Breaker().failed("busy", 0, MIDDLE, decides=False, pause=asked)
    assert breaker.retry_at == pause
    assert breaker.admit(pause - 0.001) is None
    assert tried(breaker, pause)


def test_a_pause_that_is_asked_for_shortens_none() -> None:
    assert failing(Breaker(), 4).failed("busy", 0, MIDDLE, decides=False, pause=0.1).retry_at == 1


def test_who_is_refused_hears_in_whole_seconds_when_to_come_back() -> None:
    breaker = Breaker().failed("busy", 0, MIDDLE, decides=False, pause=7)
    assert [breaker.retry_after(now) for now in (0, 0.5, 6.0, 6.5, 9)] == [7, 7, 1, 1, 1]
    assert Breaker().retry_after(0) == 1


def test_what_it_holds_is_bounded() -> None:
    breaker = Breaker()
    for _ in range(10_000):
        breaker = breaker.succeeded(0, decides=False)
    assert len(breaker.recent) <= 100
