"""What is dead for good and may go: found by looks that hold nobody up, and taken in short transactions (design 3.1).

Each kind of row says what of it is dead at an instant, and takes it: the change log is told where a status list changes
by that. take() is called within Database.change(), with what find() found: what was dead then is dead for good.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, and_, delete, false, func, or_, select

from issuer import slots
from issuer.storage.changes import CHANGES_KEPT, now_at, record_change, record_changes
from issuer.storage.ranges import at_or_below
from issuer.storage.tables import (
    change_log,
    client_credentials,
    clients,
    realms,
    revoked_tokens,
    status_floors,
    status_ranges,
)
from keys.policy import RotationPolicy

DEAD_FOR = 3600
"""Seconds that a revoked token has been dead when its row goes (design decision 7)."""
MANY_CLIENTS = 50
"""Where bits of more clients change at once, every process reads their realm anew."""

Rows = Sequence[Any]


@dataclass(frozen=True)
class Kind:
    """A kind of row. find: at most so many that are dead at an instant, or all; those of a realm name it first."""

    name: str
    find: Callable[[Connection, int, RotationPolicy, int | None], Rows]
    take: Callable[[Connection, Rows], None]
    of_realms: bool = True


def few(connection: Connection, now: int, policy: RotationPolicy, most: int) -> None:
    """Revoked tokens and ended ranges, `most` of each, by indexes alone: beside a change, which nobody waits for."""
    _take_tokens(connection, _tokens(connection, now, policy, most))
    # The oldest, in whatever state: behind those of a realm with long lifetimes others wait as long, and no more rows
    # are looked at than may be taken.
    columns = (status_ranges.c.realm_id, status_ranges.c.offset, status_ranges.c.ended_at, status_ranges.c.max_lifetime)
    ended = select(*columns).where(status_ranges.c.ended_at.is_not(None)).order_by(status_ranges.c.ended_at)
    dead_by = now - slots.after_last(policy)
    oldest = _all(connection, ended, most)
    _take_ranges(connection, [row for row in oldest if row.ended_at + row.max_lifetime <= dead_by])


def _tokens(connection: Connection, now: int, policy: RotationPolicy, most: int | None) -> Rows:
    """With what the client of the range is called, if there is one still."""
    # One that was revoked by its jti alone may expire later than was reckoned, by as much as two clocks differ.
    dead_for = max(DEAD_FOR, 2 * slots.after_expiry(policy))
    offset = revoked_tokens.c.index - realms.c.status_floor
    drawn_from = and_(
        status_ranges.c.realm_id == revoked_tokens.c.realm_id,
        status_ranges.c.offset == at_or_below(revoked_tokens.c.realm_id, offset),
        offset < status_ranges.c.offset + status_ranges.c.length,
    )
    named = (revoked_tokens.c.realm_id, revoked_tokens.c.jti, clients.c.client_id)
    return _all(
        connection,
        select(*named)
        .select_from(revoked_tokens)
        .outerjoin(realms, realms.c.id == revoked_tokens.c.realm_id)
        .outerjoin(status_ranges, drawn_from)
        .outerjoin(clients, clients.c.id == status_ranges.c.client_pk)
        .where(revoked_tokens.c.exp <= now - dead_for)
        .order_by(revoked_tokens.c.exp),
        most,
    )


def _take_tokens(connection: Connection, rows: Rows) -> None:
    _delete(connection, (revoked_tokens.c.realm_id, revoked_tokens.c.jti), rows)
    names: dict[int, set[str | None]] = {}
    for row in rows:
        names.setdefault(row.realm_id, set()).add(row.client_id)
    for realm_id, named in names.items():
        known = {name for name in named if name is not None}
        whole = known != named or len(known) > MANY_CLIENTS
        record_changes(connection, [(realm_id, name) for name in sorted(known)] if not whole else [(realm_id, None)])


def _ranges(connection: Connection, now: int, policy: RotationPolicy, most: int | None) -> Rows:
    ends = (status_ranges.c.drained_at, status_ranges.c.ended_at, client_credentials.c.expires_at, realms.c.deleted_at)
    return _all(
        connection,
        select(status_ranges.c.realm_id, status_ranges.c.offset)
        .outerjoin(client_credentials, client_credentials.c.credential_id == status_ranges.c.credential_id)
        .outerjoin(realms, realms.c.id == status_ranges.c.realm_id)
        .where(_dead(ends, now, policy)),
        most,
    )


def _dead(ends: Sequence[ColumnElement[int]], now: int, policy: RotationPolicy) -> ColumnElement[bool]:
    """slots.dead_from(), as a condition."""
    dead_by = now - slots.after_last(policy)
    return or_(*(func.coalesce(end + status_ranges.c.max_lifetime <= dead_by, false()) for end in ends))


def _take_ranges(connection: Connection, rows: Rows) -> None:
    """Their bits are clear then, and lists without any other are gone: who holds one of the realm reads it anew."""
    _delete(connection, (status_ranges.c.realm_id, status_ranges.c.offset), rows)
    for realm_id in sorted({row.realm_id for row in rows}):
        record_change(connection, realm_id)


def _clients(connection: Connection, _now: int, _policy: RotationPolicy, most: int | None) -> Rows:
    """Deleted ones that no range names any more."""
    named = select(status_ranges.c.client_pk).where(status_ranges.c.client_pk == clients.c.id).exists()
    columns = (clients.c.realm_id, clients.c.id)
    return _all(connection, select(*columns).where(clients.c.deleted_at.is_not(None), ~named), most)


def _take_clients(connection: Connection, rows: Rows) -> None:
    ids = [row.id for row in rows]
    connection.execute(delete(client_credentials).where(client_credentials.c.client_pk.in_(ids)))
    connection.execute(delete(clients).where(clients.c.id.in_(ids)))


def _floors(connection: Connection, now: int, policy: RotationPolicy, most: int | None) -> Rows:
    dead = status_floors.c.raised_at + status_floors.c.max_lifetime <= now - slots.after_last(policy)
    return _all(connection, select(status_floors.c.path, status_floors.c.end_list).where(dead), most)


def _take_floors(connection: Connection, rows: Rows) -> None:
    """Their lists are gone already, of age alone."""
    _delete(connection, (status_floors.c.path, status_floors.c.end_list), rows)


def _changes(connection: Connection, _now: int, _policy: RotationPolicy, most: int | None) -> Rows:
    old = change_log.c.generation <= now_at(connection).generation - CHANGES_KEPT
    return _all(connection, select(change_log.c.generation).where(old), most)


def _take_changes(connection: Connection, rows: Rows) -> None:
    generations = [row.generation for row in rows]
    connection.execute(delete(change_log).where(change_log.c.generation.in_(generations)))


def _all(connection: Connection, wanted: Select[Any], most: int | None) -> Rows:
    """Without those that somebody wrote into: they keep no other from going, and no change from being made (#187)."""
    kinds = [(column.type.python_type, NoneType) for column in wanted.selected_columns]
    rows = connection.execute(wanted.limit(most) if most is not None else wanted)
    return [row for row in rows if all(map(isinstance, row, kinds))]


def _delete(connection: Connection, key: tuple[Column[Any], Column[Any]], rows: Rows) -> None:
    """By their primary key: SQLite reads the whole table for pairs in a list of values."""
    grouped: dict[Any, list[Any]] = {}
    for row in rows:
        grouped.setdefault(row[0], []).append(row[1])
    for first, seconds in grouped.items():
        connection.execute(delete(key[0].table).where(key[0] == first, key[1].in_(seconds)))


KINDS = (
    Kind("revoked_tokens", _tokens, _take_tokens),
    Kind("ranges", _ranges, _take_ranges),
    Kind("clients", _clients, _take_clients),
    Kind("floors", _floors, _take_floors, of_realms=False),
    Kind("changes", _changes, _take_changes, of_realms=False),
)
"""In this order: a client can go once its ranges have."""
