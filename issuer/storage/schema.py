"""Bringing a database to the schema of this version, with Alembic."""

import sqlite3
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from issuer.storage.engine import Database
from issuer.storage.postgresql import UPGRADE_SECONDS

_LOCK = 7_251_093  # any number, the same in every process


def upgrade(database: Database) -> None:
    """Runs the migrations that are missing, in one transaction; of two processes, the second finds them done."""
    # Few processes ever come here, and it takes longer to load than Flask does.
    from alembic import command
    from alembic.config import Config

    if database.is_sqlite:
        _use_write_ahead_log(database)
    config = Config()
    # Read by configparser, to which a percent sign means something.
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with database.write(within=UPGRADE_SECONDS) as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _use_write_ahead_log(database: Database) -> None:
    # Readers do not wait for a writer. The mode is kept in the file and cannot be set inside a transaction.
    connection = database.engine.raw_connection()
    pragma = "PRAGMA journal_mode=WAL"
    try:
        connection.cursor().execute(pragma)
    except sqlite3.Error as error:
        raise OperationalError(pragma, None, error) from error  # as every other statement is refused
    finally:
        connection.close()
