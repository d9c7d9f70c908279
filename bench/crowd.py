"""A realm with very many clients, loaded by statements of whole batches, for measurements and tests.

What each client has is what clients.create() gives it: one generated secret, the same for all, and one open range.
"""

import secrets
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Table, insert, select, update

from issuer.clients import CLIENT_DEFAULTS
from issuer.secrets import SALT_BYTES, Kind, digest, generate
from issuer.slots import FIRST_LENGTH
from issuer.storage import realms as realm_store
from issuer.storage.changes import record_change
from issuer.storage.engine import Database
from issuer.storage.tables import client_credentials, clients, status_numbering, status_ranges

BATCH = 5000


def load(database: Database, path: str, number: int) -> str:
    """Gives an existing realm without clients `number` of them, c1, c2 ...; the secret that every one has."""
    secret = generate()
    row_digest = digest(secret, Kind.GENERATED, b"")
    for numbers in _batches(number):
        with database.change() as connection:
            _add(connection, path, numbers, row_digest)
    with database.change() as connection:
        record_change(connection, _realm(connection, path).id)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")  # as autovacuum does within a minute
    return secret


def _batches(number: int) -> Iterator[range]:
    for first in range(1, number + 1, BATCH):
        yield range(first, min(first + BATCH, number + 1))


def _realm(connection: Connection, path: str) -> Any:
    realm = realm_store.find(connection, path)
    assert realm is not None
    return realm


def _add(connection: Connection, path: str, numbers: range, row_digest: bytes) -> None:
    realm = _realm(connection, path)
    names = [f"c{number}" for number in numbers]
    made = insert(clients).returning(clients.c.id)  # with which SQLAlchemy sends many rows at once
    ids = connection.scalars(made, [client_row(realm.id, name) for name in names]).all()
    insert_many(connection, client_credentials, [secret_row(client_pk, row_digest) for client_pk in ids])
    small = connection.scalar(select(status_numbering.c.small).where(status_numbering.c.path == path)) or 0
    rows = [_range(realm, client_pk, small + FIRST_LENGTH * n) for n, client_pk in enumerate(ids)]
    insert_many(connection, status_ranges, rows)
    # Ranges are a power of two long, so that a list ends where one does.
    after = small + FIRST_LENGTH * len(ids)
    values = {"small": after, "lists": -(-after // 2**20), "max_lifetime": realm.max_access_token_lifetime}
    connection.execute(update(status_numbering).where(status_numbering.c.path == path).values(values))


def insert_many(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    connection.execute(insert(table).returning(*table.primary_key), rows).all()


def client_row(realm_id: int, name: str) -> dict[str, Any]:
    defaults = {key: list(value) if isinstance(value, tuple) else value for key, value in CLIENT_DEFAULTS.items()}
    may = {"scopes": ["read"], "default_scopes": ["read"]}
    named = {"realm_id": realm_id, "client_id": name, "secret_salt": secrets.token_bytes(SALT_BYTES)}
    return {**defaults, **may, **named, "enabled": True, "created_at": 1}


def secret_name(client_pk: int) -> str:
    return f"sec-{client_pk}"


def secret_row(client_pk: int, row_digest: bytes) -> dict[str, Any]:
    named = {"credential_id": secret_name(client_pk), "client_pk": client_pk, "kind": str(Kind.GENERATED)}
    return {**named, "version": 1, "material": row_digest, "created_at": 1}


def _range(realm: Any, client_pk: int, index: int) -> dict[str, Any]:
    owner = {"realm_id": realm.id, "client_pk": client_pk, "credential_id": secret_name(client_pk)}
    place = {"offset": index - realm.status_floor, "length": FIRST_LENGTH, "set_count": 0}
    return {**owner, **place, "max_lifetime": realm.max_access_token_lifetime}
