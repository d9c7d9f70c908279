"""What the key commands say: one realm or all of them, a line per key for people, one object for scripts."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
from sqlalchemy import Connection

from keys import store
from keys.cli.wiring import KeyRealm, Outcome, Wiring, one_realm
from keys.console import REHEARSED, Exit, Refused, be_quiet, print_json, refusal, say


def over_realms(
    wiring: Wiring,
    run: Callable[[Callable[[Connection], KeyRealm]], dict[str, Any]],
    realm_path: str,
    as_json: bool,
    *,
    every: bool,
    observe: bool,
    quiet: bool,
) -> None:
    """Runs a command over one realm or all of them. With several, one that is refused holds no other up.

    Exits with the code of the first that was refused. With `observe`, a routine leaves a mark of the time it ran at.
    """
    be_quiet(quiet)
    if not every:
        shown = [run(one_realm(wiring, realm_path))]
        code = 0
    else:
        shown, code = _all_realms(wiring, run)
    if observe:
        with wiring.database.change() as connection:
            store.observe(connection, wiring.database.now(connection), 2 * wiring.policy.rotation_interval)
    if quiet:
        shown = [row for row in shown if "error" in row]
    if as_json and not (quiet and not shown):
        print_json(shown if every else shown[0])
    elif not as_json:
        for row in shown:
            print_steps(row, "nothing is due")
    click.get_current_context().exit(code)


def _all_realms(
    wiring: Wiring, run: Callable[[Callable[[Connection], KeyRealm]], dict[str, Any]]
) -> tuple[list[dict[str, Any]], int]:
    with wiring.database.read() as connection:
        paths = [realm.path for realm in wiring.list_realms(connection)]
    shown, code = [], 0
    for path in _progress(paths):
        try:
            shown.append(run(one_realm(wiring, path)))
        except Exception as error:
            refused: Refused | None = refusal(error)
            if refused is None:
                raise
            if refused.exit_code == Exit.NOT_FOUND:
                continue  # deleted since they were listed
            shown.append({"realm": path, **refused.shape()})
            code = code or refused.exit_code
    return shown, code


def _progress(paths: Sequence[str]) -> Iterator[str]:
    """A bar on a terminal where there is much to do."""
    if not sys.stderr.isatty() or len(paths) < 100:
        yield from paths
        return
    with click.progressbar(paths, file=sys.stderr) as bar:
        yield from bar


def show(outcome: Outcome, as_json: bool, nothing: str = "nothing to do") -> None:
    """What a command did, for a script or for people."""
    if as_json:
        print_json(outcome.shape())
    else:
        print_steps(outcome.shape(), nothing)


_SAID = {
    "generated": "is made",
    "imported": "is imported",
    "published": "is published as the standby",
    "promoted": "signs from now on",
    "reactivated": "signs again from now on",
    "demoted": "only verifies from now on",
    "retired": "has left the JWKS",
    "discarded": "is discarded; it never signed",
    "revoked": "is revoked",
    "held": "is held",
    "unheld": "is let go",
}


def print_steps(row: dict[str, Any], nothing: str) -> None:
    """A line per key."""
    if "error" in row:
        click.echo(f"{row['realm']}: {row['message']}", err=True)
        return
    for step in row["steps"]:
        born = f" and is {step['to']}" if step["from"] is None else ""
        say(f"{row['realm']}: {step['alg']} {step['kid']} {_SAID[step['event']]}{born}")
    if not row["steps"]:
        say(f"{row['realm']}: {nothing}")
    elif row["dry_run"]:
        say(f"{row['realm']}: {REHEARSED}")
    if row["note"]:
        click.echo(f"{row['realm']}: {row['note']}", err=True)
