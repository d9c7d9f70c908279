"""Statements over scope marks: when a client last asked for a scope value, for who looks for those nobody uses."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, Select, bindparam, delete, select

from issuer.storage.tables import clients, scope_marks
from issuer.storage.upsert import insert_into

Mark = tuple[int, str, int]
"""The id of a client, a scope value that it got, and the day, as the second that it began at."""

LONGEST = 255
"""Characters of a scope value that is marked; no index of PostgreSQL's holds every one that a request may name."""


def mark_requested(connection: Connection, marks: Iterable[Mark]) -> None:
    """Notes them; never moves one backwards, never bumps the change log."""
    insert = insert_into(connection, scope_marks)
    at = insert.excluded.last_requested_at
    upsert = insert.values({column.name: bindparam(column.name) for column in scope_marks.c}).on_conflict_do_update(
        index_elements=list(scope_marks.primary_key),
        set_={"last_requested_at": at},
        where=scope_marks.c.last_requested_at < at,
    )
    connection.execute(upsert, [dict(zip(scope_marks.c.keys(), mark, strict=True)) for mark in marks])


def of_realm(connection: Connection, realm_id: int) -> dict[int, set[str]]:
    """The scope values that each live client of a realm ever got, by the client's id."""
    rows = connection.execute(
        select(scope_marks.c.client_pk, scope_marks.c.scope)
        .join(clients, clients.c.id == scope_marks.c.client_pk)
        .where(clients.c.realm_id == realm_id, clients.c.deleted_at.is_(None))
    )
    found: dict[int, set[str]] = {}
    for client_pk, scope in rows:
        found.setdefault(client_pk, set()).add(scope)
    return found


def forget(connection: Connection, client_pks: Sequence[int] | Select[tuple[int]]) -> None:
    """Takes away the marks of clients that are deleted."""
    connection.execute(delete(scope_marks).where(scope_marks.c.client_pk.in_(client_pks)))
