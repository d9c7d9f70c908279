"""--since: how far back a command looks, as an age or as an instant."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from issuer.cli.options import Duration


@dataclass(frozen=True)
class Since:
    """An instant, or one that is `seconds` before now."""

    seconds: int
    ago: bool

    def instant(self, now: int) -> int:
        """In seconds since the epoch."""
        return now - self.seconds if self.ago else self.seconds


EVER = Since(0, ago=False)


class SinceType(click.ParamType[Since]):
    """An age such as 30d, or an instant: a date, a date and time (UTC unless it says otherwise), or epoch seconds."""

    name = "30d|2026-11-29|2026-11-29T10:00:00Z"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002 - the base class's
        """How it is written, since no name says so."""
        return f"[{self.name}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Since:
        if isinstance(value, Since):
            return value
        if re.fullmatch(r"[0-9]{1,11}", value):
            return Since(int(value), ago=False)
        if re.fullmatch(r"[0-9]+[smhd]", value):
            return Since(Duration().convert(value, param, ctx), ago=True)
        try:
            told = datetime.fromisoformat(value)
            told = told if told.tzinfo else told.replace(tzinfo=UTC)
            return Since(int(told.timestamp()), ago=False)
        except (ValueError, OverflowError):
            self.fail(
                "is an age like 12h or 30d, or an instant like 2026-11-29, 2026-11-29T10:00:00Z or seconds since the"
                " epoch",
                param,
                ctx,
            )
