"""flask keys doctor: whether what is stored, and this machine, are sound."""

import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click
from sqlalchemy import Connection

from issuer.admin import keys as admin
from issuer.admin import realms as admin_realms
from issuer.cli.commands import Commands
from issuer.cli.console import be_quiet, print_json, print_table, say
from issuer.cli.exits import Exit
from issuer.cli.keys.answers import full_option, short_names
from issuer.cli.options import PATH, options
from issuer.realms import Realm
from issuer.runtime import Runtime
from issuer.storage.engine import STORE_ERRORS
from keys import store
from keys.doctor import Finding, History, examine
from keys.sealing import Sealer, SealingError


def add(commands: Commands, runtime: Runtime) -> None:
    """Adds the command."""

    @commands.command("doctor")
    @click.option("--realm", "realm_path", type=PATH, help="Only this realm.")
    @options("json", "quiet")
    @full_option
    @click.pass_context
    def doctor(context: click.Context, realm_path: str | None, as_json: bool, quiet: bool, full: bool) -> None:
        """Looks for whatever could break a verifier: states, bounds, sealed halves, a signature by each key, clocks,
        file modes, the audit. For cron and CI: exits 1 when it finds something."""
        be_quiet(quiet)
        found = [{"realm": None, **asdict(finding)} for finding in _machine(runtime)]
        sealer = _sealer(runtime)
        desk = runtime.administration
        realms, spoilt = admin_realms.every(desk) if realm_path is None else ([admin_realms.find(desk, realm_path)], {})
        with runtime.database.read() as connection:
            found += [{"realm": path, **asdict(Finding("row_spoilt", f"{why}"))} for path, why in spoilt.items()]
            found += [
                {"realm": None, **asdict(finding)}
                for finding in _realms([realm.path for realm in realms] + [*spoilt], realm_path)
            ]
            for realm in realms:
                found += [
                    {"realm": realm.path, **asdict(finding)} for finding in _realm(runtime, connection, realm, sealer)
                ]
        if quiet and not found:
            return
        if as_json:
            print_json(found)
        else:
            say(f"database  {runtime.database.shown()}\nbase URL  {runtime.settings.base_url}")
            names = short_names((row["kid"] for row in found if row["kid"]), full=full)
            print_table(
                [row | {"kid": names.get(row["kid"])} for row in found],
                ("realm", "check", "kid", "message"),
                f"{len(realms)} realm{'s are' if len(realms) != 1 else ' is'} sound",
            )
        context.exit(Exit.FINDINGS if found else Exit.DONE)


def _realm(runtime: Runtime, connection: Connection, realm: Realm, sealer: Sealer | None) -> list[Finding]:
    try:
        at = admin.look(connection, runtime.administration, realm)
        history = History(
            store.history(connection, realm.id),
            store.audit_of(connection, realm.id),
            store.load(connection, realm.id).audit_head,
        )
        return examine(at, history, sealer)
    except STORE_ERRORS:
        raise
    except Exception as error:  # noqa: BLE001 - whatever somebody wrote there, the other realms are looked at
        message = f"somebody spoilt a row of its keys or of its audit: {type(error).__name__}"
        return [Finding("row_spoilt", message)]


def _machine(runtime: Runtime) -> Iterator[Finding]:
    """What concerns this machine and not one realm."""
    try:
        runtime.sealer()
    except SealingError as error:
        yield Finding("key_encryption_key", f"{error}")
    for path in runtime.private_files():
        yield from _private(path)
    with runtime.database.read() as connection:
        apart = runtime.clock() - runtime.database.now(connection)
    if abs(apart) > runtime.settings.policy.clock_error:
        yield Finding("clocks", f"this machine's clock and the database's are {abs(apart)} s apart")


def _realms(paths: Sequence[str], said: str | None) -> Iterator[Finding]:
    """A database that is merely empty is sound in all else, and mostly not the one that was meant."""
    if not paths:
        yield Finding("no_realm", "there is no realm; see flask realms create, and whether this is the right database")
    elif said is None and "/" not in paths:
        yield Finding("no_root_realm", "there is no root realm, so no process is ever ready: flask realms create /")


def _private(path: Path) -> Iterator[Finding]:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        yield Finding("file_mode", f"{path} is a link")
    elif status.st_mode & 0o077:
        yield Finding("file_mode", f"{path} can be read by others than its owner ({status.st_mode & 0o777:o})")


def _sealer(runtime: Runtime) -> Sealer | None:
    try:
        return runtime.sealer()
    except SealingError:
        return None  # reported by _machine
