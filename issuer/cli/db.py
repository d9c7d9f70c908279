"""flask db: the schema."""

import click

from issuer import log, schema
from issuer.cli.refusals import translate
from issuer.db import SCHEMA, SchemaMissing
from issuer.runtime import Runtime
from keys.console import Commands, options, print_json, say


def group(runtime: Runtime) -> click.Group:
    """The command group over `runtime`."""
    commands = Commands("db", help="The database's schema.", translate=translate)

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

    return commands
