"""Which schema this code works with, and what is said where a database has another."""

from pathlib import Path

SCHEMA = "0003"
"""The Alembic revision that this code works with."""
SETUP_COMMANDS = ("flask db upgrade", "flask realms create /")


class SchemaMissing(Exception):
    """The database has no schema, or that of another version; `found` is its revision or None.

    The message says what to do.
    """

    def __init__(self, found: str | None, embedded: Path | None = None) -> None:
        super().__init__(_what_to_do(found) if embedded is None or found else _nothing_there(embedded))
        self.found = found

    @property
    def newer(self) -> bool:
        """Whether a later version of this program made the schema: after a rollback, say."""
        return self.found is not None and self.found > SCHEMA


def _nothing_there(embedded: Path) -> str:
    return (
        f"there is no database at {embedded}, and REALMINT_DATABASE_URL names no other; only flask run,"
        " flask db upgrade and the create commands make one there"
    )


def _what_to_do(found: str | None) -> str:
    if found is None:
        return f"the database has no schema; run: {' && '.join(SETUP_COMMANDS)}"
    if found > SCHEMA:
        return (
            f"the database's schema is at {found}, which a later version of Realmint made; this one knows {SCHEMA}."
            " Run the later version, or bring back a backup from before it"
        )
    return f"the database's schema is at {found} and this version needs {SCHEMA}; run: {SETUP_COMMANDS[0]}"
