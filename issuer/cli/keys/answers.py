"""What the key commands say: one realm or all of them, a line per key for people, one object for scripts."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import click

from issuer.admin import keys as admin
from issuer.admin import realms
from issuer.admin.refused import RealmNotFound
from issuer.cli.console import REHEARSED, be_quiet, outcome, print_json, say
from issuer.cli.exits import Refused
from issuer.cli.refusals import refusal
from issuer.runtime import Runtime
from keys.change import Outcome


def over_realms(
    runtime: Runtime,
    run: Callable[[str], dict[str, Any]],
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
    rows, code = _all_realms(runtime, run) if every else ([run(realm_path)], 0)
    if observe:
        admin.observe(runtime.administration)
    if quiet:
        rows = [row for row in rows if "error" in row]
    if as_json and not (quiet and not rows):
        print_json(rows if every else rows[0])
    elif not as_json:
        for row in rows:
            print_steps(row, "nothing is due")
    click.get_current_context().exit(code)


def _all_realms(runtime: Runtime, run: Callable[[str], dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    paths = realms.paths(runtime.administration)
    rows, code = [], 0
    for path in _progress(paths):
        try:
            rows.append(run(path))
        except RealmNotFound:
            continue  # deleted since they were listed
        except Exception as error:
            refused: Refused | None = refusal(error)
            if refused is None:
                raise
            rows.append({"realm": path, **refused.shape()})
            code = code or refused.exit_code
    return rows, code


def _progress(paths: Sequence[str]) -> Iterator[str]:
    """A bar on a terminal where there is much to do."""
    if not sys.stderr.isatty() or len(paths) < 100:
        yield from paths
        return
    with click.progressbar(paths, file=sys.stderr) as bar:
        yield from bar


def show(done: Outcome, as_json: bool, nothing: str = "nothing to do") -> None:
    """What a command did, for a script or for people."""
    if as_json:
        print_json(shape(done))
    else:
        print_steps(shape(done), nothing)


def shape(done: Outcome) -> dict[str, Any]:
    """What was done, as --json shows it; more members may be added, none renamed."""
    steps = [
        {"event": step.event, "kid": step.kid, "alg": step.alg, "from": step.before, "to": str(step.after)}
        for step in done.plan.steps
    ]
    return {
        "dry_run": False,
        **outcome(done.changed, done.rehearsed),
        "realm": done.owner.path,
        "generation": done.generation,
        "forced": done.plan.forced,
        "note": done.plan.note,
        "steps": steps,
    }


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


full_option = click.option("--full", is_flag=True, help="Whole names of keys; --json has them always.")
_SHORT = 8


def short_names(kids: Iterable[str], *, full: bool) -> dict[str, str]:
    """How a table calls keys: by as many first characters as tell them apart, as git calls commits, and 8 at least."""
    every = sorted(set(kids))
    length = _SHORT
    while not full and len({kid[:length] for kid in every}) < len(every):
        length += 1
    return {kid: kid if full else kid[:length] for kid in every}
