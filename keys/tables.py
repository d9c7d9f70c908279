"""The tables of keys, of key sets and of the audit."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from keys.key import State

metadata = MetaData()

keys = Table(
    "keys",
    metadata,
    # Unique over all realms and for ever: rows of dead keys stay, so that no kid returns (keys.md I5).
    Column("kid", String(128), primary_key=True),
    # A key that came under a name of its own is still known by its material (#186).
    Column("thumbprint", String(43), nullable=False, unique=True),
    Column("realm_id", Integer, nullable=False),
    Column("alg", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("public_jwk", Text, nullable=False),
    # Where the private half is: "local" is the sealed column; a reference to an HSM or a KMS comes beside it.
    Column("backend", String(16), nullable=False),
    Column("sealed", LargeBinary),
    # That the public half is one of ours, under the same key-encryption key as the seal (#187).
    Column("proof", LargeBinary),
    Column("kek_id", String(16)),
    Column("held", Boolean, nullable=False),
    Column("max_lifetime", Integer, nullable=False),
    Column("reason", String(256)),
    *(
        Column(name, BigInteger, nullable=name != "created_at")
        for name in (
            "created_at",
            "published_at",
            "last_absent_at",
            "activated_at",
            "retiring_at",
            "not_signed_after",
            "max_exp_bound",
            "retired_at",
            "revoked_at",
        )
    ),
)

Index("keys_of_a_realm", keys.c.realm_id, keys.c.state)
for _state in (State.ACTIVE, State.PUBLISHED):
    # Whatever a process believes, a second active or second published key cannot be stored (keys.md I2).
    Index(
        f"one_{_state}_key",
        keys.c.realm_id,
        keys.c.alg,
        unique=True,
        sqlite_where=keys.c.state == str(_state),
        postgresql_where=keys.c.state == str(_state),
    )

key_sets = Table(
    "key_sets",
    metadata,
    Column("realm_id", Integer, primary_key=True, autoincrement=False),
    Column("generation", Integer, nullable=False),
    # The latest instant that the store's clock told here; time once told is never taken back.
    Column("watermark", BigInteger, nullable=False),
    Column("audit_seq", Integer, nullable=False),
    Column("audit_hash", String(64), nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("realm_id", Integer, primary_key=True, autoincrement=False),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False, index=True),
    Column("event", String(32), nullable=False),
    # A transition of a key has these,
    Column("kid", String(128)),
    Column("alg", String(16)),
    Column("from_state", String(16)),
    Column("to_state", String(16)),
    Column("generation", Integer),
    Column("forced", Boolean),
    Column("gates", Text),
    # and an administrative change has these.
    Column("target", String(512)),
    Column("details", Text),
    Column("actor", String(128), nullable=False),
    Column("operation", String(32), nullable=False),
    Column("reason", String(256)),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
