"""flask db prune and flask db after-restore: what is dead goes, and what an older backup brought back dies."""

import sys
from collections.abc import Sequence
from typing import Any

import click

from issuer.admin import prune as admin_prune
from issuer.admin import restore as admin_restore
from issuer.admin.prune import Pruned
from issuer.admin.restore import RealmKeys
from issuer.cli.commands import Commands
from issuer.cli.console import REHEARSED, is_terminal, outcome, print_json, print_table, say
from issuer.cli.options import confirm, operator, options
from issuer.runtime import Runtime

_TELL_EVERY = 10_000
_KEY_COLUMNS = ("realm", "alg", "state", "published_at", "activated_at", "kid")


def add_prune(commands: Commands, runtime: Runtime) -> None:
    """Adds the command."""

    @commands.command("prune")
    @options("json", "dry_run", "reason")
    def prune(as_json: bool, dry_run: bool, reason: str | None) -> None:
        """Takes away what is dead for good, while the issuer serves: revoked tokens an hour after their end, status
        ranges, deleted clients, and the keys of deleted realms once their last token has died. Run it from cron."""
        prepared = runtime.prepare_change(dry_run)
        pruned = admin_prune.prune(prepared, operator(reason), _Teller(), rehearse=dry_run)
        counts = pruned.shape()
        if as_json:
            print_json({**outcome(any(counts.values()), dry_run), **counts})
            return
        gone = [f"{number} {name.replace('_', ' ')}" for name, number in counts.items() if number]
        say(", ".join(gone) or "nothing is dead")
        if dry_run:
            say(REHEARSED)


class _Teller:
    """A line on standard error now and then, where there is much to do."""

    def __init__(self) -> None:
        self._told = 0

    def __call__(self, pruned: Pruned) -> None:
        done = sum(pruned.counts.values())
        if done - self._told >= _TELL_EVERY:
            self._told = done
            click.echo(f"{done} rows so far", err=True)


def add_after_restore(commands: Commands, runtime: Runtime) -> None:
    """Adds the command."""

    @commands.command("after-restore")
    @click.option("--revoke", multiple=True, metavar="KID", help="Revoke this key too; the start of its name will do.")
    @click.option("--keep-keys", is_flag=True, help="Revoke no key; do not ask.")
    @options("json", "dry_run", "yes", "reason")
    def after_restore(
        revoke: tuple[str, ...], keep_keys: bool, as_json: bool, dry_run: bool, yes: bool, reason: str | None
    ) -> None:
        """After an older backup came back, or a replica that lagged took over: ends every token there is, goes on
        above every change that was lost, and asks which keys to revoke. Safe to run where nothing was lost."""
        if revoke and keep_keys:
            raise click.UsageError("--revoke and --keep-keys exclude each other")
        prepared = runtime.prepare_change(dry_run)
        found = admin_restore.usable_keys(prepared)
        rows = [_row(each, key) for each in found for key in each.keys]
        if not as_json:
            print_table(rows, _KEY_COLUMNS, "there are no keys")
        asked = bool(revoke or keep_keys or dry_run)
        names = admin_restore.chosen(found, revoke if asked else _ask())
        if not asked:
            question = f"End every token of every realm, and revoke {len(names)} of these keys?"
            confirm(question, yes)
        done = admin_restore.after_restore(prepared, names, operator(reason), rehearse=dry_run)
        if as_json:
            told = {"was_pending": done.was_pending, "generation": done.generation, "realms": done.realms}
            print_json({**outcome(True, dry_run), **told, "revoked": list(done.revoked), "keys": rows})
            return
        for kid in done.revoked:
            say(f"{kid} is revoked")
        say(f"Every token is dead (realms: {done.realms}); every process follows within SNAPSHOT_REFRESH.")
        if dry_run:
            say(REHEARSED)


def _row(found: RealmKeys, key: Any) -> dict[str, Any]:
    return {
        "realm": found.realm.path, "kid": key.kid, "alg": key.alg, "state": str(key.state),
        "published_at": key.published_at, "activated_at": key.activated_at,
    }  # fmt: skip


def _ask() -> Sequence[str]:
    """Which keys to revoke: on a terminal only."""
    if not is_terminal(sys.stdin):
        raise click.UsageError("Say which keys to revoke with --revoke KID, or --keep-keys, where nobody can be asked.")
    question = "Revoke which of these keys? The starts of their names, or nothing for none"
    return str(click.prompt(question, default="", show_default=False, err=True)).split()
