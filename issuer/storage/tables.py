"""The tables of realms, clients, their credentials, changes, status slots and opaque tokens.

Those of keys are in keys/tables.py, under the same metadata.
"""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text, and_

from issuer.clients import ClientSettings
from issuer.realms import RealmSettings
from issuer.storage.columns import columns_of
from keys.tables import metadata

__all__ = [
    "change_head", "change_log", "client_credentials", "clients", "metadata", "opaque_counts", "opaque_tokens",
    "realms", "restore_pending",
    "revoked_tokens", "scope_marks", "status_floors", "status_numbering", "status_ranges", "used_once",
]  # fmt: skip

realms = Table(
    "realms",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", String(512), nullable=False),
    Column("path_key", String(512), nullable=False),  # lower case: realms differing only by case are refused
    Column("enabled", Boolean, nullable=False),
    *columns_of(RealmSettings),
    Column("has_imported_secrets", Boolean, nullable=False),
    Column("status_floor", BigInteger, nullable=False),  # an index below it is dead, whoever drew it
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    sqlite_autoincrement=True,  # an id is never used again (#204)
)
Index(
    "one_realm_per_path",
    realms.c.path_key,
    unique=True,
    sqlite_where=realms.c.deleted_at.is_(None),
    postgresql_where=realms.c.deleted_at.is_(None),
)

clients = Table(
    "clients",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("realm_id", ForeignKey("realms.id"), nullable=False),
    Column("client_id", String(255), nullable=False),
    Column("enabled", Boolean, nullable=False),
    *columns_of(ClientSettings),
    Column("secret_salt", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    sqlite_autoincrement=True,
)
Index(
    "one_client_per_name",
    clients.c.realm_id,
    clients.c.client_id,
    unique=True,
    sqlite_where=clients.c.deleted_at.is_(None),
    postgresql_where=clients.c.deleted_at.is_(None),
)

Index("clients_by_name", clients.c.realm_id, clients.c.client_id)  # those that were deleted, too

client_credentials = Table(
    "client_credentials",
    metadata,
    # Secrets (issuer/secrets.py) and what is no secret (issuer/credentials). material: what is kept, of a secret its
    # digest.
    Column("credential_id", String(32), primary_key=True),
    Column("client_pk", ForeignKey("clients.id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("material", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("last_used_at", BigInteger),
)

used_once = Table(
    "used_once",
    metadata,
    # What may be used once, such as an assertion, by a digest over whose it is and what: until nobody would accept it.
    Column("digest", LargeBinary(32), primary_key=True),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

scope_marks = Table(
    "scope_marks",
    metadata,
    # When a client last got a token with a scope value, in days: seconds since the epoch at which that day began.
    Column("client_pk", Integer, primary_key=True, autoincrement=False),
    Column("scope", String(255), primary_key=True),
    Column("last_requested_at", BigInteger, nullable=False),
)

change_head = Table(
    "change_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("generation", BigInteger, nullable=False),
)
change_log = Table(
    "change_log",
    metadata,
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    # Two histories that reach the same generation, as after an older backup came back, differ in this (#188).
    Column("nonce", String(22), nullable=False),
    Column("realm_id", Integer),
    Column("client_id", String(255)),
)

restore_pending = Table(
    "restore_pending",
    metadata,
    # At most one row: a process that held the change `held` found another history, which had come to `found`.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("held", BigInteger, nullable=False),
    Column("found", BigInteger, nullable=False),
    Column("noticed_at", BigInteger, nullable=False),
)

status_ranges = Table(
    "status_ranges",
    metadata,
    Column("realm_id", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),  # from the floor of its realm
    Column("length", Integer, nullable=False),
    # The row outlives its client and its credential: tokens may.
    Column("client_pk", Integer, nullable=False),
    Column("credential_id", String(32), nullable=False),
    Column("max_lifetime", Integer, nullable=False),
    Column("set_count", Integer, nullable=False),
    Column("drained_at", BigInteger),
    Column("ended_at", BigInteger),
)
Index(
    "ended_ranges",
    status_ranges.c.ended_at,
    sqlite_where=status_ranges.c.ended_at.is_not(None),
    postgresql_where=status_ranges.c.ended_at.is_not(None),
)
Index("ranges_of_a_credential", status_ranges.c.client_pk, status_ranges.c.credential_id)
_open = and_(status_ranges.c.drained_at.is_(None), status_ranges.c.ended_at.is_(None))
Index(
    "one_open_range",
    status_ranges.c.client_pk,
    status_ranges.c.credential_id,
    unique=True,
    sqlite_where=_open,
    postgresql_where=_open,
)

revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("realm_id", Integer, primary_key=True, autoincrement=False),
    Column("jti", String(28), primary_key=True),
    Column("index", BigInteger, nullable=False),
    Column("exp", BigInteger, nullable=False, index=True),
    Column("generation", BigInteger, nullable=False, index=True),
)
Index("revoked_indexes_of_a_realm", revoked_tokens.c.realm_id, revoked_tokens.c.index)

opaque_tokens = Table(
    "opaque_tokens",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("realm_id", Integer, nullable=False),
    Column("jti", String(28), nullable=False),
    Column("index", BigInteger, nullable=False),
    Column("range_begin", BigInteger, nullable=False),
    Column("client_pk", Integer, nullable=False),
    Column("exp", BigInteger, nullable=False, index=True),
    Column("claims", Text, nullable=False),
)

opaque_counts = Table(
    "opaque_counts",
    metadata,
    # How many opaque tokens of a range expire in the seconds up to an instant: a client's are too many to be counted.
    Column("client_pk", Integer, primary_key=True, autoincrement=False),
    Column("range_begin", BigInteger, primary_key=True, autoincrement=False),
    Column("until", BigInteger, primary_key=True, autoincrement=False, index=True),
    Column("tokens", Integer, nullable=False),
)

status_numbering = Table(
    "status_numbering",
    metadata,
    # Of a path, over all realms that ever stood there: an index is never given away twice.
    Column("path", String(512), primary_key=True),
    Column("small", BigInteger, nullable=False),
    Column("lists", BigInteger, nullable=False),
    Column("max_lifetime", Integer, nullable=False),
)

status_floors = Table(
    "status_floors",
    metadata,
    # The lists first_list to end_list - 1 of a path came to lie below a floor at this instant.
    Column("path", String(512), primary_key=True),
    Column("end_list", BigInteger, primary_key=True, autoincrement=False),
    Column("first_list", BigInteger, nullable=False),
    Column("raised_at", BigInteger, nullable=False),
    Column("max_lifetime", Integer, nullable=False),
)
