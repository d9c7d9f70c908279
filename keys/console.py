"""What our commands have in common: exit codes, refusals, durations, JSON for scripts and tables for people."""

import json
import logging
import os
import pwd
import re
import secrets
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, NoReturn, TypeVar

import click
from flask.cli import AppGroup
from sqlalchemy.exc import DBAPIError

from keys.audit import Actor
from keys.key import KeyRefused
from keys.plan import GateNotMet, RotationRefused
from keys.sealing import SealingError
from keys.store import LostRace

Function = TypeVar("Function", bound=Callable[..., Any])


class Exit(IntEnum):
    """Exit codes of every command (interface section 5)."""

    DONE = 0
    FINDINGS = 1
    USAGE = 2
    GATE = 3
    NOT_FOUND = 4
    LOST_RACE = 5
    STORE = 6
    WRONG_KEK = 7
    EXISTS = 8
    NOT_CONFIRMED = 130


class Refused(click.ClickException):
    """A command that did nothing: a short code, a sentence, and an exit code. With --json an object on stdout."""

    def __init__(self, error: str, message: str, exit_code: Exit, **more: Any) -> None:
        super().__init__(message)
        self.error = error
        self.exit_code = int(exit_code)  # type: ignore[misc]  # click declares it on the class, reads it here
        self._more = more
        context = click.get_current_context(silent=True)
        self._as_json = bool(context and context.params.get("as_json"))

    def shape(self) -> dict[str, Any]:
        """As --json shows it."""
        return {"changed": False, "error": self.error, "message": self.message, **self._more}

    def show(self, file: Any = None) -> None:
        if self._as_json and self.error != NOT_SHOWN:
            with suppress(NotShown):
                say(json.dumps(self.shape()))
                return
        super().show(file)


NOT_SHOWN = "not_shown"


class NotShown(Exception):
    """What a command has to say cannot be written to standard output; the message says why. What it did, it did."""


class _Command(click.Command):
    """A command that turns what the lower floors raise into a refusal with its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        group = ctx.parent.command if ctx.parent else None
        try:
            if isinstance(group, Commands) and group.first is not None:
                group.first()
            return super().invoke(ctx)
        except click.Abort:
            raise Refused("not_confirmed", "not confirmed; nothing was changed", Exit.NOT_CONFIRMED) from None
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:
            refused = refusal(error)
            if refused is None:
                raise
            raise refused from error


def refusal(error: Exception) -> Refused | None:
    """`error` as the refusal of the command that is running, or None for a fault of ours."""
    if isinstance(error, Refused):
        return error
    context = click.get_current_context(silent=True)
    group = context.parent.command if context and context.parent else None
    translate = group.translate if isinstance(group, Commands) else None
    return (translate(error) if translate else None) or _common(error)


class Commands(AppGroup):
    """A group of such commands.

    translate: for the exceptions of the floor that owns the group. first: called before each of the commands.
    """

    command_class = _Command

    def __init__(
        self,
        *args: Any,
        translate: Callable[[Exception], Refused | None] | None = None,
        first: Callable[[], None] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self.translate = translate
        self.first = first

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The first sentence of each command's help, whole: click's own list cuts it off with dots."""
        named = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first_sentence(found.help or "")) for name, found in named if found])


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=\.) ", paragraph, maxsplit=1)[0]


def _common(error: Exception) -> Refused | None:
    if isinstance(error, GateNotMet):
        return _gate(error)
    if isinstance(error, RotationRefused):
        return Refused(error.error, str(error), _REFUSALS.get(error.error, Exit.USAGE))
    for kind, code, exit_code, message in _FAULTS:
        if isinstance(error, kind):
            return Refused(code, message.format(getattr(error, "orig", error)), exit_code)
    return None


_FAULTS: tuple[tuple[type[Exception], str, Exit, str], ...] = (
    (NotShown, NOT_SHOWN, Exit.FINDINGS, "the answer could not be written to standard output: {}; all else was done"),
    (KeyRefused, "key_refused", Exit.USAGE, "{}"),
    (LostRace, "lost_race", Exit.LOST_RACE, "another process changed these keys first; nothing was changed"),
    (SealingError, "wrong_kek", Exit.WRONG_KEK, "{}"),
    (DBAPIError, "store_unavailable", Exit.STORE, "the database cannot be used: {}"),
    (OSError, "store_unavailable", Exit.STORE, "a file cannot be used: {}"),
)
_REFUSALS = {"no_standby": Exit.NOT_FOUND, "not_found": Exit.NOT_FOUND, "held": Exit.GATE}
"""Exit codes of refusals by the state machine; the others are usage."""


def _gate(error: GateNotMet) -> Refused:
    if error.retry_at is None:
        return Refused(error.error, str(error), Exit.GATE)
    left = error.retry_at - error.now
    message = (
        f"{error}; try from {when(error.retry_at)} on (in {span(left)}), or pass the gate with --force --reason TEXT"
    )
    return Refused(error.error, message, Exit.GATE, retry_at=error.retry_at, retry_after=left)


_LONGEST = 3660 * 86400
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType[int]):
    """Seconds, written as a number or with s, m, h or d behind it."""

    name = "90s|15m|12h|30d"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002 - the base class's
        """How it is written, since no name says so."""
        return f"[{self.name}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", value)
        seconds = int(match[1]) * _UNITS[match[2]] if match else 0
        if not 0 < seconds <= _LONGEST:
            self.fail("is a number of seconds above 0, or like 90s, 15m, 12h, 30d; ten years at most", param, ctx)
        return seconds


class Text(click.ParamType[str]):
    """One line of text that any database and any log can hold, of at most `longest` characters."""

    name = "text"

    def __init__(self, longest: int) -> None:
        self._longest = longest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if len(text) > self._longest or not text.isprintable():
            self.fail(f"is one line of at most {self._longest} characters", param, ctx)
        return text


NAME = Text(255)
REASON = Text(256)
PATH = Text(512)


def options(*wanted: str) -> Callable[[Function], Function]:
    """The options that commands share, by name: realm, json, dry_run, if_missing, quiet, yes, force, reason."""
    made = {
        "realm": click.option(
            "--realm", "realm_path", type=PATH, default="/", show_default=True, help="Path of the realm."
        ),
        "json": click.option("--json", "as_json", is_flag=True, help="One JSON value on standard output."),
        "dry_run": click.option("--dry-run", is_flag=True, help="Check everything, change nothing."),
        "if_missing": click.option("--if-missing", is_flag=True, help="Nothing to do when there is one already."),
        "quiet": click.option("--quiet", is_flag=True, help="Say nothing when all is well, for cron."),
        "yes": click.option("--yes", is_flag=True, help="Do not ask."),
        "force": click.option("--force", is_flag=True, help="Go past the gate; goes with --reason."),
        "reason": click.option("--reason", type=REASON, help="Why, for the audit."),
    }

    def decorate(function: Function) -> Function:
        for name in reversed(wanted):
            function = made[name](function)
        return function

    return decorate


def operator(reason: str | None = None, operation: str = "") -> Actor:
    """Who runs this command, as the machine knows them, for the audit."""
    number = os.geteuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    behind = os.environ.get("SUDO_USER", "")
    if behind.isprintable() and 0 < len(behind) <= 64 and behind != name:
        name = f"{name} ({behind})"
    return Actor(f"cli:{name}", operation or secrets.token_hex(8), reason)


def confirm(question: str, yes: bool) -> None:
    """Asks on a terminal; elsewhere --yes is needed. Raises click.Abort or a usage error."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Say --yes where nobody can be asked.")
    click.confirm(question, abort=True)


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
    say(json.dumps(value, indent=2 if is_terminal(sys.stdout) else None))


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
        return when(value)
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value)


def when(instant: int) -> str:
    """An instant in UTC."""
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def span(seconds: int) -> str:
    """A duration as people say it, in its two largest units."""
    left, parts = max(seconds, 0), list[str]()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= size and len(parts) < 2:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts) or "0 s"


def words(values: Iterable[str]) -> list[str]:
    """Values of an option that repeats and also takes a space-separated list, each once."""
    return list(dict.fromkeys(word for value in values for word in value.split()))


def be_quiet(quiet: bool) -> None:
    """Keeps the log to what somebody must see to, where a command is asked to be quiet."""
    if quiet:
        logging.getLogger("realmint").setLevel(logging.WARNING)


def outcome(changed: bool, dry_run: bool) -> dict[str, Any]:
    """Whether something was changed, as --json says it; a rehearsal says that it is one, and changes nothing."""
    return {"changed": False, "dry_run": True} if dry_run else {"changed": changed}


REHEARSED = "a rehearsal; nothing was changed"


def not_found(message: str) -> NoReturn:
    """Ends the command with exit code 4."""
    raise Refused("not_found", message, Exit.NOT_FOUND)
