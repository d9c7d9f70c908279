"""The audit of a realm on both engines: one chain for keys and for administrative changes, and what breaks it."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from keys import store
from keys.audit import Actor, Entry, broken_at
from keys.store import audit, key_sets
from tests.support.issuer import Issuer

ACTOR = Actor("test:somebody", "operation", "because")


def note(issuer: Issuer, event: str, target: str, realm_id: int = 1, **details: object) -> None:
    with issuer.runtime.database.change() as connection:
        store.note(connection, realm_id, event, target, ACTOR, now=issuer.clock.now, details=details)


def chain(issuer: Issuer, realm_id: int = 1) -> list[tuple[Entry, str]]:
    with issuer.runtime.database.read() as connection:
        return store.audit_of(connection, realm_id)


def broken(issuer: Issuer) -> dict[int, int]:
    with issuer.runtime.database.read() as connection:
        return store.broken_chains(connection)


@pytest.fixture
def noted(stored_issuer: Issuer) -> Issuer:
    """Rows 0 to 7 of the root realm: it is created, its two keys, two changes, and a rotation; another realm beside."""
    stored_issuer.run("realms create /other")
    note(stored_issuer, "client_created", "svc", scopes=["read"], name=None)
    note(stored_issuer, "client_disabled", "svc")
    stored_issuer.run("keys rotate")
    return stored_issuer


def test_transitions_of_keys_and_administrative_changes_stand_in_one_chain(noted: Issuer) -> None:
    entries = [entry for entry, _ in chain(noted)]
    assert [(entry.event, entry.of_key) for entry in entries] == [
        ("realm_created", False), ("generated", True), ("generated", True),
        ("client_created", False), ("client_disabled", False),
        ("demoted", True), ("promoted", True), ("generated", True),
    ]  # fmt: skip
    assert [entry.seq for entry in entries] == list(range(8))
    created = entries[3]
    assert (created.target, created.details) == ("svc", {"scopes": ["read"], "name": None})
    assert (created.actor, created.operation, created.reason) == ("test:somebody", "operation", "because")
    assert (created.kid, created.generation, created.gates) == (None, None, None)
    assert (entries[5].target, entries[5].details) == (None, None)
    assert broken(noted) == {}
    assert noted.run("keys doctor") == []


def test_keys_audit_shows_the_rows_of_keys_and_judges_the_whole_chain(noted: Issuer) -> None:
    rows = noted.run("keys audit")
    assert [row["seq"] for row in rows] == [1, 2, 5, 6, 7]
    assert not {"target", "details"} & rows[0].keys()
    with noted.runtime.database.write() as connection:
        connection.execute(update(audit).where(audit.c.realm_id == 1, audit.c.seq == 4).values(target="other"))
    result = noted.command("keys audit")
    assert (result.exit_code, "from row 4 on" in result.stderr) == (1, True)
    found = json.loads(noted.command("keys doctor --json").stdout)
    assert [finding["check"] for finding in found] == ["audit_broken"]


def test_details_are_read_as_they_were_hashed_and_what_json_cannot_hold_is_refused(stored_issuer: Issuer) -> None:
    note(stored_issuer, "realm_updated", "/", scopes=("a", "b"), lifetime=1.5, nested={"1": None, "é": True})
    note(stored_issuer, "realm_updated", "/", same={1: "a", "1": "b"})
    assert chain(stored_issuer)[-2][0].details == {
        "scopes": ["a", "b"],
        "lifetime": 1.5,
        "nested": {"1": None, "é": True},
    }
    with pytest.raises(TypeError):
        note(stored_issuer, "realm_updated", "/", secret=b"bytes")
    assert (len(chain(stored_issuer)), broken(stored_issuer)) == (5, {})


def changed(**values: object) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(
        update(audit).where(audit.c.realm_id == 1, audit.c.seq == 3).values(values)
    )


def removed(*seqs: int) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(delete(audit).where(audit.c.realm_id == 1, audit.c.seq.in_(seqs)))


def added(connection: Connection) -> None:
    row = connection.execute(select(audit).where(audit.c.realm_id == 1, audit.c.seq == 7)).mappings().one()
    connection.execute(insert(audit).values({**row, "seq": 8, "previous": row["hash"]}))


def added_as_we_would(connection: Connection) -> None:
    """With a hash that is right: only the head tells."""
    row = connection.execute(select(audit).where(audit.c.realm_id == 1, audit.c.seq == 7)).mappings().one()
    entry = Entry(
        realm_id=1, seq=8, at=row["at"], event="client_enabled", target="svc", details={}, actor="a", operation="o",
        reason=None, previous=row["hash"],
    )  # fmt: skip
    values = {"realm_id": 1, "seq": 8, "at": row["at"], "event": "client_enabled", "target": "svc", "details": "{}"}
    values |= {"actor": "a", "operation": "o", "previous": row["hash"], "hash": entry.hash}
    connection.execute(insert(audit).values(values))


def head_gone(connection: Connection) -> None:
    connection.execute(delete(key_sets).where(key_sets.c.realm_id == 1))


DAMAGES: dict[str, tuple[Callable[[Connection], object], int]] = {
    "a target is changed": (changed(target="another"), 3),
    "an event is changed": (changed(event="client_enabled"), 3),
    "an actor is changed": (changed(actor="cli:nobody"), 3),
    "a reason is taken away": (changed(reason=None), 3),
    "an instant is changed": (changed(at=1), 3),
    "details are changed": (changed(details='{"scopes": ["write"], "name": null}'), 3),
    "details are spoilt": (changed(details="["), 3),
    "details are taken away": (changed(details=None), 3),
    "a change is dressed up as a key's": (changed(kid="kid", alg="ES256", to_state="active", generation=1), 3),
    "a row in the middle is removed": (removed(3), 3),
    "the first row is removed": (removed(0), 0),
    "the newest rows are removed": (removed(6, 7), 6),
    "every row is removed": (removed(*range(8)), 0),
    "a row is added": (added, 8),
    "a row is added with the hash it should have": (added_as_we_would, 8),
    "the head is removed": (head_gone, 0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_row_that_was_changed_removed_or_added_is_found(noted: Issuer, damage: str) -> None:
    spoil, seq = DAMAGES[damage]
    with noted.runtime.database.write() as connection:
        spoil(connection)
    assert broken(noted) == {1: seq}


def test_what_is_done_about_a_realm_that_lost_its_key_set_is_still_told_of(noted: Issuer) -> None:
    with noted.runtime.database.write() as connection:
        head_gone(connection)
    note(noted, "realm_disabled", "/")
    assert [entry.event for entry, _ in chain(noted)][-1] == "realm_disabled"
    assert broken(noted) == {1: 0}


def test_a_realm_that_never_had_a_key_set_begins_its_audit_with_what_is_noted(stored_issuer: Issuer) -> None:
    note(stored_issuer, "realm_disabled", "/none", realm_id=77)
    ((entry, _),) = chain(stored_issuer, 77)
    assert (entry.seq, entry.target) == (0, "/none")


def test_rows_since_an_instant_come_from_every_realm_deleted_ones_too_oldest_first(noted: Issuer) -> None:
    noted.run("realms delete /other --yes")
    start = noted.clock.now
    for seconds, realm_id in ((1, 2), (1, 1), (1, 2)):
        noted.clock.advance(seconds)
        note(noted, "client_disabled", "svc", realm_id)
    with noted.runtime.database.read() as connection:
        told = [(entry.at - start, entry.realm_id) for entry, _ in store.audit_since(connection, start + 1)]
        every = store.audit_since(connection, 0)
    assert told == [(1, 2), (2, 1), (3, 2)]
    assert {entry.realm_id for entry, _ in every} == {1, 2}
    assert broken(noted) == {}


def test_no_row_holds_only_where_none_is_said_to_be() -> None:
    assert broken_at([], (-1, "0" * 64)) is None
    assert broken_at([], (0, "0" * 64)) == 0
