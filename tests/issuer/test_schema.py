"""The schema: migrations and tables say the same, on both engines, and an upgrade may be run again."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from issuer.storage.revision import SCHEMA
from issuer.storage.tables import metadata
from tests.support.issuer import Issuer


def test_migrations_lead_to_the_tables_that_the_code_uses(stored_issuer: Issuer) -> None:
    with stored_issuer.runtime.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_there_is_one_head_and_the_code_expects_it() -> None:
    assert ScriptDirectory("issuer/storage/migrations").get_heads() == [SCHEMA]


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(stored_issuer: Issuer) -> None:
    assert stored_issuer.run("db upgrade") == {"changed": False, "schema": SCHEMA}


def test_indexes_that_keep_one_active_key_and_one_name_are_partial_and_unique(stored_issuer: Issuer) -> None:
    with stored_issuer.runtime.database.read() as connection:
        found = {
            index["name"]: index
            for table in ("keys", "realms", "clients")
            for index in inspect(connection).get_indexes(table)
        }
    for name in ("one_active_key", "one_published_key", "one_realm_per_path", "one_client_per_name"):
        assert found[name]["unique"], name


def test_sqlite_survives_a_power_cut_and_does_not_make_readers_wait(issuer: Issuer) -> None:
    with issuer.runtime.database.read() as connection:
        pragmas = {
            name: connection.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
