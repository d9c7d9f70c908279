"""Statements over ranges of status slots: given to a credential, drained, ended, moved by a floor (design 3.1).

Every function here that writes is called within Database.change(); telling the change log is the caller's, but for
what says that it does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, ScalarSelect, and_, false, func, insert, not_, or_, select, update

from issuer import slots
from issuer.realms import Realm
from issuer.slots import FIRST_LENGTH, LIST_SIZE, NOTHING_ALLOTTED, Numbering, RangeState, SlotRange
from issuer.storage.rows import reading, values_of
from issuer.storage.tables import client_credentials, clients, realms, status_floors, status_numbering, status_ranges

OPEN = and_(status_ranges.c.drained_at.is_(None), status_ranges.c.ended_at.is_(None))
"""A range that new tokens draw from; a credential has at most one."""


@dataclass(frozen=True)
class StoredRange:
    """A range as it is stored. `ends`: when it drained, ended or its credential expires, as far as that is known."""

    offset: int
    length: int
    client_pk: int
    credential_id: str
    max_lifetime: int
    set_count: int
    drained_at: int | None
    ended_at: int | None
    expires_at: int | None

    @property
    def state(self) -> RangeState:
        """What it is for."""
        if self.ended_at is not None:
            return RangeState.ENDED
        return RangeState.OPEN if self.drained_at is None else RangeState.DRAINED

    @property
    def ends(self) -> tuple[int | None, ...]:
        """For slots.dead_from()."""
        return (self.drained_at, self.ended_at, self.expires_at)


@dataclass(frozen=True)
class Floor:
    """Lists first_list to end_list - 1 of a path lie below a floor since raised_at; all their bits are set."""

    first_list: int
    end_list: int
    raised_at: int
    max_lifetime: int


def floor_of_new_realm(connection: Connection, path: str, lifetime: int) -> int:
    """Where the indexes of a new realm at `path` begin: above every one that was ever given away there.

    lifetime: the longest that it allows a token. Raises OutOfIndexes.
    """
    floor, numbering = _numbering(connection, path).fresh()
    _renumber(connection, path, numbering, lifetime)
    return floor


def allot(
    connection: Connection, realm: Realm, client_pk: int, credential_id: str, length: int = FIRST_LENGTH
) -> SlotRange:
    """An open range for a credential that has none. Raises OutOfIndexes.

    Its tokens may live as long as was ever allowed at this path: a process that has not heard of a shorter life reads
    the new credential, and issues by the longer.
    """
    begin, numbering = _numbering(connection, realm.path, realm.status_floor).allot(length)
    longest = _renumber(connection, realm.path, numbering, realm.max_access_token_lifetime)
    owner = {"realm_id": realm.id, "client_pk": client_pk, "credential_id": credential_id}
    place = {"offset": begin - realm.status_floor, "length": length, "max_lifetime": longest, "set_count": 0}
    connection.execute(insert(status_ranges).values({**owner, **place}))
    return SlotRange(begin, length)


def allot_missing(connection: Connection, realm: Realm, client_pk: int) -> None:
    """An open range for each credential of a client that is not revoked and has none. Raises OutOfIndexes."""
    has = select(status_ranges.c.credential_id).where(status_ranges.c.client_pk == client_pk, OPEN)
    lacking = connection.scalars(
        select(client_credentials.c.credential_id)
        .where(
            client_credentials.c.client_pk == client_pk,
            client_credentials.c.revoked_at.is_(None),
            client_credentials.c.credential_id.not_in(has),
        )
        .order_by(client_credentials.c.created_at, client_credentials.c.credential_id)
    ).all()
    for credential_id in lacking:
        allot(connection, realm, client_pk, credential_id)


def grow(connection: Connection, realm: Realm, full: StoredRange, now: int) -> bool:
    """An open range that is full of set indexes drains, and its credential has a longer one; whether it has: at a path
    that is used up it goes on drawing from the full one."""
    length = slots.next_length(full.length)
    try:
        _numbering(connection, realm.path, realm.status_floor).allot(length)
    except slots.OutOfIndexes:
        return False
    drain(connection, full.client_pk, full.credential_id, now)
    allot(connection, realm, full.client_pk, full.credential_id, length)
    return True


def end_of_client(connection: Connection, client_pk: int, now: int) -> int:
    """Every range of a client ends, drained ones and those of expired credentials included; how many did."""
    return _end(connection, status_ranges.c.client_pk == client_pk, now)


def end_of_credential(connection: Connection, client_pk: int, credential_id: str, now: int) -> int:
    """Every range of one credential ends, drained ones included; how many did."""
    return _end(connection, _of_credential(client_pk, credential_id), now)


def drain(connection: Connection, client_pk: int, credential_id: str, now: int) -> None:
    """No new token draws from the range of a credential; those it has go on."""
    mine = _of_credential(client_pk, credential_id)
    connection.execute(update(status_ranges).where(mine, OPEN).values(drained_at=now))


def raise_floor(connection: Connection, realm: Realm, now: int, skip: int = 0) -> int:
    """Every token of a realm is dead from the commit on, whoever issued it; its ranges have fresh indexes.

    Three rows, however many clients. skip: lists to leave unused besides, for what a lost history may have given away.
    Returns the new floor; at a path that is used up it lies above every index, and some or all ranges have none.
    """
    numbering = _numbering(connection, realm.path, realm.status_floor)
    floor, moved = numbering.raised(realm.status_floor, skip)
    longest = _renumber(connection, realm.path, moved, realm.max_access_token_lifetime)
    below = {"first_list": slots.list_of(realm.status_floor), "end_list": slots.list_of(floor)}
    if below["first_list"] < below["end_list"]:
        connection.execute(insert(status_floors).values(path=realm.path, **below, raised_at=now, max_lifetime=longest))
    connection.execute(update(realms).where(realms.c.id == realm.id).values(status_floor=floor))
    return floor


def paths(connection: Connection) -> set[str]:
    """Every path at which indexes were given away."""
    return set(connection.scalars(select(status_numbering.c.path)))


def skip_lists(connection: Connection, path: str, skip: int) -> None:
    """A path at which no realm stands leaves out so many lists."""
    _renumber(connection, path, _numbering(connection, path).skipped(skip))


def raise_max_lifetime(connection: Connection, realm: Realm) -> None:
    """Before a realm may issue longer tokens, its ranges and floors learn of it (keys.md I10); never lowers.

    Those that no new token should draw from too: a process that has not heard of their end may have heard of this.
    """
    lifetime = realm.max_access_token_lifetime
    for table, mine in (
        (status_ranges, status_ranges.c.realm_id == realm.id),
        (status_floors, status_floors.c.path == realm.path),
    ):
        connection.execute(update(table).where(mine, table.c.max_lifetime < lifetime).values(max_lifetime=lifetime))
    _renumber(connection, realm.path, _numbering(connection, realm.path, realm.status_floor), lifetime)


def find(connection: Connection, realm: Realm, index: int) -> StoredRange | None:
    """The range of a realm, in whatever state, that an index lies in."""
    offset = index - realm.status_floor
    found = _stored(connection, status_ranges.c.offset == at_or_below(realm.id, offset), realm.id)
    return found[0] if found and offset < found[0].offset + found[0].length else None


def in_list(connection: Connection, realm: Realm, number: int) -> Sequence[StoredRange]:
    """The ranges of a realm, in whatever state, that lie in one list, by offset. None crosses a list's end."""
    first = slots.first_index(number) - realm.status_floor
    return _stored(connection, status_ranges.c.offset.between(first, first + LIST_SIZE - 1), realm.id)


def living_lists(connection: Connection, realm_id: int, floor: int, dead_by: int) -> Sequence[int]:
    """The lists of a realm with this floor, in order, with a range some token of which may still be accepted.

    dead_by: an instant so long ago that a range which drained, ended or expired a lifetime before it is dead
    (slots.after_last). What lies below the floor is told by floors().
    """
    ends = (status_ranges.c.drained_at, status_ranges.c.ended_at, client_credentials.c.expires_at)
    dead = [func.coalesce(end + status_ranges.c.max_lifetime <= dead_by, false()) for end in ends]
    number = (status_ranges.c.offset + floor) // LIST_SIZE
    rows = connection.scalars(
        select(number)
        .distinct()
        .outerjoin(client_credentials, client_credentials.c.credential_id == status_ranges.c.credential_id)
        .where(
            status_ranges.c.realm_id == realm_id, not_(or_(*dead)), status_ranges.c.offset <= slots.MAX_INDEX - floor
        )
        .order_by(number)
    )
    return [int(each) for each in rows]


def name_of_client(connection: Connection, client_pk: int) -> str:
    """The client_id of the client that a range belongs to, a deleted one too."""
    return str(connection.scalar(select(clients.c.client_id).where(clients.c.id == client_pk)))


def floors(connection: Connection, path: str) -> Sequence[Floor]:
    """What lies below the floor of a path, oldest first, as far as it was not pruned."""
    rows = connection.execute(
        select(status_floors).where(status_floors.c.path == path).order_by(status_floors.c.end_list)
    )
    with reading(f"what lies below the floor of {path}"):
        return [Floor(**values_of(status_floors, Floor.__dataclass_fields__, row)) for row in rows]


def is_used_up(connection: Connection, path: str) -> bool:
    """Whether nothing new can have indexes at a path."""
    return _numbering(connection, path).lists >= slots.END_LIST


def at_or_below(realm_id: object, offset: object) -> ScalarSelect[int]:
    """The offset of the range of a realm that begins at an offset or is the next below; numbers or columns."""
    inner = status_ranges.alias()
    return (
        select(inner.c.offset)
        .where(inner.c.realm_id == realm_id, inner.c.offset <= offset)
        .order_by(inner.c.offset.desc())
        .limit(1)
        .scalar_subquery()
    )


def _of_credential(client_pk: int, credential_id: str) -> ColumnElement[bool]:
    return and_(status_ranges.c.client_pk == client_pk, status_ranges.c.credential_id == credential_id)


def _end(connection: Connection, those: ColumnElement[bool], now: int) -> int:
    done = connection.execute(
        update(status_ranges).where(those, status_ranges.c.ended_at.is_(None)).values(ended_at=now)
    )
    return done.rowcount


def _stored(connection: Connection, those: ColumnElement[bool], realm_id: int) -> list[StoredRange]:
    rows = connection.execute(
        select(*(status_ranges.c[name] for name in _FIELDS), client_credentials.c.expires_at)
        .outerjoin(client_credentials, client_credentials.c.credential_id == status_ranges.c.credential_id)
        .where(status_ranges.c.realm_id == realm_id, those)
        .order_by(status_ranges.c.offset)
    )
    found = []
    with reading("a range of status slots"):
        for row in rows:
            values_of(status_ranges, _FIELDS, row)
            slots.placed(0, row.offset, row.length)
            found.append(StoredRange(**row._asdict()))
    return found


def _numbering(connection: Connection, path: str, floor: int | None = None) -> Numbering:
    """What of a path's indexes was given away; `floor`: of the realm there, if there is one. Raises RowSpoilt."""
    row = connection.execute(select(status_numbering).where(status_numbering.c.path == path)).one_or_none()
    if row is None and floor is None:
        return NOTHING_ALLOTTED
    with reading(f"what was given away at {path}"):
        if row is None:
            raise LookupError(path)
        values_of(status_numbering, ("small", "lists", "max_lifetime"), row)
        found = Numbering(row.small, row.lists)
        # By a lower one, tokens that are dead would come back.
        if not (floor or 0) <= found.small <= slots.first_index(found.lists) <= slots.first_index(slots.END_LIST):
            raise ValueError("no numbering")
        return found


def _renumber(connection: Connection, path: str, numbering: Numbering, lifetime: int = 0) -> int:
    """Writes it down; the longest lifetime that a token at this path may ever have had."""
    values = {"small": numbering.small, "lists": numbering.lists}
    longest = connection.scalar(select(status_numbering.c.max_lifetime).where(status_numbering.c.path == path))
    if longest is None:
        connection.execute(insert(status_numbering).values(path=path, max_lifetime=lifetime, **values))
        return lifetime
    longest = max(int(longest), lifetime)
    connection.execute(
        update(status_numbering).where(status_numbering.c.path == path).values(max_lifetime=longest, **values)
    )
    return longest


_FIELDS = ("offset", "length", "client_pk", "credential_id", "max_lifetime", "set_count", "drained_at", "ended_at")
