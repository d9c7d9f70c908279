"""Statements over the audit. Rows are only ever added, in the transaction of what they tell of."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, func, insert, select, update

from keys.audit import BEFORE_FIRST, Actor, Entry, broken_at
from keys.plan import Plan
from keys.tables import audit, key_sets

_MEMBERS = tuple(Entry.__dataclass_fields__)
_OBJECTS = ("gates", "details")


def record(connection: Connection, realm_id: int, plan: Plan, actor: Actor, *, generation: int, now: int) -> None:
    """Adds a row for each step of a plan, within the transaction that carries it out."""
    transitions = [
        {
            "event": step.event, "kid": step.kid, "alg": step.alg, "forced": plan.forced, "gates": dict(plan.gates),
            "from_state": str(step.before) if step.before else None, "to_state": str(step.after),
            "generation": generation,
        }
        for step in plan.steps
    ]  # fmt: skip
    _append(connection, realm_id, transitions, actor, now)


def note(
    connection: Connection,
    realm_id: int,
    event: str,
    target: str,
    actor: Actor,
    *,
    now: int,
    details: Mapping[str, object],
) -> None:
    """Adds one row for an administrative change, within the transaction that makes it.

    event: such as client_disabled, 32 characters at most. target: a client_id or the realm's path. details: what JSON
    can hold, never secret. Raises TypeError for what it cannot.
    """
    told = json.loads(json.dumps(dict(details)))  # as it will be read again, which is what the hash is over
    _append(connection, realm_id, [{"event": event, "target": target, "details": told}], actor, now)


def audit_of(connection: Connection, realm_id: int) -> list[tuple[Entry, str]]:
    """The audit of a realm, oldest first, each row with the hash that is stored for it."""
    return _entries(connection, audit.c.realm_id == realm_id)


def audit_since(connection: Connection, since: int) -> list[tuple[Entry, str]]:
    """Every row from the instant `since` on, of every realm that ever was, oldest first, with the stored hashes."""
    return _entries(connection, audit.c.at >= since, first=(audit.c.at,))


def broken_chains(connection: Connection) -> dict[int, int]:
    """The ids of the realms whose audit does not hold, deleted ones too, each with the seq from which on."""
    heads = {
        row.realm_id: (row.audit_seq, row.audit_hash)
        for row in connection.execute(select(key_sets.c.realm_id, key_sets.c.audit_seq, key_sets.c.audit_hash))
    }
    chains = {realm_id: list[tuple[Entry, str]]() for realm_id in heads}
    for realm_id, rows in groupby(_entries(connection), key=lambda row: row[0].realm_id):
        chains[realm_id] = list(rows)
    judged = {realm_id: broken_at(chain, heads.get(realm_id, BEFORE_FIRST)) for realm_id, chain in chains.items()}
    return {realm_id: seq for realm_id, seq in judged.items() if seq is not None}


def _append(connection: Connection, realm_id: int, rows: Iterable[Mapping[str, Any]], actor: Actor, now: int) -> None:
    seq, previous = _head(connection, realm_id)
    for values in rows:
        seq += 1
        entry = Entry(
            realm_id=realm_id, seq=seq, at=now, actor=actor.name, operation=actor.operation, reason=actor.reason,
            previous=previous, **values,
        )  # fmt: skip
        previous = entry.hash
        row = {name: getattr(entry, name) for name in _MEMBERS} | {"hash": previous}
        row |= {name: json.dumps(row[name], sort_keys=True) for name in _OBJECTS if row[name] is not None}
        connection.execute(insert(audit).values(row))
    of_realm = key_sets.c.realm_id == realm_id
    connection.execute(update(key_sets).where(of_realm).values(audit_seq=seq, audit_hash=previous))


def _head(connection: Connection, realm_id: int) -> tuple[int, str]:
    head = connection.execute(
        select(key_sets.c.audit_seq, key_sets.c.audit_hash).where(key_sets.c.realm_id == realm_id)
    ).one_or_none()
    last = connection.scalar(select(func.max(audit.c.seq)).where(audit.c.realm_id == realm_id))
    if head is None or head[0] != last:
        # Somebody took the key set away or spoilt it, which doctor finds. What is done about it is still told of, and
        # nobody keeps a client from being disabled by it.
        newest = select(audit.c.seq, audit.c.hash).where(audit.c.realm_id == realm_id).order_by(audit.c.seq.desc())
        head = connection.execute(newest.limit(1)).one_or_none()
    return (int(head[0]), str(head[1])) if head is not None else BEFORE_FIRST


def _entries(
    connection: Connection, *where: ColumnElement[bool], first: Sequence[ColumnElement[int]] = ()
) -> list[tuple[Entry, str]]:
    rows: Iterable[RowMapping] = connection.execute(
        select(audit).where(*where).order_by(*first, audit.c.realm_id, audit.c.seq)
    ).mappings()
    return [(_entry(row), row["hash"]) for row in rows]


def _entry(row: RowMapping) -> Entry:
    values = {name: row[name] for name in _MEMBERS}
    return Entry(**values | {name: _object(values[name]) for name in _OBJECTS if values[name] is not None})


def _object(text: Any) -> dict[str, Any]:
    """A stored JSON object; another one, so that the chain breaks there, where somebody has spoiled it."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"unreadable": 1}
