"""A run as text: for each part a table of medians, what was left out, and what is reached of what is aimed at."""

from collections.abc import Iterator
from typing import Any

from bench.figures import Figure, Run

HEADS = {
    "us": "µs", "multiple": "multiple", "per_second": "per second", "start_up_s": "start s", "mib": "MiB",
    "first_us": "first µs", "second_us": "second µs", "statements": "statements", "grown_mib": "MiB more",
    "of_one": "of one", "p50_us": "p50", "p90_us": "p90", "p99_us": "p99", "max_us": "max", "failed": "failed",
}  # fmt: skip
"""What stands above each measure, in the order of the columns."""


def written(run: Run, reached: list[dict[str, Any]]) -> str:
    lines: list[str] = []
    for part in dict.fromkeys(figure.part for figure in run.figures):
        lines += _part(part, [figure for figure in run.figures if figure.part == part])
    if run.skipped:
        lines += ["", "not measured", *(f"  {each.part}, {each.name}: {each.why}" for each in run.skipped)]
    if reached:
        lines += ["", f"{'aimed at':62}{'':>10}{'found':>8}"]
        for goal in reached:
            lines.append(
                f"  {goal['goal']:60}{goal['aim']:>10}{goal['value']:8.2f}{'' if goal['reached'] else '  not reached'}"
            )
    return "\n".join([*lines, ""])


def _part(part: str, figures: list[Figure]) -> Iterator[str]:
    measures = [measure for measure in HEADS if any(measure in figure.rounds for figure in figures)]
    yield ""
    yield f"{part:36}{'':8}" + "".join(f"{HEADS[measure]:>12}" for measure in measures)
    for figure in figures:
        yield f"  {figure.name:34}{figure.what:8}" + "".join(_value(figure, measure) for measure in measures)
    yield from dict.fromkeys(f"  {figure.name}: {figure.note}" for figure in figures if figure.note)


def _value(figure: Figure, measure: str) -> str:
    if measure not in figure.rounds:
        return " " * 12
    value = figure.median(measure)
    if measure == "failed":
        return f"{f'{value:.1%}' if value else '':>12}"
    if measure in LATENCIES and "failed" in figure.rounds:  # of requests, told in microseconds as those of calls
        return f"{value / 1e3:9.1f} ms" if figure.median("per_second") else f"{'none':>12}"
    return f"{value:12.2f}" if value < 20 else f"{value:12.0f}"


LATENCIES = ("p50_us", "p90_us", "p99_us", "max_us")
