"""A plot of times as SVG: each call a point over when it was made, on a logarithmic scale."""

import math
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 960, 320, 60, 40, 20
LOWEST, HIGHEST = -6, 0  # powers of ten, in seconds
MOST_POINTS = 400
COLOURS = ("#1f77b4", "#d62728", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#17becf", "#7f7f7f")


@dataclass(frozen=True)
class Series:
    """The times in seconds of the calls of one phase, in order."""

    name: str
    times: list[float]


def written(phases: list[Series]) -> str:
    """The phases side by side. Of many calls the slowest of each stretch is drawn, so that none is hidden."""
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-size="11" font-family="sans-serif"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for power in range(LOWEST, HIGHEST + 1):
        label = {-6: "1 µs", -5: "10 µs", -4: "100 µs", -3: "1 ms", -2: "10 ms", -1: "100 ms", 0: "1 s"}[power]
        y = _y(10.0**power)
        parts.append(f'<line x1="{LEFT}" y1="{y:.0f}" x2="{WIDTH}" y2="{y:.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{label}</text>')
    width = (WIDTH - LEFT) / max(len(phases), 1)
    for at, phase in enumerate(phases):
        begins, colour = LEFT + at * width, COLOURS[at % len(COLOURS)]
        slowest = _slowest(phase.times)
        points = "".join(
            f'<circle cx="{begins + width * number / len(slowest):.1f}" cy="{_y(seconds):.1f}" r="1"/>'
            for number, seconds in enumerate(slowest)
        )
        parts.append(f'<g fill="{colour}">{points}</g>')
        parts.append(f'<line x1="{begins:.0f}" y1="{TOP}" x2="{begins:.0f}" y2="{HEIGHT - BOTTOM}" stroke="#999"/>')
        y = HEIGHT - BOTTOM + (14 if at % 2 == 0 else 28)
        parts.append(f'<text x="{begins + 4:.0f}" y="{y}" fill="{colour}">{escape(phase.name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _slowest(times: list[float]) -> list[float]:
    stretch = max(1, math.ceil(len(times) / MOST_POINTS))
    return [max(times[first : first + stretch]) for first in range(0, len(times), stretch)]


def _y(seconds: float) -> float:
    power = min(max(math.log10(max(seconds, 1e-9)), LOWEST), HIGHEST)
    return TOP + (HEIGHT - TOP - BOTTOM) * (HIGHEST - power) / (HIGHEST - LOWEST)
