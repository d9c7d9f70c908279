"""Calls in this process, measured in turns, so that a noisy machine is as noisy for each, and in processor time, which
others on the machine leave nearly as it is.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from bench.figures import Figure, Run, quantile


@dataclass(frozen=True)
class Subject:
    """One call of a part, again and again. `unit`: the name and the what of another, of whose time it is a multiple."""

    part: str
    name: str
    what: str
    call: Callable[[], Any]
    unit: tuple[str, str] | None = None


OF_A_TURN = 1 / 40
"""How long a turn of calls is, beside one of requests: short, and three times as many."""
TURNS = 3


class Turn(NamedTuple):
    """Microseconds: of processor time for each call, whichever thread of this process took it, and by the clock."""

    us: float
    times: list[float]


def measure(run: Run, subjects: list[Subject]) -> None:
    """One turn of each in every round, after one to warm up."""
    turns: list[list[Turn]] = [[] for _ in subjects]
    rounds_in_all, seconds = run.rounds * TURNS, run.seconds * OF_A_TURN
    for number in range(rounds_in_all + 1):
        run.tell(f"calls in this process: round {number} of {rounds_in_all}")
        for subject, rounds in zip(subjects, turns, strict=True):
            rounds.append(_turn(subject.call, seconds))
    for subject, rounds in zip(subjects, turns, strict=True):
        run.figures.append(Figure(subject.part, subject.name, subject.what, _measures(rounds[1:])))
    for subject in subjects:
        if subject.unit is not None:
            figure, unit = run.find(subject.part, subject.name, subject.what), run.find(subject.part, *subject.unit)
            assert figure is not None
            assert unit is not None
            pairs = zip(figure.rounds["us"], unit.rounds["us"], strict=True)
            figure.rounds["multiple"] = [mine / other for mine, other in pairs]


def _turn(call: Callable[[], Any], seconds: float) -> Turn:
    """One call at least."""
    times = []
    processor = time.process_time()
    now = time.perf_counter()
    end = now + seconds
    while now < end or not times:
        call()
        after = time.perf_counter()
        times.append((after - now) * 1e6)
        now = after
    return Turn((time.process_time() - processor) / len(times) * 1e6, times)


def _measures(rounds: list[Turn]) -> dict[str, list[float]]:
    return {
        "us": [turn.us for turn in rounds],
        "per_second": [1e6 / turn.us for turn in rounds],
        "p50_us": [quantile(turn.times, 0.5) for turn in rounds],
        "p99_us": [quantile(turn.times, 0.99) for turn in rounds],
    }
