"""Until when who may still accept what was cut off, as every command that cuts something off says it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from issuer.cli.console import REHEARSED, outcome, print_json, say, span
from issuer.runtime import Runtime
from issuer.slots import Hearing, hearing
from keys.plan import utc


def shape(known: Hearing, at: int, *, lives_on: bool) -> dict[str, Any]:
    """As --json shows it, for what was cut off at `at`.

    lives_on: something goes on with fresh indexes, whose tokens may be refused by mistake for a while.
    """
    fresh = {"status_lists": at + known.too_early, "node_cut_off": at + known.too_early_cut_off}
    return {
        "accepted_until": {
            "introspection": at,
            "status_lists": at + known.lists,
            "node_cut_off": at + known.cut_off,
            "no_list_reachable": at + known.unreachable,
        },
        "fresh_refused_until": fresh if lives_on else None,
    }


def sentences(known: Hearing, at: int, *, lives_on: bool) -> list[str]:
    """The same for people."""
    said = [
        "Introspection refuses it from now on.",
        f"An API that reads status lists may accept it until {_until(at, known.lists)},",
        f"while a node is cut off from the database until {_until(at, known.cut_off)};",
        f"one that reaches no list until {_until(at, known.unreachable)}, one that reads none until it expires.",
    ]
    if lives_on:
        said += [
            f"A fresh token of what goes on may be refused until {_until(at, known.too_early)},",
            f"one that a node cut off from the database issues until {_until(at, known.too_early_cut_off)}.",
        ]
    return said


@contextmanager
def told(runtime: Runtime, as_json: bool, *, happened: bool) -> Iterator[Mapping[str, Any]]:
    """Around the answer of a command that cut something off just now, if it `happened`: the members that --json adds.

    Nothing of what was cut off has fresh tokens. People are told on standard error, beside the answer.
    """
    known, at = hearing(runtime.settings.policy), runtime.clock()
    yield shape(known, at, lives_on=False) if happened and as_json else {}
    if happened and not as_json:
        for sentence in sentences(known, at, lives_on=False):
            click.echo(sentence, err=True)


def print_cut_off(
    runtime: Runtime, named: Mapping[str, str], said: str, as_json: bool, *, dry_run: bool, tokens: bool = True
) -> None:
    """The whole answer of a command that ended what is `named`, and its tokens with it unless not `tokens`."""
    with told(runtime, as_json, happened=tokens and not dry_run) as more:
        if as_json:
            print_json({**outcome(True, dry_run), **named, **more})
        else:
            say(REHEARSED if dry_run else said)


def _until(at: int, seconds: int) -> str:
    return f"{utc(at + seconds)} ({span(seconds)})"
