"""What the store says of a token that was presented."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, Connection, Integer, and_, bindparam, select

from issuer.storage.ranges import at_or_below
from issuer.storage.tables import clients, realms, revoked_tokens, status_ranges
from keys.tables import keys


@dataclass(frozen=True)
class TokenState:
    """What the store says now about the realm, the range, the client and the key behind a token.

    client_id: of the client of that range; None unless it is live and enabled.
    """

    realm_enabled: bool
    range_found: bool
    range_ended: bool
    revoked: bool
    client_id: str | None
    key_state: str | None


_REALM = bindparam("realm_id", type_=Integer)
_OFFSET = bindparam("index", type_=BigInteger) - realms.c.status_floor
_RANGE = and_(status_ranges.c.realm_id == _REALM, status_ranges.c.offset == at_or_below(_REALM, _OFFSET))
_OWNER = and_(clients.c.id == status_ranges.c.client_pk, clients.c.deleted_at.is_(None), clients.c.enabled.is_(True))
_REVOKED = and_(revoked_tokens.c.realm_id == _REALM, revoked_tokens.c.jti == bindparam("jti"))
_SIGNED_WITH = and_(keys.c.realm_id == _REALM, keys.c.kid == bindparam("kid"))
# Made once: to put it together takes ten times as long as to run it. Each table that has one row at most is asked by
# itself: a database that plans each statement anew, as PostgreSQL behind a pooler does, plans five joins for longer.
_STATE = (
    select(
        realms.c.enabled,
        and_(status_ranges.c.offset <= _OFFSET, status_ranges.c.offset + status_ranges.c.length > _OFFSET),
        status_ranges.c.ended_at,
        select(revoked_tokens.c.jti).where(_REVOKED).scalar_subquery(),
        select(clients.c.client_id).where(_OWNER).correlate(status_ranges).scalar_subquery(),
        select(keys.c.state).where(_SIGNED_WITH).scalar_subquery(),
    )
    .select_from(realms)
    .outerjoin(status_ranges, _RANGE)
    .where(realms.c.id == _REALM, realms.c.deleted_at.is_(None))
)


def state(connection: Connection, realm_id: int, jti: str, index: int, kid: str | None) -> TokenState | None:
    """One statement, read afresh for each introspection (RFC 7662 section 4); None when the realm ended.

    jti, index, kid: of the token, the last None where no key signed it; the client is the one whose range the index
    lies in, whatever the token says.
    """
    asked = {"realm_id": realm_id, "jti": jti, "index": index, "kid": kid}
    row = connection.execute(_STATE, asked).one_or_none()
    if row is None:
        return None
    return TokenState(row[0], bool(row[1]), row[2] is not None, row[3] is not None, row[4], row[5])
