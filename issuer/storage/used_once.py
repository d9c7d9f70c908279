"""What may be used once: marks of it, each taken by one atomic insert (RFC 7523 section 3, jti; RFC 9449 section 11.1).

No process remembers any of it: whoever inserts the row first has used it, on whatever node.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select

from issuer.storage.tables import used_once
from issuer.storage.upsert import insert_into


class Mark(NamedTuple):
    """digest: over whose it is and what, 32 bytes. until: the first second at which nobody would accept it any more."""

    digest: bytes
    until: int


def take(connection: Connection, marks: Sequence[Mark]) -> set[bytes]:
    """The digests that nobody had taken before; of several alike here, one is. In one statement."""
    # Of several alike the last counts, which lives longest: whichever of them is let in is not let in again. And in one
    # order, so that two who take the same never wait for each other.
    longest = {mark.digest: mark.until for mark in sorted(marks)}
    values = [{"digest": digest, "expires_at": until} for digest, until in longest.items()]
    inserted = insert_into(connection, used_once).on_conflict_do_nothing().returning(used_once.c.digest)
    return {bytes(digest) for digest in connection.scalars(inserted, values)}


def prune(connection: Connection, before: int, most: int) -> int:
    """Takes away at most so many that ended before an instant, the oldest first; how many went.

    Those that another transaction is taking are left to it.
    """
    old = (
        select(used_once.c.digest)
        .where(used_once.c.expires_at < before)
        .order_by(used_once.c.expires_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(used_once).where(used_once.c.digest.in_(old.scalar_subquery()))).rowcount


def count_over(connection: Connection, before: int) -> int:
    """How many ended before an instant."""
    over = select(func.count()).select_from(used_once).where(used_once.c.expires_at < before)
    return int(connection.scalar(over) or 0)
