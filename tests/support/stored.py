"""The whole state of keys in a database, read by another process than the one that changes it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update

from issuer.storage.engine import Database
from issuer.storage.tables import change_head, change_log, metadata, realms, scope_marks
from keys.jwks import snapshot_of
from keys.sealing import Sealer
from keys.store import audit, key_sets, keys, load
from realmint.protocol import system_clock

_TABLES = (realms, keys, key_sets, audit, change_head, change_log)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Stored:
    """Every row of every table that a change of keys touches."""

    tables: Mapping[str, Sequence[Row]]

    @property
    def keys(self) -> dict[str, Row]:
        return {row["kid"]: row for row in self.tables["keys"]}

    @property
    def generations(self) -> dict[int, int]:
        return {row["realm_id"]: row["generation"] for row in self.tables["key_sets"]}

    @property
    def changes(self) -> int:
        return int(self.tables["change_head"][0]["generation"])

    def in_state(self, state: str, realm_id: int = 1) -> list[str]:
        return [kid for kid, row in self.keys.items() if row["state"] == state and row["realm_id"] == realm_id]

    def active(self, realm_id: int = 1) -> str:
        (kid,) = self.in_state("active", realm_id)
        return kid

    def standby(self, realm_id: int = 1) -> str:
        (kid,) = self.in_state("published", realm_id)
        return kid


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """A database that another process works with, until the block ends."""
    database = Database(url, system_clock)
    try:
        yield database
    finally:
        database.engine.dispose()


def stored(database: Database) -> Stored:
    """The state as it is now."""
    with database.read() as connection:
        tables = {
            table.name: [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]
            for table in _TABLES
        }
    return Stored(tables)


def everything(database: Database) -> Mapping[str, Sequence[Row]]:
    """Every row of every table, but for what is noted of use, which is a hint to people."""
    with database.read() as connection:
        found = {
            table.name: [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]
            for table in metadata.sorted_tables
            if table is not scope_marks
        }
    for row in found["client_credentials"]:
        del row["last_used_at"]
    return found


def age(database: Database, state: str, seconds: int) -> None:
    """Everything that happened to the keys in `state` happened `seconds` earlier."""
    instants = [column for column in keys.c if column.name.endswith("_at") or column.name in _BOUNDS]
    with database.change() as connection:
        connection.execute(
            update(keys).where(keys.c.state == state).values({column: column - seconds for column in instants})
        )


_BOUNDS = ("not_signed_after", "max_exp_bound")


def check_sound(now: Stored, database: Database, sealer: Sealer) -> None:
    """In each realm one key signs, one stands ready, and the JWKS is what both are in."""
    with database.read() as connection:
        for realm_id in now.generations:
            assert now.active(realm_id) != now.standby(realm_id)
            held = load(connection, realm_id)
            rendered = snapshot_of(held.keys, held.generation, sealer)
            shown = [kid for state in ("active", "published", "retiring") for kid in now.in_state(state, realm_id)]
            assert sorted(rendered.published) == sorted(shown)
            assert rendered.signers["ES256"].kid == now.active(realm_id)


def check_one_change(before: Stored, after: Stored) -> None:
    """`after` is `before` and one whole change of one key set: audited, announced, and nothing else touched."""
    moved = {realm: number for realm, number in after.generations.items() if before.generations.get(realm) != number}
    ((realm_id, generation),) = moved.items()
    assert generation == before.generations.get(realm_id, 0) + 1
    added = [row for row in after.tables["audit"] if row not in before.tables["audit"]]
    assert len(added) == len(after.tables["audit"]) - len(before.tables["audit"])
    assert {row["realm_id"] for row in added} == {realm_id}
    transitions = [row for row in added if row["kid"] is not None]  # the others tell what was done to the realm
    assert {row["generation"] for row in transitions} == {generation}
    assert len({row["operation"] for row in added}) == 1
    told = {row["kid"]: row["to_state"] for row in transitions}
    for kid, row in after.keys.items():
        if kid in told:
            assert row["state"] == told[kid]
        else:
            assert row == before.keys[kid]
    assert after.changes == before.changes + 1
    assert after.tables["change_log"][-1]["realm_id"] == realm_id
