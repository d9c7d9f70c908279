"""The only statements over realms, clients, secrets and the change log. Every function takes a connection."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, String, and_, bindparam, cast, func, insert, or_, select, update

from issuer.clients import Client
from issuer.db import change_head, change_log, client_secrets, clients, realms
from issuer.realms import REALM_DEFAULTS, Realm
from issuer.secrets import SALT_BYTES, Kind, Secret
from keys.tables import keys

_REALM_FIELDS = tuple(Realm.__dataclass_fields__)
_CLIENT_FIELDS = tuple(name for name in Client.__dataclass_fields__ if name not in ("secrets", "last_used_at"))
_LISTS = ("signing_algs", "default_audience", "scopes", "default_scopes", "grant_types", "audiences",
          "resource_identifiers")  # fmt: skip


class NameTaken(Exception):
    """A live realm or client of this name, or of one that differs only by case, exists; the message names it."""


# Realms


def create_realm(connection: Connection, path: str, values: Mapping[str, Any], now: int) -> int:
    """A new realm; its id. Raises NameTaken."""
    same_path = and_(realms.c.path_key == path.lower(), realms.c.deleted_at.is_(None))
    taken = connection.scalar(select(realms.c.path).where(same_path))
    if taken is not None:
        raise NameTaken(f"there is a realm {taken} already")
    row = {**REALM_DEFAULTS, **values, "path": path, "path_key": path.lower(), "enabled": True, "not_before": 0}
    row |= {"has_imported_secrets": False, "created_at": now}
    return int(connection.execute(insert(realms).values(_plain(row)).returning(realms.c.id)).scalar_one())


def find_realm(connection: Connection, path: str) -> Realm | None:
    """The live realm at exactly this path."""
    columns = [realms.c[name] for name in _REALM_FIELDS]
    row = connection.execute(select(*columns).where(realms.c.path_key == path.lower(), realms.c.deleted_at.is_(None)))
    found = row.one_or_none()
    return _realm(found) if found is not None and found.path == path else None


def list_realms(connection: Connection) -> list[Realm]:
    """Every live realm, by path."""
    columns = [realms.c[name] for name in _REALM_FIELDS]
    rows = connection.execute(select(*columns).where(realms.c.deleted_at.is_(None)).order_by(realms.c.path))
    return [_realm(row) for row in rows]


def update_realm(connection: Connection, realm_id: int, values: Mapping[str, Any]) -> None:
    connection.execute(update(realms).where(realms.c.id == realm_id).values(_plain(values)))


def delete_realm(connection: Connection, realm_id: int, now: int) -> None:
    """The realm and its clients end; their ids and their rows stay, so that nothing of theirs can revive."""
    cut_off = {"deleted_at": now, "enabled": False, "not_before": now}
    ended = select(clients.c.id).where(clients.c.realm_id == realm_id)
    connection.execute(client_secrets.delete().where(client_secrets.c.client_pk.in_(ended)))
    live = and_(clients.c.realm_id == realm_id, clients.c.deleted_at.is_(None))
    connection.execute(update(clients).where(live).values(cut_off))
    connection.execute(update(realms).where(realms.c.id == realm_id).values(cut_off))


# Clients


def create_client(
    connection: Connection, realm_id: int, client_id: str, values: Mapping[str, Any], salt: bytes, now: int
) -> int:
    """A new client; its id. Raises NameTaken.

    Tokens that an earlier client of this name got up to its end stay dead (#204).
    """
    same_name = and_(clients.c.realm_id == realm_id, clients.c.client_id == client_id)
    if connection.scalar(select(clients.c.id).where(same_name, clients.c.deleted_at.is_(None))):
        raise NameTaken(f"there is a client {client_id} already")
    not_before = connection.scalar(select(func.max(clients.c.not_before)).where(same_name)) or 0
    assert len(salt) == SALT_BYTES
    row = {**values, "realm_id": realm_id, "client_id": client_id, "enabled": True, "secret_salt": salt}
    row |= {"not_before": not_before, "created_at": now}
    return int(connection.execute(insert(clients).values(_plain(row)).returning(clients.c.id)).scalar_one())


def find_client(connection: Connection, realm_id: int, client_id: str) -> Client | None:
    """The live client of exactly this name, with its secrets that are not revoked."""
    columns = [clients.c[name] for name in _CLIENT_FIELDS]
    same_name = and_(clients.c.realm_id == realm_id, clients.c.client_id == client_id)
    row = connection.execute(select(*columns).where(same_name, clients.c.deleted_at.is_(None))).one_or_none()
    return _client(row, list_secrets(connection, row.id)) if row is not None else None


def list_clients(connection: Connection, realm_id: int) -> list[Client]:
    """Every live client of a realm by name, without the secrets."""
    columns = [clients.c[name] for name in _CLIENT_FIELDS]
    last_used = func.max(client_secrets.c.last_used_at).label("last_used_at")
    rows = connection.execute(
        select(*columns, last_used)
        .outerjoin(client_secrets, client_secrets.c.client_pk == clients.c.id)
        .where(clients.c.realm_id == realm_id, clients.c.deleted_at.is_(None))
        .group_by(clients.c.id)
        .order_by(clients.c.client_id)
    )
    return [_client(row, (), row.last_used_at) for row in rows]


def list_clients_whole(connection: Connection, realm_id: int) -> list[Client]:
    """Every live client of a realm by name, with its secrets that are not revoked: two statements, however many."""
    rows = connection.execute(
        select(client_secrets)
        .join(clients, clients.c.id == client_secrets.c.client_pk)
        .where(clients.c.realm_id == realm_id, client_secrets.c.revoked_at.is_(None))
        .order_by(client_secrets.c.created_at, client_secrets.c.secret_id)
    )
    secrets: dict[int, list[Secret]] = {}
    for row in rows:
        secrets.setdefault(row.client_pk, []).append(_secret(row))
    found = list_clients(connection, realm_id)
    return [replace(client, secrets=tuple(secrets.get(client.id, ()))) for client in found]


def update_client(connection: Connection, client_pk: int, values: Mapping[str, Any]) -> None:
    connection.execute(update(clients).where(clients.c.id == client_pk).values(_plain(values)))


def delete_client(connection: Connection, client_pk: int, now: int) -> None:
    """The client ends with its secrets; its id stays (#204)."""
    connection.execute(client_secrets.delete().where(client_secrets.c.client_pk == client_pk))
    cut_off = {"deleted_at": now, "enabled": False, "not_before": now}
    connection.execute(update(clients).where(clients.c.id == client_pk).values(cut_off))


def clients_signing_with(connection: Connection, realm_id: int) -> dict[str, str]:
    """The clients of a realm that name an algorithm of their own, and which."""
    named = and_(clients.c.realm_id == realm_id, clients.c.deleted_at.is_(None), clients.c.signing_alg.is_not(None))
    return {row.client_id: row.signing_alg for row in connection.execute(select(clients).where(named))}


def named_by_nobody(connection: Connection, realm: Realm) -> set[str]:
    """The clients of a realm for whose tokens neither they nor the realm name an audience, in format `am`."""
    if realm.default_audience:
        return set()
    own = and_(clients.c.realm_id == realm.id, clients.c.deleted_at.is_(None))
    am = func.coalesce(clients.c.token_format, realm.token_format) == "am"
    none = cast(clients.c.default_audience, String) == "[]"
    return set(connection.scalars(select(clients.c.client_id).where(own, am, none)))


def audiences_named(connection: Connection, realm_id: int) -> list[tuple[str, set[str], set[str]]]:
    """Of each client of a realm: its name, what it is called as an API, and which APIs its tokens may be for."""
    columns = (clients.c.client_id, clients.c.resource_identifiers, clients.c.audiences, clients.c.default_audience)
    rows = connection.execute(select(*columns).where(clients.c.realm_id == realm_id, clients.c.deleted_at.is_(None)))
    return [(row.client_id, set(row.resource_identifiers), {*row.audiences, *row.default_audience}) for row in rows]


# Secrets


def add_secret(connection: Connection, client_pk: int, secret: Secret) -> None:
    """One more secret. An imported one marks its realm, whose junk is then worth a slow check."""
    values = {name: getattr(secret, name) for name in ("secret_id", "version", "digest", "created_at", "expires_at")}
    connection.execute(insert(client_secrets).values(**values, client_pk=client_pk, kind=str(secret.kind)))
    if secret.kind is Kind.IMPORTED:
        owner = select(clients.c.realm_id).where(clients.c.id == client_pk).scalar_subquery()
        connection.execute(update(realms).where(realms.c.id == owner).values(has_imported_secrets=True))


def list_secrets(connection: Connection, client_pk: int) -> tuple[Secret, ...]:
    """The secrets of a client that are not revoked, oldest first; expired ones too."""
    rows = connection.execute(
        select(client_secrets)
        .where(client_secrets.c.client_pk == client_pk, client_secrets.c.revoked_at.is_(None))
        .order_by(client_secrets.c.created_at, client_secrets.c.secret_id)
    )
    return tuple(_secret(row) for row in rows)


def expire_secrets(connection: Connection, client_pk: int, at: int, except_id: str) -> None:
    """Ends every other secret of a client at `at`, unless it ends sooner."""
    later = or_(client_secrets.c.expires_at.is_(None), client_secrets.c.expires_at > at)
    mine = and_(client_secrets.c.client_pk == client_pk, client_secrets.c.secret_id != except_id)
    connection.execute(update(client_secrets).where(mine, later).values(expires_at=at))


def revoke_secret(connection: Connection, client_pk: int, secret_id: str, now: int) -> bool:
    """Ends one secret at once; whether there was such a live one."""
    done = connection.execute(
        update(client_secrets)
        .where(
            client_secrets.c.client_pk == client_pk,
            client_secrets.c.secret_id == secret_id,
            client_secrets.c.revoked_at.is_(None),
        )
        .values(revoked_at=now, digest=b"")
    )
    return done.rowcount == 1


def mark_used(connection: Connection, used: Iterable[tuple[str, int]]) -> None:
    """Last-used marks of secrets; never moves one backwards, never bumps the change log."""
    older = or_(client_secrets.c.last_used_at.is_(None), client_secrets.c.last_used_at < bindparam("at"))
    mine = client_secrets.c.secret_id == bindparam("mine")
    marks = [{"mine": secret_id, "at": at} for secret_id, at in used]
    connection.execute(update(client_secrets).where(mine, older).values(last_used_at=bindparam("at")), marks)


# What changed, and what became of a token


@dataclass(frozen=True)
class Moment:
    """A point in the history of changes; `nonce` tells two histories apart that have come equally far."""

    generation: int
    nonce: str | None


def now_at(connection: Connection) -> Moment:
    """The newest change."""
    newest = select(change_head.c.generation, change_log.c.nonce).outerjoin(
        change_log, change_log.c.generation == change_head.c.generation
    )
    row = connection.execute(newest).one_or_none()
    return Moment(row.generation, row.nonce) if row is not None else Moment(0, None)


def changes_since(
    connection: Connection, held: Moment | None
) -> tuple[Moment, list[tuple[int | None, str | None]] | None]:
    """The newest change, and what changed after `held`; None when the log does not reach back, or is another's."""
    head = now_at(connection)
    if held is None or head == held:
        return head, []
    found = connection.execute(
        select(change_log.c.generation, change_log.c.nonce, change_log.c.realm_id, change_log.c.client_id)
        .where(change_log.c.generation >= held.generation)
        .order_by(change_log.c.generation)
    ).all()
    same = held == Moment(0, None) or any(Moment(row.generation, row.nonce) == held for row in found[:1])
    rows = [row for row in found if row.generation > held.generation]
    # The log is pruned from its old end; a gap there, or a generation that went back, means: drop everything.
    if not same or not rows or rows[0].generation != held.generation + 1:
        return head, None
    return head, [(row.realm_id, row.client_id) for row in rows]


@dataclass(frozen=True)
class TokenState:
    """What the store says now about the realm, the client and the key behind a token."""

    enabled: bool
    not_before: int
    key_state: str | None


def token_state(connection: Connection, realm_id: int, client_id: str, kid: str) -> TokenState | None:
    """One statement, read afresh for each introspection (RFC 7662 section 4); None when realm or client ended."""
    row = connection.execute(
        select(realms.c.enabled, clients.c.enabled, realms.c.not_before, clients.c.not_before, keys.c.state)
        .join(clients, clients.c.realm_id == realms.c.id)
        .outerjoin(keys, and_(keys.c.realm_id == realms.c.id, keys.c.kid == kid))
        .where(
            realms.c.id == realm_id,
            realms.c.deleted_at.is_(None),
            clients.c.client_id == client_id,
            clients.c.deleted_at.is_(None),
        )
    ).one_or_none()
    if row is None:
        return None
    # The later of two cut-offs wins (#126).
    return TokenState(bool(row[0] and row[1]), max(row[2], row[3]), row[4])


def _secret(row: Any) -> Secret:
    return Secret(
        row.secret_id, Kind(row.kind), row.version, row.created_at, row.expires_at, row.last_used_at, row.digest
    )


def _realm(row: Any) -> Realm:
    return Realm(**_tuples(row._asdict()))


def _client(row: Any, secrets: Sequence[Secret], last_used_at: int | None = None) -> Client:
    values = _tuples({name: getattr(row, name) for name in _CLIENT_FIELDS})
    values["scopes"] = frozenset(values["scopes"])
    used = last_used_at or max((secret.last_used_at or 0 for secret in secrets), default=0) or None
    return Client(**values, secrets=tuple(secrets), last_used_at=used)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if name in _LISTS else value for name, value in values.items()}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON columns store them: sets sorted, tuples as lists."""
    plain = {name: sorted(value) if isinstance(value, set | frozenset) else value for name, value in values.items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}
