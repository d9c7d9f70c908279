"""Statements over revoked tokens: a row for each until it has been dead for an hour (design decision 7)."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from issuer import slots
from issuer.realms import Realm
from issuer.slots import LIST_SIZE, RangeState
from issuer.storage import ranges, realms
from issuer.storage.changes import record_change
from issuer.storage.ranges import StoredRange
from issuer.storage.tables import revoked_tokens, status_ranges

_INDEX = (revoked_tokens.c.realm_id, revoked_tokens.c.index, revoked_tokens.c.generation)


@dataclass(frozen=True)
class RevokedIndex:
    """One set bit: an index of a realm, since a generation of the change log."""

    realm_id: int
    index: int
    generation: int


def revoke(connection: Connection, realm: Realm, jti: str, now: int, exp: int | None = None) -> StoredRange | None:
    """One token is dead from the commit on, until it would have expired at `exp`; the range that it was drawn from.

    Called within Database.change(), with the realm as it stands there and everything verified. None, and nothing is
    written or recorded, where the token is dead anyway: its range or its floor ended it, it is revoked already, or
    nobody ever drew it. Without `exp`, as of a jti alone, the longest that such a token can last.
    Records the change for what polls; no process drops anything that it holds, unless the range is full now: then it
    drains, and its credential gets a longer one. Raises NotATokenId.
    """
    index = slots.index_of(jti)
    drawn_from = ranges.find(connection, realm, index)
    if drawn_from is None or drawn_from.state is RangeState.ENDED or is_revoked(connection, realm.id, jti):
        return None
    fresh = not is_set(connection, realm.id, index)
    generation = record_change(connection, realm.id)
    row = {"realm_id": realm.id, "jti": jti, "index": index, "generation": generation}
    row["exp"] = exp if exp is not None else now + drawn_from.max_lifetime
    connection.execute(insert(revoked_tokens).values(row))
    if fresh:
        _count(connection, realm, drawn_from, now)
    return drawn_from


def revoke_in(connection: Connection, realm_id: int, jti: str, now: int, exp: int) -> StoredRange | None:
    """As revoke(), in the realm of this id as it stands; None too when that realm ended, and its tokens with it, or for
    a `jti` that no version like this one ever issued."""
    realm = realms.with_id(connection, realm_id)
    try:
        return revoke(connection, realm, jti, now, exp) if realm is not None else None
    except slots.NotATokenId:
        return None


def is_revoked(connection: Connection, realm_id: int, jti: str) -> bool:
    """Whether exactly this token was revoked."""
    same = select(revoked_tokens.c.jti).where(revoked_tokens.c.realm_id == realm_id, revoked_tokens.c.jti == jti)
    return connection.scalar(same) is not None


def is_set(connection: Connection, realm_id: int, index: int) -> bool:
    """Whether a token of this index was revoked, and so its bit is set."""
    same = select(revoked_tokens.c.jti).where(revoked_tokens.c.realm_id == realm_id, revoked_tokens.c.index == index)
    return connection.scalar(same.limit(1)) is not None


def of_realm(connection: Connection, realm_id: int, most: int) -> Sequence[int]:
    """The indexes of a realm that are set, `most` at most, the latest first."""
    rows = select(revoked_tokens.c.index).where(revoked_tokens.c.realm_id == realm_id)
    return connection.scalars(rows.order_by(revoked_tokens.c.generation.desc()).limit(most)).all()


def in_list(connection: Connection, realm_id: int, number: int, after: int = -1) -> Sequence[RevokedIndex]:
    """The indexes of one list that were set later than the generation `after`."""
    first = slots.first_index(number)
    rows = connection.execute(
        select(*_INDEX).where(
            revoked_tokens.c.realm_id == realm_id,
            revoked_tokens.c.index.between(first, first + LIST_SIZE - 1),
            revoked_tokens.c.generation > after,
        )
    )
    return [RevokedIndex(*row) for row in rows]


def later_than(connection: Connection, generation: int) -> Sequence[RevokedIndex]:
    """What was revoked after this generation, in every realm."""
    rows = connection.execute(
        select(*_INDEX).where(revoked_tokens.c.generation > generation).order_by(revoked_tokens.c.generation)
    )
    return [RevokedIndex(*row) for row in rows]


def _count(connection: Connection, realm: Realm, drawn_from: StoredRange, now: int) -> None:
    """One more bit is set: a range that is full of them drains, and its credential gets a longer one."""
    same = (status_ranges.c.realm_id == realm.id, status_ranges.c.offset == drawn_from.offset)
    count = min(drawn_from.set_count + 1, drawn_from.length)
    connection.execute(update(status_ranges).where(*same).values(set_count=count))
    full = drawn_from.state is RangeState.OPEN and slots.is_full(count, drawn_from.length)
    if full and ranges.grow(connection, realm, drawn_from, now):
        record_change(connection, realm.id, ranges.name_of_client(connection, drawn_from.client_pk))
