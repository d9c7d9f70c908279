"""Tables of keys and key sets, and the only statements over them. Every function takes a connection."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    insert,
    select,
    update,
)

from keys.key import IN_JWKS, Key, Material, State, canonical
from keys.rotation import Rotation, RotationPolicy, exp_bound
from keys.sealing import Sealer

metadata = MetaData()

keys = Table(
    "keys",
    metadata,
    # Unique over all realms and for ever: rows of dead keys stay, so that no kid returns (keys.md I5).
    Column("kid", String(128), primary_key=True),
    Column("realm_id", Integer, nullable=False),
    Column("alg", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("public_jwk", Text, nullable=False),
    Column("sealed", LargeBinary),
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
    Column("watermark", BigInteger, nullable=False),
)


class LostRace(Exception):
    """Another process changed this key set first; nothing was changed here."""


def create_key_set(
    connection: Connection,
    realm_id: int,
    pairs: Sequence[tuple[Material, Material]],
    sealer: Sealer,
    *,
    max_lifetime: int,
    now: int,
) -> None:
    """The key set of a new realm: for each algorithm an active key and its standby, born together.

    No JWKS without them was ever served, so the first rotation needs no waiting.
    """
    connection.execute(insert(key_sets).values(realm_id=realm_id, generation=1, watermark=now))
    for active, standby in pairs:
        row = _published(active, realm_id, sealer, now, last_absent_at=None)
        row |= {"state": str(State.ACTIVE), "activated_at": now, "max_lifetime": max_lifetime}
        connection.execute(insert(keys).values(row))
        connection.execute(insert(keys).values(_published(standby, realm_id, sealer, now, last_absent_at=None)))


def publish(
    connection: Connection, realm_id: int, material: Material, sealer: Sealer, policy: RotationPolicy, now: int
) -> None:
    """Adds a standby to a key set that is already being served."""
    last_absent_at = now + policy.snapshot_refresh
    connection.execute(insert(keys).values(_published(material, realm_id, sealer, now, last_absent_at)))


def load(connection: Connection, realm_id: int) -> tuple[int, list[Key]]:
    """Generation and every key of a realm that is not retired or revoked, oldest first."""
    generation = connection.scalar(select(key_sets.c.generation).where(key_sets.c.realm_id == realm_id))
    rows = connection.execute(
        select(keys)
        .where(keys.c.realm_id == realm_id, keys.c.state.in_([str(State.PENDING), *map(str, IN_JWKS)]))
        .order_by(keys.c.created_at, keys.c.kid)
    )
    return generation or 0, [_key(row) for row in rows.mappings()]


def history(connection: Connection, realm_id: int) -> list[Key]:
    """Every key a realm ever had, oldest first."""
    rows = connection.execute(select(keys).where(keys.c.realm_id == realm_id).order_by(keys.c.created_at, keys.c.kid))
    return [_key(row) for row in rows.mappings()]


def any_key(connection: Connection) -> bool:
    """Whether any key was ever stored: then a key-encryption key must not be made anew."""
    return connection.scalar(select(keys.c.kid).limit(1)) is not None


def sealed_under(connection: Connection) -> set[str]:
    """Identifiers of the key-encryption keys that private halves in use are sealed under."""
    in_use = keys.c.state.in_([str(State.PENDING), *map(str, IN_JWKS)])
    rows = connection.scalars(select(keys.c.kek_id).where(in_use, keys.c.kek_id.is_not(None)).distinct())
    return {kek_id for kek_id in rows if kek_id}


def compare_and_set(connection: Connection, realm_id: int, generation: int, now: int) -> None:
    """Claims the key set at `generation` for this transaction. Raises LostRace when it has moved on."""
    done = connection.execute(
        update(key_sets)
        .where(key_sets.c.realm_id == realm_id, key_sets.c.generation == generation)
        .values(generation=generation + 1, watermark=now)
    )
    if done.rowcount != 1:
        raise LostRace


def apply(
    connection: Connection,
    rotation: Rotation,
    sealer: Sealer,
    policy: RotationPolicy,
    *,
    realm_id: int,
    max_lifetime: int,
    now: int,
) -> None:
    """Carries out a rotation in the caller's transaction, which has claimed the key set."""
    if rotation.demote is not None:
        _set(
            connection,
            rotation.demote.kid,
            {
                "state": str(State.RETIRING),
                "retiring_at": now,
                "max_exp_bound": exp_bound(rotation.demote, now, policy),
            },
        )
    _set(
        connection,
        rotation.promote.kid,
        {
            "state": str(State.ACTIVE),
            "activated_at": now,
            "max_lifetime": max_lifetime,
        },
    )
    publish(connection, realm_id, rotation.standby, sealer, policy, now)


def raise_max_lifetime(connection: Connection, realm_id: int, max_lifetime: int) -> None:
    """Before a realm may issue longer tokens, its active keys learn of it (keys.md I10); never lowers."""
    connection.execute(
        update(keys)
        .where(keys.c.realm_id == realm_id, keys.c.state == str(State.ACTIVE), keys.c.max_lifetime < max_lifetime)
        .values(max_lifetime=max_lifetime)
    )


def revoke_key_set(connection: Connection, realm_id: int, reason: str, now: int) -> None:
    """Ends every key of a realm that is deleted: private halves erased, kids blocked for ever."""
    connection.execute(
        update(keys)
        .where(keys.c.realm_id == realm_id, keys.c.revoked_at.is_(None))
        .values(state=str(State.REVOKED), revoked_at=now, reason=reason, sealed=None, kek_id=None)
    )


def _set(connection: Connection, kid: str, values: Mapping[str, Any]) -> None:
    if connection.execute(update(keys).where(keys.c.kid == kid).values(**values)).rowcount != 1:
        raise LostRace


def _published(
    material: Material, realm_id: int, sealer: Sealer, now: int, last_absent_at: int | None
) -> dict[str, Any]:
    return {
        "kid": material.kid,
        "realm_id": realm_id,
        "alg": material.alg,
        "state": str(State.PUBLISHED),
        "public_jwk": canonical(material.public_jwk),
        "sealed": sealer.seal(material.pkcs8, realm_id, material.kid, material.alg),
        "kek_id": sealer.kek_id,
        "held": False,
        "max_lifetime": 0,
        "created_at": now,
        "published_at": now,
        "last_absent_at": last_absent_at,
    }


def _key(row: RowMapping) -> Key:
    values = dict(row)
    values["state"] = State(values["state"])
    values["public_jwk"] = json.loads(values["public_jwk"])
    return Key(**values)
