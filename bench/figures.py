"""What a run found: figures, each with the value of every round, and what was left out and why."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """Of one part: who did what, and for each measure a value per round."""

    part: str
    name: str
    what: str
    rounds: dict[str, list[float]]
    note: str = ""

    def median(self, measure: str) -> float:
        return statistics.median(self.rounds[measure])

    def as_json(self) -> dict[str, Any]:
        medians = {measure: self.median(measure) for measure in self.rounds}
        return {"name": self.name, "what": self.what, "note": self.note, "median": medians, "rounds": self.rounds}


@dataclass(frozen=True)
class Skipped:
    """What was not measured."""

    part: str
    name: str
    why: str


@dataclass
class Run:
    """How to measure, what was found so far, and whom to tell of progress."""

    seconds: float
    rounds: int
    tell: Callable[[str], None]
    figures: list[Figure] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def skip(self, part: str, name: str, why: str) -> None:
        self.tell(f"skipped: {part}, {name}: {why}")
        self.skipped.append(Skipped(part, name, why))

    def find(self, part: str, name: str, what: str = "") -> Figure | None:
        for figure in self.figures:
            if (figure.part, figure.name, figure.what) == (part, name, what):
                return figure
        return None


def quantile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
