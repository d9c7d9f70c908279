"""What commands say: JSON for scripts, tables and fields for people."""

import json
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import click

from keys.plan import utc


class NotShown(Exception):
    """What a command has to say cannot be written to standard output; the message says why. What it did, it did."""


def say(text: str) -> None:
    """A line on standard output. Raises NotShown when it cannot be written: closed, full, or read by nobody."""
    if sys.stdout is None:  # so Python finds a closed one, and click would say nothing
        raise NotShown("it is closed")
    try:
        click.echo(text)
    except (OSError, ValueError) as error:
        _give_up_stdout()
        raise NotShown(getattr(error, "strerror", None) or "it is closed") from None


def tell(text: str) -> None:
    """As say, for what a server tells at its start: it goes on where nobody can read it."""
    with suppress(NotShown):
        say(text)


def _give_up_stdout() -> None:
    """What is left in the buffer goes nowhere: written at exit, it would fail once more, with a traceback."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return  # no file of the process's own
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def check_shown() -> None:
    """Before something is made that is shown once: raises NotShown when there is nowhere to show it."""
    if sys.stdout is None:
        raise NotShown("it is closed, and nothing was made")


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    # What SQLite let somebody write in the place of a text is shown, too.
    say(json.dumps(value, indent=2 if is_terminal(sys.stdout) else None, default=repr))


def is_terminal(stream: Any) -> bool:
    """Whether a person reads a stream; a closed one is None."""
    return stream is not None and stream.isatty()


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
    """Aligned columns for people; `empty` says what it means when there are no rows.

    On a terminal the last column is broken between words to what is left of the line, and where nothing is left each
    row is a paragraph of its own.
    """
    if not rows:
        say(empty)
        return
    cells = [[_heading(column) for column in columns]]
    cells += [[_cell(row.get(column), column) for column in columns] for row in rows]
    *widths, last = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    left = sum(widths) + 2 * len(widths)
    if is_terminal(sys.stdout):
        last = min(last, shutil.get_terminal_size().columns - left)
    if last < min(_NARROWEST, max(len(line[-1]) for line in cells)):
        say("\n\n".join(_fields({column: row.get(column) for column in columns}) for row in rows))
        return
    for *line, text in cells:
        start = "".join(f"{cell:<{width}}  " for cell, width in zip(line, widths, strict=True))
        for part in textwrap.wrap(text, last, break_long_words=False, break_on_hyphens=False) or [""]:
            say((start + part).rstrip())
            start = " " * left


_NARROWEST = 16
"""Characters of a last column that is still worth being one."""
_HEADINGS = {
    "next_action_at": "FROM", "signing_algs": "ALGS", "access_token_lifetime": "LIFETIME", "token_format": "FORMAT",
}  # fmt: skip


def _heading(column: str) -> str:
    return _HEADINGS.get(column) or column.removesuffix("_at").replace("_", " ").upper()


def _cell(value: Any, column: str) -> str:
    """As elsewhere, but for instants: of many, nobody reads the seconds."""
    text = shown(value, column)
    return text[:-4] + "Z" if column.endswith("_at") and isinstance(value, int) else text


def print_fields(row: Mapping[str, Any]) -> None:
    """One thing, a line per member."""
    say(_fields(row))


def _fields(row: Mapping[str, Any]) -> str:
    width = max(len(name) for name in row)
    return "\n".join(f"{name.replace('_', ' ').ljust(width)}  {shown(value, name)}" for name, value in row.items())


def shown(value: Any, name: str) -> str:
    """A value as people read it: instants as dates, nothing as a dash."""
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith(("_at", "_after", "_bound")) and isinstance(value, int):
        return utc(value)
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value)


def span(seconds: int) -> str:
    """A duration as people say it, in its two largest units."""
    left, parts = max(seconds, 0), list[str]()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= size and len(parts) < 2:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts) or "0 s"


def be_quiet(quiet: bool) -> None:
    """Keeps the log to what somebody must see to, where a command is asked to be quiet."""
    if quiet:
        logging.getLogger("realmint").setLevel(logging.WARNING)


def outcome(changed: bool, dry_run: bool) -> dict[str, Any]:
    """Whether something was changed, as --json says it; a rehearsal says that it is one, and changes nothing."""
    return {"changed": False, "dry_run": True} if dry_run else {"changed": changed}


REHEARSED = "a rehearsal; nothing was changed"
AS_IT_WAS = "it is so already; nothing was changed"
