"""Statements over realms."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, and_, insert, select, update

from issuer.realms import REALM_DEFAULTS, Realm
from issuer.storage import ranges, scope_marks
from issuer.storage.engine import NameTaken
from issuer.storage.rows import RowSpoilt, reading, values_of
from issuer.storage.tables import client_credentials, clients, realms
from keys.key import IN_JWKS
from keys.tables import keys

_FIELDS = tuple(Realm.__dataclass_fields__)
_SHOWN = [str(state) for state in IN_JWKS]


def create(connection: Connection, path: str, values: Mapping[str, Any], now: int) -> int:
    """A new realm; its id. Raises NameTaken, and OutOfIndexes."""
    same_path = and_(realms.c.path_key == path.lower(), realms.c.deleted_at.is_(None))
    taken = connection.scalar(select(realms.c.path).where(same_path))
    if taken is not None:
        raise NameTaken(f"there is a realm {taken} already")
    row = {**REALM_DEFAULTS, **values, "path": path, "path_key": path.lower(), "enabled": True}
    row["status_floor"] = ranges.floor_of_new_realm(connection, path, int(row["max_access_token_lifetime"]))
    row |= {"has_imported_secrets": False, "created_at": now}
    return int(connection.execute(insert(realms).values(row).returning(realms.c.id)).scalar_one())


def find(connection: Connection, path: str) -> Realm | None:
    """The live realm at exactly this path. Raises RowSpoilt."""
    columns = [realms.c[name] for name in _FIELDS]
    with reading(f"realm {path}"):
        row = connection.execute(
            select(*columns).where(realms.c.path_key == path.lower(), realms.c.deleted_at.is_(None))
        ).one_or_none()
        return _realm(row) if row is not None and row.path == path else None


def with_id(connection: Connection, realm_id: int) -> Realm | None:
    """The live realm of this id. Raises RowSpoilt."""
    columns = [realms.c[name] for name in _FIELDS]
    with reading(f"realm {realm_id}"):
        row = connection.execute(
            select(*columns).where(realms.c.id == realm_id, realms.c.deleted_at.is_(None))
        ).one_or_none()
        return _realm(row) if row is not None else None


def find_ended(connection: Connection, path: str) -> Realm | None:
    """The realm that was deleted last at exactly this path, if its keys were not erased since."""
    columns = [realms.c[name] for name in _FIELDS]
    has_keys = select(keys.c.kid).where(keys.c.realm_id == realms.c.id, keys.c.state.in_(_SHOWN)).exists()
    ended = and_(realms.c.path == path, realms.c.deleted_at.is_not(None), has_keys)
    with reading(f"realm {path}"):
        row = connection.execute(select(*columns).where(ended).order_by(realms.c.id.desc()).limit(1)).one_or_none()
        return _realm(row) if row is not None else None


def every_ended(connection: Connection) -> list[Realm]:
    """Every realm that was deleted and whose keys were not erased since."""
    columns = [realms.c[name] for name in _FIELDS]
    has_keys = select(keys.c.kid).where(keys.c.realm_id == realms.c.id, keys.c.state.in_(_SHOWN)).exists()
    ended = select(*columns).where(realms.c.deleted_at.is_not(None), has_keys)
    return [_realm(row) for row in connection.execute(ended.order_by(realms.c.id))]


def every(connection: Connection) -> tuple[list[Realm], dict[str, RowSpoilt]]:
    """Every live realm, by path; and what is wrong with each that cannot be read."""
    columns = [realms.c[name] for name in _FIELDS]
    rows = connection.execute(select(*columns).where(realms.c.deleted_at.is_(None)).order_by(realms.c.path))
    found, spoilt = list[Realm](), dict[str, RowSpoilt]()
    for row in rows:
        try:
            with reading(f"realm {row.path}"):
                found.append(_realm(row))
        except RowSpoilt as error:
            spoilt[f"{row.path}"] = error
    return found, spoilt


def paths(connection: Connection) -> list[str]:
    """The path of every live realm."""
    live = select(realms.c.path).where(realms.c.deleted_at.is_(None)).order_by(realms.c.path)
    return [f"{path}" for path in connection.scalars(live)]


def any_ever(connection: Connection) -> bool:
    """Whether there ever was a realm, one that is deleted included."""
    return connection.scalar(select(realms.c.id).limit(1)) is not None


def ever(connection: Connection) -> dict[int, str]:
    """The id and the path of every realm that there is or was; several had one path, one after the other."""
    rows = connection.execute(select(realms.c.id, realms.c.path).order_by(realms.c.id))
    return {row.id: row.path for row in rows}


def alter(connection: Connection, realm_id: int, values: Mapping[str, Any]) -> None:
    connection.execute(update(realms).where(realms.c.id == realm_id).values(values))


def delete(connection: Connection, realm_id: int, now: int) -> None:
    """The realm and its clients end; their ids and their rows stay, so that nothing of theirs can revive.

    Its floor is the caller's to raise (ranges.raise_floor).
    """
    cut_off = {"deleted_at": now, "enabled": False}
    ended = select(clients.c.id).where(clients.c.realm_id == realm_id)
    connection.execute(client_credentials.delete().where(client_credentials.c.client_pk.in_(ended)))
    scope_marks.forget(connection, ended)
    live = and_(clients.c.realm_id == realm_id, clients.c.deleted_at.is_(None))
    connection.execute(update(clients).where(live).values(cut_off))
    connection.execute(update(realms).where(realms.c.id == realm_id).values(cut_off))


def _realm(row: Any) -> Realm:
    return Realm(**values_of(realms, _FIELDS, row))
