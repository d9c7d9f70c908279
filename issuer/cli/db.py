"""flask db: the schema, the audit of every realm; what is in upkeep.py too."""

from collections.abc import Mapping
from typing import Any

import click

from issuer import log
from issuer.admin.audit import read as read_audit
from issuer.cli.commands import Commands
from issuer.cli.console import print_json, print_table, say
from issuer.cli.exits import Exit
from issuer.cli.keys.answers import full_option, short_names
from issuer.cli.options import PATH, options
from issuer.cli.since import EVER, Since, SinceType
from issuer.cli.upkeep import add_after_restore, add_prune
from issuer.runtime import Runtime
from issuer.storage import schema
from issuer.storage.revision import SCHEMA, SchemaMissing
from keys.audit import Entry

_AUDIT_COLUMNS = ("happened_at", "realm", "actor", "event", "target", "reason")


def group(runtime: Runtime) -> click.Group:
    """The command group over `runtime`."""
    commands = Commands("db", help="The database: its schema, its upkeep, and the audit of every realm.")
    for add in (_add_upgrade, add_prune, add_after_restore, _add_audit):
        add(commands, runtime)
    return commands


def _add_upgrade(commands: Commands, runtime: Runtime) -> None:
    @commands.command("upgrade")
    @options("json")
    def upgrade(as_json: bool) -> None:
        """Brings the database to the schema of this version; safe to run from several machines at once."""
        try:
            runtime.database.check_schema()
            changed = False
        except SchemaMissing as missing:
            if missing.newer:
                raise
            runtime.database.create_file()
            schema.upgrade(runtime.database)
            changed = True
            log.event("changed", what="schema_upgraded", schema=SCHEMA)
        if as_json:
            print_json({"changed": changed, "schema": SCHEMA})
        else:
            say(f"the schema is at {SCHEMA}" + ("" if changed else " already"))


def _add_audit(commands: Commands, runtime: Runtime) -> None:
    @commands.command("audit")
    @click.option("--since", type=SinceType(), default=EVER, show_default=False, help="Only rows from then on.")
    @click.option("--realm", "realm_path", type=PATH, help="Only this realm, and deleted ones that had its path.")
    @click.option("--limit", type=click.IntRange(1), help="Only the newest rows.")
    @options("json")
    @full_option
    @click.pass_context
    def audit(
        context: click.Context, since: Since, realm_path: str | None, limit: int | None, as_json: bool, full: bool
    ) -> None:
        """Every administrative change and every transition of a key: when, in which realm, who, what and why. Realms
        that are deleted are among them. Exits 1 when rows were changed or taken away."""
        runtime.refuse_other_schema()
        found = read_audit(runtime.administration, since.instant, realm_path)
        entries, paths = found.entries[-(limit or 0) :], found.paths
        if as_json:
            print_json([shape(entry, paths) for entry in entries])
        else:
            kids = short_names((entry.kid for entry in entries if entry.kid), full=full)
            rows = [shape(entry, paths) | {"happened_at": entry.at} for entry in entries]
            columns = [name for name in _AUDIT_COLUMNS if name != "realm" or realm_path is None]
            shown = [row | {"target": kids.get(row["target"], row["target"])} for row in rows]
            print_table(shown, columns, "the audit has no such rows")
        for realm_id, seq in found.broken.items():
            click.echo(f"The audit of {paths.get(realm_id, realm_id)} does not hold from row {seq} on", err=True)
        context.exit(Exit.FINDINGS if found.broken else Exit.DONE)


def shape(entry: Entry, paths: Mapping[int, str]) -> dict[str, Any]:
    """A row as --json shows it: a transition's target is its key. More members may be added, none renamed."""
    transition = {name: getattr(entry, name) for name in _OF_KEY}
    return {
        "at": entry.at,
        "realm": paths.get(entry.realm_id),
        "realm_id": entry.realm_id,
        "seq": entry.seq,
        "actor": entry.actor,
        "operation": entry.operation,
        "event": entry.event,
        "target": entry.kid if entry.of_key else entry.target,
        "reason": entry.reason,
        "details": transition if entry.of_key else entry.details,
    }


_OF_KEY = ("alg", "from_state", "to_state", "generation", "forced", "gates")
