"""How a command ends: its exit code, and the refusal of one that did nothing."""

import json
from contextlib import suppress
from enum import IntEnum
from typing import Any, NoReturn

import click

from issuer.cli.console import NotShown, say


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


def not_found(message: str) -> NoReturn:
    """Ends the command with exit code 4."""
    raise Refused("not_found", message, Exit.NOT_FOUND)
