"""From schema 0001, where there were secrets alone, to credentials of every kind: nothing is lost, on both engines."""

from collections.abc import Callable, Mapping
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, text

from issuer.storage.engine import Database
from issuer.storage.revision import SCHEMA
from tests.issuer.conftest import READER
from tests.support.assertions import Signer, add_key, ask, key_client
from tests.support.issuer import Caller, Issuer
from tests.support.stored import everything

# What 0002 and 0003 did, taken back; test_what_is_taken_back_is_schema_0001 says that it is all of it.
BACK = (
    "ALTER TABLE clients DROP COLUMN bound_certificate",
    "ALTER TABLE clients DROP COLUMN dpop",
    "ALTER TABLE realms DROP COLUMN dpop_nonce",
    "DROP TABLE used_once",
    "DROP INDEX ix_client_credentials_client_pk",
    "ALTER TABLE client_credentials RENAME COLUMN material TO digest",
    "ALTER TABLE client_credentials RENAME COLUMN credential_id TO secret_id",
    "ALTER TABLE client_credentials RENAME TO client_secrets",
    "CREATE INDEX ix_client_secrets_client_pk ON client_secrets (client_pk)",
    "UPDATE alembic_version SET version_num = '0001'",
)


def take_back(database: Database) -> None:
    with database.write() as connection:
        for statement in BACK:
            connection.execute(text(statement))


def schema(database: Database) -> Mapping[str, Any]:
    """Every table with its columns and indexes, as the engine tells of them."""
    with database.read() as connection:
        looked = inspect(connection)
        return {
            table: (
                sorted((column["name"], str(column["type"]), column["nullable"]) for column in looked.get_columns(table)),
                sorted((str(index["name"]), tuple(index["column_names"]), index["unique"])
                       for index in looked.get_indexes(table)),
                looked.get_pk_constraint(table)["constrained_columns"],
            )
            for table in looked.get_table_names()
        }  # fmt: skip


def test_what_is_taken_back_is_schema_0001(
    stored_issuer: Issuer, make_issuer: Callable[..., Issuer], database_url: str, tmp_path: Any, request: Any
) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    if database_url.startswith("postgresql"):
        server = request.getfixturevalue("postgres_server")
        url = server.url(server.create_database())
    first = make_issuer("first", url).runtime.database
    first.create_file()
    config = Config()
    config.set_main_option("script_location", "issuer/storage/migrations")
    with first.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    take_back(stored_issuer.runtime.database)
    assert schema(stored_issuer.runtime.database) == schema(first)


def test_every_secret_and_every_token_of_before_works_after_the_upgrade(
    stored_issuer: Issuer, make_issuer: Callable[..., Issuer], database_url: str
) -> None:
    api = stored_issuer.client("api", "--scope am-introspect-all-tokens")
    callers = {
        "generated": stored_issuer.client("generated", READER),
        "imported": Caller("imported", "forgerock-secret"),
        "two": stored_issuer.client("two", READER),
    }
    stored_issuer.run(f"clients create imported {READER} --secret-stdin", "forgerock-secret")
    old, new = callers["two"], Caller("two", stored_issuer.run("clients secrets add two --overlap 1h")["client_secret"])
    gone = stored_issuer.client("gone", READER)
    stored_issuer.run(
        f"clients secrets revoke gone {stored_issuer.run('clients secrets list gone')[0]['secret_id']} --yes"
    )
    tokens = {name: stored_issuer.token(caller) for name, caller in callers.items()}
    stored_issuer.run("tokens revoke --client generated --reason test --yes")
    stored_issuer.runtime.registry.marks.flush()
    before, listed = everything(stored_issuer.runtime.database), stored_issuer.run("clients secrets list two")
    take_back(stored_issuer.runtime.database)
    stored_issuer.runtime.close()

    node = make_issuer("upgraded", database_url)
    for line in ("clients list", "clients keys list two", "clients secrets list two", "realms list"):
        assert node.command(line).exit_code == 6
    assert node.run("db upgrade") == {"changed": True, "schema": SCHEMA}
    assert node.run("db upgrade")["changed"] is False
    assert everything(node.runtime.database) == before
    assert node.run("clients secrets list two") == listed
    for caller in (*callers.values(), new):
        assert node.token_response(caller).status_code == 200
        assert node.introspect(caller, "x").status_code == 200
    assert node.token_response(gone).status_code == 401
    active = {name: node.introspect(api, token).json["active"] for name, token in tokens.items()}
    assert active == {"generated": False, "imported": True, "two": True}
    node.clock.advance(3600)
    assert [node.token_response(caller).status_code for caller in (old, new)] == [401, 200]
    # And it takes what is new.
    add_key(node, Signer("two"))
    signer = key_client(node)
    node.clock.advance(2)
    sent = signer.assertion(node.clock.now)
    assert [ask(node, sent).status_code for _ in range(2)] == [200, 401]


def test_an_embedded_database_of_before_is_served_from_once_it_is_upgraded(make_issuer: Callable[..., Issuer]) -> None:
    issuer = make_issuer()
    issuer.runtime.boot()
    caller = issuer.client(options=READER)
    take_back(issuer.runtime.database)
    issuer.runtime.close()
    again = make_issuer()
    assert again.token_response(caller).status_code == 503
    assert again.run("db upgrade")["changed"] is True
    assert again.token_response(caller).status_code == 200
