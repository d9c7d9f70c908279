"""What the store says of status lists: which there are, and what kills tokens in one of them (design 3.1)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, not_, or_, select

from issuer import slots
from issuer.slots import LIST_SIZE
from issuer.storage import ranges
from issuer.storage.tables import clients, realms, revoked_tokens, status_ranges
from keys.policy import RotationPolicy

NAMED = 1024
"""Lists below one floor that are named, the first ones: what was skipped for a lost history may be a million."""


@dataclass(frozen=True)
class LiveLists:
    """The lists of a realm, by number, that somebody may hold a live token of.

    below: of those below the floors that were raised; all their bits are set.
    """

    above: frozenset[int]
    below: Sequence[range]

    def __contains__(self, number: int) -> bool:
        return number in self.above or any(number in lists for lists in self.below)

    def named(self) -> list[int]:
        """Those that the aggregation names, in order."""
        return sorted({*self.above, *(number for lists in self.below for number in lists[:NAMED])})


@dataclass(frozen=True)
class ListState:
    """What kills tokens of one list. dead: offsets from the floor and lengths; revoked: indexes."""

    floor: int
    enabled: bool
    dead: Sequence[tuple[int, int]]
    revoked: Sequence[int]


def live(connection: Connection, realm_id: int, now: int, policy: RotationPolicy) -> LiveLists:
    """The lists of a realm, also of one that was deleted, that are not dead at `now`."""
    realm = _realm(connection, realm_id)
    if realm is None:
        return LiveLists(frozenset(), ())
    below = []
    for each in ranges.floors(connection, realm.path):
        dead_from = slots.dead_from((each.raised_at,), each.max_lifetime, policy)
        if dead_from is None or now < dead_from:
            below.append(range(each.first_list, each.end_list))
    if realm.deleted_at is not None:  # nobody drew above the floor that its end raised
        return LiveLists(frozenset(), below)
    above = ranges.living_lists(connection, realm_id, realm.status_floor, now - slots.after_last(policy))
    return LiveLists(frozenset(above), below)


def _realm(connection: Connection, realm_id: int) -> Row[Any] | None:
    return connection.execute(select(realms).where(realms.c.id == realm_id)).one_or_none()


def state(connection: Connection, realm_id: int, number: int) -> ListState:
    """What kills tokens of a list, by the one rule; everything does where the realm is disabled or was deleted."""
    realm = _realm(connection, realm_id)
    if realm is None or not realm.enabled or realm.deleted_at is not None:
        return ListState(0, False, (), ())
    floor, first = realm.status_floor, slots.first_index(number)
    offset = status_ranges.c.offset
    lives = and_(clients.c.enabled.is_(True), clients.c.deleted_at.is_(None))
    dead = connection.execute(
        select(offset, status_ranges.c.length)
        .outerjoin(clients, clients.c.id == status_ranges.c.client_pk)
        .where(
            status_ranges.c.realm_id == realm_id,
            offset.between(first - floor, first - floor + LIST_SIZE - 1),
            or_(status_ranges.c.ended_at.is_not(None), clients.c.id.is_(None), not_(lives)),
        )
    )
    index = revoked_tokens.c.index
    revoked = connection.scalars(
        select(index).where(revoked_tokens.c.realm_id == realm_id, index.between(first, first + LIST_SIZE - 1))
    )
    return ListState(floor, True, [(row.offset, row.length) for row in dead], revoked.all())


def of_clients(connection: Connection, named: Collection[tuple[int, str]]) -> set[tuple[int, int]]:
    """The realm and the number of each list in which a range of these clients lies; each by its realm and its name."""
    by_realm: dict[int, list[str]] = {}
    for realm_id, name in sorted(named):
        by_realm.setdefault(realm_id, []).append(name)
    rows = connection.execute(
        select(realms.c.id, realms.c.status_floor, (status_ranges.c.offset // LIST_SIZE).label("number"))
        .distinct()
        .select_from(status_ranges)
        .join(clients, clients.c.id == status_ranges.c.client_pk)
        .join(realms, realms.c.id == clients.c.realm_id)
        .where(or_(*(_named(realm_id, names) for realm_id, names in by_realm.items())))
    )
    # Whatever somebody wrote into a row: it keeps no process from hearing of the changes (#187).
    sound = (row for row in rows if isinstance(row.status_floor, int) and isinstance(row.number, int))
    return {(row.id, slots.list_of(row.status_floor) + row.number) for row in sound}


def _named(realm_id: int, names: list[str]) -> ColumnElement[bool]:
    """By an index: SQLite reads the whole table for pairs (realm_id, client_id) in a list of values."""
    return and_(clients.c.realm_id == realm_id, clients.c.client_id.in_(names))
