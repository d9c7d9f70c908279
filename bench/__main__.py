"""The comparison in one run: a table on standard output, JSON and a plot under bench/out, progress on standard error.

python -m bench [--parts primitives,token,...] [--seconds 2] [--rounds 5] [--json FILE]
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from bench import bars, machine, others, reach, served, table
from bench.figures import Run
from bench.parts import PARTS, measure

OUT = Path(__file__).parent / "out"


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ended)
    options = _options()
    described = machine.described()
    run = Run(options.seconds, options.rounds, _teller())
    try:
        measure(run, options.parts)
    finally:
        # Of a run that was broken off, what it had measured.
        if run.figures or run.skipped:
            _tell(run, described, options)


def _tell(run: Run, described: dict[str, Any], options: argparse.Namespace) -> None:
    reached = reach.reached(run)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(_document(run, described, options.parts, reached), indent=1) + "\n")
    tokens = [figure for figure in run.figures if figure.part in {served.PART, others.PART}]
    if tokens:
        plot = options.json.with_suffix(".svg")
        plot.write_text(bars.written(f"Tokens a second, {described['cores']} cores, 32 connections", tokens))
    print(f"{described['cpu']}, {described['cores']} cores; Python {described['python']}, {described['openssl']}")
    print(table.written(run, reached))
    print(f"in {options.json}", file=sys.stderr)


def _options() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=form)
    parser.add_argument("--parts", type=_parts, default=PARTS, help=f"some of {','.join(PARTS)}; all by default")
    parser.add_argument("--seconds", type=_above_0, default=2, help="of each turn of requests (default 2)")
    parser.add_argument("--rounds", type=_from_1, default=5, help="turns of each, after one to warm up (default 5)")
    parser.add_argument(
        "--json", type=Path, default=OUT / "bench.json", help="where the figures go, and a plot beside them"
    )
    return parser.parse_args()


def _above_0(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 3600:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and below 3600")
    return seconds


def _from_1(text: str) -> int:
    rounds = int(text)
    if rounds < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return rounds


def _parts(text: str) -> tuple[str, ...]:
    asked = text.split(",")
    unknown = [part for part in asked if part not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in asked)


def _document(
    run: Run, described: dict[str, Any], parts: tuple[str, ...], reached: list[dict[str, Any]]
) -> dict[str, Any]:
    figures = {part: [each.as_json() for each in run.figures if each.part == part] for part in parts}
    skipped = [{"part": each.part, "name": each.name, "why": each.why} for each in run.skipped]
    how = {"seconds": run.seconds, "rounds": run.rounds, "parts": list(parts)}
    return {"machine": described, "how": how, "parts": figures, "skipped": skipped, "reached": reached}


def _teller() -> Callable[[str], None]:
    """Says where a run is, on what is standard error now, whatever becomes of that meanwhile."""
    stream = os.fdopen(os.dup(2), "w", buffering=1)

    def tell(text: str) -> None:
        print(text, file=stream)

    return tell


def _ended(_number: int, _frame: FrameType | None) -> NoReturn:
    """Every server is stopped on the way out."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
