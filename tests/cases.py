"""Which adversarial cases the tests hold, by section: `python -m tests.cases [--json]`, or `make cases`.

A test says which cases it holds by the numbers its name starts with, `test_1_2_...` or `test_l5_...`, and a single
parameter by its id, `case_9_...`. What `make soak` alone runs does not count.
"""

import argparse
import contextlib
import io
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SECTIONS = [
    ("A", "HTTP surface shared by every endpoint", 1, 26),
    ("B", "Client secrets (basic / post)", 27, 47),
    ("C", "Token request semantics", 48, 61),
    ("D", "private_key_jwt", 62, 84),
    ("E", "mTLS", 85, 92),
    ("F", "DPoP", 93, 108),
    ("G", "Introspection", 109, 119),
    ("H", "Revocation", 120, 127),
    ("I", "Metadata and JWKS", 128, 133),
    ("J", "Resource server: JWT validation", 134, 161),
    ("K", "Resource server: JWKS client", 162, 172),
    ("L", "Resource server: introspection fallback", 173, 178),
    ("M", "Keys and rotation", 179, 189),
    ("N", "Storage, time, processes", 190, 201),
    ("O", "Realms, administration, logs", 202, 211),
]
LIBRARIES = ("L1-L19", "What Authlib and joserfc do by default")
_NAME = re.compile(r"test_((?:l?[0-9]+_)+)")
_PARAMETER = re.compile(r"(?:^|[^a-z0-9])case_(l?[0-9]+)(?![a-z0-9])")


class Collected:
    """A plug-in that keeps what pytest collected."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.ids = [item.nodeid for item in session.items]


def collect() -> list[str]:
    """The ids of all tests. Exits with what pytest said when they cannot be collected."""
    collected, said = Collected(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        options = ["--collect-only", "--quiet", "--rootdir", str(ROOT), "-p", "no:cacheprovider"]
        code = pytest.main([*options, str(ROOT / "tests")], plugins=[collected])
    if code != pytest.ExitCode.OK:
        sys.exit(said.getvalue())
    return collected.ids


def cases_of(test_id: str) -> set[str]:
    """The cases that one test holds: the leading run of numbers in its name, and its parameter's."""
    path, _, parameters = test_id.partition("[")
    leading = _NAME.match(path.rpartition("::")[2])
    return set(leading[1].strip("_").split("_") if leading else ()) | set(_PARAMETER.findall(parameters))


def table(test_ids: list[str]) -> list[dict[str, Any]]:
    """A row per section: how many cases of how many are held, by how many tests, and which are missing."""
    held: Counter[str] = Counter()
    sections = {letter: [str(n) for n in range(first, last + 1)] for letter, _, first, last in SECTIONS}
    sections[LIBRARIES[0]] = [f"l{n}" for n in range(1, 20)]
    tests: Counter[str] = Counter()
    for test_id in test_ids:
        cases = cases_of(test_id)
        held.update(cases)
        tests.update(section for section, numbers in sections.items() if cases & set(numbers))
    unknown = set(held) - {case for numbers in sections.values() for case in numbers}
    if unknown:
        sys.exit(f"no such case: {', '.join(sorted(unknown))}")
    titles = {letter: title for letter, title, _, _ in SECTIONS} | dict([LIBRARIES])
    return [
        {
            "section": section,
            "title": titles[section],
            "cases": len(numbers),
            "held": sum(number in held for number in numbers),
            "tests": tests[section],
            "missing": [number.upper() for number in numbers if number not in held],
        }
        for section, numbers in sections.items()
    ]


def ranges(numbers: list[str]) -> str:
    """As people read them: 62-84 90."""
    runs: list[list[str]] = []
    for number in numbers:
        if runs and int(number.lstrip("L")) == int(runs[-1][-1].lstrip("L")) + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return " ".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def show(rows: list[dict[str, Any]]) -> str:
    """The table as text, with a sum."""
    lines = [f"{'':7}{'SECTION':42}{'HELD':>10}{'TESTS':>7}  MISSING"]
    for row in rows:
        held = f"{row['held']} of {row['cases']}"
        lines.append(f"{row['section']:7}{row['title']:42}{held:>10}{row['tests']:>7}  {ranges(row['missing']) or '-'}")
    held = f"{sum(row['held'] for row in rows)} of {sum(row['cases'] for row in rows)}"
    return "\n".join([*lines, f"{'':7}{'all':42}{held:>10}"])


def main() -> None:
    """Prints the table, or with --json its rows."""
    parser = argparse.ArgumentParser(prog="python -m tests.cases", description="Adversarial cases that the tests hold.")
    parser.add_argument("--json", action="store_true", help="one JSON array on standard output")
    arguments = parser.parse_args()
    rows = table(collect())
    print(json.dumps(rows) if arguments.json else show(rows))


if __name__ == "__main__":
    main()
