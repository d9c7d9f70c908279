"""What commands are told: durations, lines of text, the options they share, who runs them, and whether it is meant."""

import os
import pwd
import re
import secrets
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from keys.audit import Actor

Function = TypeVar("Function", bound=Callable[..., Any])

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


def check_force(force: bool, reason: str | None) -> None:
    """--force is nothing without a reason. Raises a usage error."""
    if force and not reason:
        raise click.UsageError("--force needs --reason TEXT, for the audit")


def confirm(question: str, yes: bool) -> None:
    """Asks on a terminal; elsewhere --yes is needed. Raises click.Abort or a usage error."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Say --yes where nobody can be asked.")
    click.confirm(question, abort=True)


def words(values: Iterable[str]) -> list[str]:
    """Values of an option that repeats and also takes a space-separated list, each once."""
    return list(dict.fromkeys(word for value in values for word in value.split()))
