"""Commands and their groups: what the lower floors raise ends one with a sentence and its exit code."""

import re
from collections.abc import Callable
from typing import Any

import click
from flask.cli import AppGroup

from issuer.cli.exits import Exit, Refused
from issuer.cli.refusals import refusal


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


class Commands(AppGroup):
    """A group of such commands. first: called before each of them."""

    command_class = _Command

    def __init__(
        self,
        *args: Any,
        first: Callable[[], None] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self.first = first

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The first sentence of each command's help, whole: click's own list cuts it off with dots."""
        named = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first_sentence(found.help or "")) for name, found in named if found])


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=\.) ", paragraph, maxsplit=1)[0]
