"""Statements over clients."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, String, and_, cast, func, insert, or_, select, update

from issuer.clients import Client
from issuer.credentials import Credential
from issuer.realms import Realm
from issuer.secrets import SALT_BYTES, Secret
from issuer.slots import placed
from issuer.storage import credentials as credential_store
from issuer.storage import ranges, scope_marks
from issuer.storage.engine import NameTaken
from issuer.storage.ranges import OPEN
from issuer.storage.rows import reading, values_of
from issuer.storage.tables import client_credentials, clients, realms, status_ranges

_PREFIX = "of_"
_CREDENTIAL = [column.label(_PREFIX + column.name) for column in client_credentials.c]
_LOADED = ("secrets", "credentials", "ranges", "last_used_at")
_FIELDS = tuple(name for name in Client.__dataclass_fields__ if name not in _LOADED)


def create(
    connection: Connection, realm_id: int, client_id: str, values: Mapping[str, Any], salt: bytes, now: int
) -> int:
    """A new client; its id. Raises NameTaken."""
    same_name = and_(clients.c.realm_id == realm_id, clients.c.client_id == client_id)
    if connection.scalar(select(clients.c.id).where(same_name, clients.c.deleted_at.is_(None))):
        raise NameTaken(f"there is a client {client_id} already")
    assert len(salt) == SALT_BYTES
    row = {**values, "realm_id": realm_id, "client_id": client_id, "enabled": True, "secret_salt": salt}
    row["created_at"] = now
    return int(connection.execute(insert(clients).values(row).returning(clients.c.id)).scalar_one())


def find(connection: Connection, realm_id: int, client_id: str) -> Client | None:
    """The live client of this very name, its credentials that are not revoked, what they draw from: one statement.

    So nobody ever holds a client beside ranges, or ranges beside a floor, of another moment: the offset of one under
    the floor of another could lie in the range of somebody else. Raises RowSpoilt.
    """
    mine = and_(client_credentials.c.client_pk == clients.c.id, client_credentials.c.revoked_at.is_(None))
    drawn_from = and_(
        status_ranges.c.client_pk == clients.c.id,
        status_ranges.c.credential_id == client_credentials.c.credential_id,
        OPEN,
    )
    place = (realms.c.status_floor, status_ranges.c.offset, status_ranges.c.length)
    rows = connection.execute(
        select(*(clients.c[name] for name in _FIELDS), *_CREDENTIAL, *place)
        .join(realms, realms.c.id == clients.c.realm_id)
        .outerjoin(client_credentials, mine)
        .outerjoin(status_ranges, drawn_from)
        .where(clients.c.realm_id == realm_id, clients.c.client_id == client_id, clients.c.deleted_at.is_(None))
        .order_by(client_credentials.c.created_at, client_credentials.c.credential_id)
    ).all()
    if not rows:
        return None
    with reading(f"client {client_id}"):
        found = [credential_store.value(row, _PREFIX) for row in rows if row.of_credential_id is not None]
        drawn = {
            row.of_credential_id: placed(row.status_floor, row.offset, row.length)
            for row in rows
            if row.offset is not None
        }
        return replace(_with(_client(rows[0]), found), ranges=drawn)


def every(connection: Connection, realm_id: int) -> list[Client]:
    """Every live client of a realm by name, without its credentials. Raises RowSpoilt."""
    columns = [clients.c[name] for name in _FIELDS]
    last_used = func.max(client_credentials.c.last_used_at).label("last_used_at")
    rows = connection.execute(
        select(*columns, last_used)
        .outerjoin(client_credentials, client_credentials.c.client_pk == clients.c.id)
        .where(clients.c.realm_id == realm_id, clients.c.deleted_at.is_(None))
        .group_by(clients.c.id)
        .order_by(clients.c.client_id)
    )
    found = []
    for row in rows:
        with reading(f"client {row.client_id}"):
            found.append(_client(row, row.last_used_at))
    return found


def every_with_credentials(connection: Connection, realm_id: int) -> list[Client]:
    """Every live client of a realm by name, with its credentials that are not revoked: two statements, however many."""
    rows = connection.execute(
        select(client_credentials)
        .join(clients, clients.c.id == client_credentials.c.client_pk)
        .where(clients.c.realm_id == realm_id, client_credentials.c.revoked_at.is_(None))
        .order_by(client_credentials.c.created_at, client_credentials.c.credential_id)
    )
    found: dict[int, list[Secret | Credential]] = {}
    with reading("a credential"):
        for row in rows:
            found.setdefault(row.client_pk, []).append(credential_store.value(row))
    return [_with(client, found.get(client.id, ())) for client in every(connection, realm_id)]


def any_ever(connection: Connection) -> bool:
    """Whether there ever was a client, one that is deleted included."""
    return connection.scalar(select(clients.c.id).limit(1)) is not None


def alter(connection: Connection, client_pk: int, values: Mapping[str, Any]) -> None:
    connection.execute(update(clients).where(clients.c.id == client_pk).values(values))


def delete(connection: Connection, client_pk: int, now: int) -> None:
    """The client ends with its secrets and every range; its id stays (#204)."""
    ranges.end_of_client(connection, client_pk, now)
    connection.execute(client_credentials.delete().where(client_credentials.c.client_pk == client_pk))
    scope_marks.forget(connection, [client_pk])
    connection.execute(update(clients).where(clients.c.id == client_pk).values(deleted_at=now, enabled=False))


def signing_with(connection: Connection, realm_id: int) -> dict[str, str]:
    """The clients of a realm that name an algorithm of their own, and which."""
    named = and_(clients.c.realm_id == realm_id, clients.c.deleted_at.is_(None), clients.c.signing_alg.is_not(None))
    return {row.client_id: row.signing_alg for row in connection.execute(select(clients).where(named))}


def named_by_nobody(connection: Connection, realm: Realm, among: Collection[str] | None = None) -> set[str]:
    """The clients of a realm for whose tokens neither they nor the realm name an audience, in format `am`.

    among: only of these names, each of which is looked up by itself.
    """
    if realm.default_audience:
        return set()
    own = and_(clients.c.realm_id == realm.id, clients.c.deleted_at.is_(None))
    if among is not None:
        own = and_(own, clients.c.client_id.in_(sorted(among)))
    am = func.coalesce(clients.c.token_format, realm.token_format) == "am"
    none = cast(clients.c.default_audience, String) == "[]"
    return set(connection.scalars(select(clients.c.client_id).where(own, am, none)))


def audiences_named(
    connection: Connection, realm_id: int, name: str | None = None
) -> list[tuple[str, set[str], set[str]]]:
    """Of each client of a realm: its name, what it is called as an API, and which APIs its tokens may be for.

    name: only of those that may have it there. Raises RowSpoilt.
    """
    lists = (clients.c.resource_identifiers, clients.c.audiences, clients.c.default_audience)
    wanted = and_(clients.c.realm_id == realm_id, clients.c.deleted_at.is_(None))
    if name is not None:  # as JSON text; a few others are like it
        wanted = and_(wanted, or_(*(cast(each, String).like(f'%"{name}"%') for each in lists)))
    rows = connection.execute(select(clients.c.client_id, *lists).where(wanted))
    with reading("a client"):
        return [(row.client_id, set(row.resource_identifiers), {*row.audiences, *row.default_audience}) for row in rows]


def _client(row: Any, last_used_at: int | None = None) -> Client:
    return Client(**values_of(clients, _FIELDS, row), last_used_at=last_used_at)


def _with(client: Client, found: Sequence[Secret | Credential]) -> Client:
    """The client with its credentials; last used when the last of them was, where that was not read by itself."""
    used = client.last_used_at or max((each.last_used_at or 0 for each in found), default=0) or None
    secrets = tuple(each for each in found if isinstance(each, Secret))
    others = tuple(each for each in found if isinstance(each, Credential))
    return replace(client, secrets=secrets, credentials=others, last_used_at=used)
