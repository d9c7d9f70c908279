"""Statements over opaque tokens: a row for each until it has expired (design decision 7), and how many a client has."""

from sqlalchemy import Connection, and_, delete, func, insert, select, tuple_

from issuer.opaque import OpaqueToken
from issuer.storage.tables import opaque_counts, opaque_tokens, realms, status_ranges
from issuer.storage.upsert import insert_into

COUNTED = 10
"""Seconds within whose end tokens are counted together; so much longer than it lives a token may count."""
_FIELDS = ("digest", "realm_id", "jti", "index", "range_begin", "client_pk")


def add(connection: Connection, token: OpaqueToken) -> None:
    """One more, which is counted first: of two transactions of one client the second waits, and then counts both.

    No process holds anything of it, so nobody is told.
    """
    key = (opaque_counts.c.client_pk, opaque_counts.c.range_begin, opaque_counts.c.until)
    until = token.expires_at + -token.expires_at % COUNTED
    one = insert_into(connection, opaque_counts).values(
        client_pk=token.client_pk, range_begin=token.range_begin, until=until, tokens=1
    )
    connection.execute(one.on_conflict_do_update(index_elements=list(key), set_={"tokens": opaque_counts.c.tokens + 1}))
    row = {name: getattr(token, name) for name in _FIELDS}
    connection.execute(insert(opaque_tokens).values(**row, exp=token.expires_at, claims=token.claims))


def live(connection: Connection, client_pk: int, now: int) -> tuple[int, int]:
    """How many a client has that have not expired, in ranges that have not ended; and when the first of them expires.

    One that was revoked alone counts until it expires, and each by COUNTED seconds longer at most.
    """
    begin = realms.c.status_floor + status_ranges.c.offset
    counted = opaque_counts.c
    row = connection.execute(
        select(func.sum(counted.tokens), func.min(counted.until))
        .join(status_ranges, and_(status_ranges.c.client_pk == counted.client_pk, status_ranges.c.ended_at.is_(None)))
        .join(realms, realms.c.id == status_ranges.c.realm_id)
        .where(counted.client_pk == client_pk, counted.until > now, counted.range_begin == begin)
    ).one()
    return int(row[0] or 0), row[1] or now


def find(connection: Connection, realm_id: int, digest: bytes) -> OpaqueToken | None:
    """The token of a realm that has this digest, expired or cut off though it may be."""
    mine = and_(opaque_tokens.c.digest == digest, opaque_tokens.c.realm_id == realm_id)
    row = connection.execute(select(opaque_tokens).where(mine)).mappings().one_or_none()
    if row is None:
        return None
    values = {name: row[name] for name in _FIELDS}
    # As text, whatever somebody else may have put there (#187): who reads it refuses what is none of ours.
    return OpaqueToken(**values, expires_at=row["exp"], claims=str(row["claims"]))


def count_expired(connection: Connection, now: int) -> int:
    """How many tokens have expired by `now` and are still there."""
    return connection.scalar(select(func.count()).select_from(opaque_tokens).where(opaque_tokens.c.exp <= now)) or 0


def prune_opaque(connection: Connection, now: int, limit: int) -> int:
    """Takes away at most `limit` tokens that have expired by `now`, the oldest first; how many there were.

    What was cut off stays until it expires too: it is dead already. Tells nobody, for nobody holds any. Counts of what
    has expired go as well, as many at most.
    """
    key = tuple_(*opaque_counts.primary_key)
    past = select(*opaque_counts.primary_key).where(opaque_counts.c.until <= now).order_by(opaque_counts.c.until)
    connection.execute(delete(opaque_counts).where(key.in_(past.limit(limit))))
    old = select(opaque_tokens.c.digest).where(opaque_tokens.c.exp <= now).order_by(opaque_tokens.c.exp).limit(limit)
    return connection.execute(delete(opaque_tokens).where(opaque_tokens.c.digest.in_(old))).rowcount
