"""The only statements over keys and key sets; those over the audit are in keys/audit_log.py. Each takes a connection.

A plan is carried out in one transaction that first claims the key set at the generation it was decided for.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Connection, RowMapping, and_, func, insert, select, update

from keys import rotation
from keys.audit import BEFORE_FIRST, Actor
from keys.audit_log import audit_of, audit_since, broken_chains, note, record
from keys.jwks import vouched
from keys.key import IN_JWKS, LOCAL, Key, Material, State, canonical
from keys.plan import Plan, Step
from keys.policy import Reading
from keys.sealing import Sealer, SealingError
from keys.tables import audit, key_sets, keys, metadata

__all__ = [
    "KeySet", "LostRace", "audit", "audit_of", "audit_since", "broken_chains", "key_sets", "keys", "metadata", "note",
    "record",
]  # fmt: skip

LIVE = (State.PENDING, *IN_JWKS)
"""States of keys that still have a private half, or may yet verify."""


class LostRace(Exception):
    """Another process changed this key set first; nothing was changed here."""


@dataclass(frozen=True)
class KeySet:
    """A key set as it stands. `keys`: those that are not retired or revoked, oldest first."""

    generation: int = 0
    watermark: int = 0
    audit_head: tuple[int, str] = BEFORE_FIRST
    keys: Sequence[Key] = field(default=())


def create_key_set(
    connection: Connection,
    realm_id: int,
    pairs: Sequence[tuple[Material, Material]],
    sealer: Sealer,
    actor: Actor,
    *,
    path: str,
    max_lifetime: int,
    now: int,
    details: Mapping[str, object],
) -> None:
    """The key set of a new realm: for each algorithm an active key and its standby, born together.

    The audit begins here: row 0 tells that the realm at `path` was created, with `details` as note() takes them.
    """
    seq, previous = BEFORE_FIRST
    connection.execute(
        insert(key_sets).values(realm_id=realm_id, generation=0, watermark=now, audit_seq=seq, audit_hash=previous)
    )
    note(connection, realm_id, "realm_created", path, actor, now=now, details=details)
    plan = rotation.initial(pairs, now, max_lifetime)
    apply(connection, realm_id, plan, sealer, actor, at=0, reading=Reading(now, now))


def load(connection: Connection, realm_id: int) -> KeySet:
    """The key set of a realm; an empty one when there is none."""
    row = connection.execute(select(key_sets).where(key_sets.c.realm_id == realm_id)).one_or_none()
    found = connection.execute(
        select(keys)
        .where(keys.c.realm_id == realm_id, keys.c.state.in_([str(state) for state in LIVE]))
        .order_by(keys.c.created_at, keys.c.kid)
    )
    live = tuple(_key(each) for each in found.mappings())
    if row is None:
        return KeySet(keys=live)
    generation, watermark, seq, previous = (_as_declared(key_sets.c[name], getattr(row, name)) for name in _HEAD)
    return KeySet(generation, watermark, (seq, previous), live)


def history(connection: Connection, realm_id: int) -> list[Key]:
    """Every key a realm ever had, oldest first."""
    rows = connection.execute(select(keys).where(keys.c.realm_id == realm_id).order_by(keys.c.created_at, keys.c.kid))
    # A row in a state that only a later version knows is not ours to judge.
    return [_key(row) for row in rows.mappings() if row["state"] in {str(state) for state in State}]


def find_material(connection: Connection, material: Material) -> Key | None:
    """The key of this name or of this material, in whatever realm and state."""
    same = (keys.c.kid == material.kid) | (keys.c.thumbprint == material.thumbprint)
    row = connection.execute(select(keys).where(same).limit(1)).mappings().one_or_none()
    return _key(row) if row is not None else None


def any_key(connection: Connection) -> bool:
    """Whether any key was ever stored: then a key-encryption key must not be made anew."""
    return connection.scalar(select(keys.c.kid).limit(1)) is not None


def sealed_under(connection: Connection) -> set[str]:
    """Identifiers of the key-encryption keys that private halves in use are sealed under."""
    in_use = and_(keys.c.state.in_([str(state) for state in LIVE]), keys.c.kek_id.is_not(None))
    rows = connection.scalars(select(keys.c.kek_id).where(in_use).distinct())
    return {str(kek_id) for kek_id in rows if kek_id}


def apply(
    connection: Connection,
    realm_id: int,
    plan: Plan,
    sealer: Sealer,
    actor: Actor,
    *,
    at: int,
    reading: Reading,
) -> int:
    """Carries out a plan that was decided at generation `at`; the new generation.

    The watermark follows the clock, but not a leap ahead. Raises LostRace, with nothing changed, when the key set has
    moved on.
    """
    watermark = {} if reading.ahead else {"watermark": reading.now}
    claimed = connection.execute(
        update(key_sets)
        .where(key_sets.c.realm_id == realm_id, key_sets.c.generation == at)
        .values(generation=at + 1, **watermark)
    )
    if claimed.rowcount != 1:
        raise LostRace
    for step in plan.steps:
        _carry_out(connection, realm_id, step, sealer)
    record(connection, realm_id, plan, actor, generation=at + 1, now=reading.now)
    return at + 1


def observe(connection: Connection, now: int, leap: int) -> None:
    """The clock told `now`: every key set's watermark follows, but for those it would leap over by more than `leap`."""
    told = and_(key_sets.c.watermark < now, key_sets.c.watermark >= now - leap)
    connection.execute(update(key_sets).where(told).values(watermark=now))


def newest_watermark(connection: Connection, realm_id: int | None = None) -> int:
    """The latest instant that the clock told to any key set, or to that of one realm; 0 where there is none."""
    newest = select(func.max(key_sets.c.watermark))
    return connection.scalar(newest.where(key_sets.c.realm_id == realm_id) if realm_id is not None else newest) or 0


def believe(connection: Connection, realm_id: int, now: int) -> None:
    """Somebody who knows said that the clock is right: the watermark is what it tells, forwards or back."""
    connection.execute(update(key_sets).where(key_sets.c.realm_id == realm_id).values(watermark=now))


def raise_max_lifetime(connection: Connection, realm_id: int, max_lifetime: int) -> None:
    """Before a realm may issue longer tokens, its active keys learn of it (keys.md I10); never lowers."""
    connection.execute(
        update(keys)
        .where(keys.c.realm_id == realm_id, keys.c.state == str(State.ACTIVE), keys.c.max_lifetime < max_lifetime)
        .values(max_lifetime=max_lifetime)
    )


def sealed_otherwise(connection: Connection, kek_id: str, limit: int) -> list[Key]:
    """Keys whose private halves are sealed under another key-encryption key than this, `limit` at most."""
    other = and_(keys.c.sealed.is_not(None), keys.c.kek_id != kek_id)
    rows = connection.execute(select(keys).where(other).order_by(keys.c.realm_id, keys.c.kid).limit(limit))
    return [_key(row) for row in rows.mappings()]


def count_sealed_otherwise(connection: Connection, kek_id: str) -> int:
    """How many those are."""
    other = and_(keys.c.sealed.is_not(None), keys.c.kek_id != kek_id)
    return connection.scalar(select(func.count()).select_from(keys).where(other)) or 0


def reseal(connection: Connection, key: Key, sealer: Sealer) -> bool:
    """Seals a private half, and vouches for the public one, under the newest key-encryption key, unless somebody has
    replaced or erased them meanwhile; whether it did.

    Raises SealingError for a half that does not open, and for a public one that nobody vouched for: it is none of ours.
    """
    if key.sealed is None or not vouched(key, sealer):
        raise SealingError(f"key {key.kid} is not authenticated under key-encryption key {key.kek_id}")
    plain = sealer.open(key.sealed, key.kek_id, key.realm_id, key.kid, key.alg)
    same = and_(keys.c.kid == key.kid, keys.c.kek_id == key.kek_id, keys.c.sealed == key.sealed)
    values = _under(sealer, plain, key.public_text, key.realm_id, key.kid, key.alg)
    return connection.execute(update(keys).where(same).values(values)).rowcount == 1


def _carry_out(connection: Connection, realm_id: int, step: Step, sealer: Sealer) -> None:
    if step.material is not None:
        connection.execute(insert(keys).values({**_newborn(step.material, realm_id, sealer), **step.values}))
        return
    # The state it had when the plan was made, too: a plan never acts on a key it has not seen.
    seen = and_(keys.c.kid == step.kid, keys.c.realm_id == realm_id, keys.c.state == str(step.before))
    if connection.execute(update(keys).where(seen).values(**step.values)).rowcount != 1:
        raise LostRace


def _newborn(material: Material, realm_id: int, sealer: Sealer) -> dict[str, Any]:
    return {
        "kid": material.kid,
        "thumbprint": material.thumbprint,
        "realm_id": realm_id,
        "alg": material.alg,
        "public_jwk": canonical(material.public_jwk),
        "backend": LOCAL,
        **_under(sealer, material.pkcs8, canonical(material.public_jwk), realm_id, material.kid, material.alg),
    }


def _under(sealer: Sealer, plain: bytes, public: str, realm_id: int, kid: str, alg: str) -> dict[str, Any]:
    """What is stored of a key under the newest key-encryption key."""
    sealed, proof = sealer.seal(plain, realm_id, kid, alg), sealer.vouch(public, realm_id, kid, alg)
    return {"sealed": sealed, "proof": proof, "kek_id": sealer.kek_id}


def _key(row: RowMapping) -> Key:
    values = {name: _as_declared(keys.c[name], value) for name, value in row.items()}
    values["state"] = State(values["state"])
    values["public_jwk"] = _object(values["public_jwk"])
    return Key(**values)


_HEAD = ("generation", "watermark", "audit_seq", "audit_hash")


def _as_declared(column: Column[Any], value: Any) -> Any:
    """What a column holds; nothing where SQLite let somebody put another type of value there, so that the row itself
    is refused (#187) and not the whole realm with it.
    """
    wanted = column.type.python_type
    if isinstance(value, wanted) or (value is None and column.nullable):
        return value
    return None if column.nullable else wanted()


def _object(text: str) -> dict[str, Any]:
    """A stored JSON object; an empty one where somebody has spoiled it, which doctor finds."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}
