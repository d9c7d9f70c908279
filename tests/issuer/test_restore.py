"""An older backup came back: nothing is issued until somebody has seen to it, and no token of before lives (#188)."""

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from issuer.slots import LIST_SIZE, index_of
from issuer.storage.changes import Moment, now_at
from issuer.storage.restore import GENERATIONS_A_SECOND
from issuer.storage.tables import metadata, realms, status_numbering
from tests.issuer.conftest import READER, Lines
from tests.support.issuer import BASE_URL, Caller, Issuer, claims
from tests.support.wire import assert_inactive

KEEP = "db after-restore --keep-keys"
Backup = dict[str, list[dict[str, Any]]]


def back_up(issuer: Issuer) -> Backup:
    """Every row of every table."""
    with issuer.runtime.database.read() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in metadata.sorted_tables
        }


def put_back(issuer: Issuer, backup: Backup) -> None:
    """What is in the backup, and nothing else, is in the database."""
    with issuer.runtime.database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
        for table in metadata.sorted_tables:
            if backup[table.name]:
                connection.execute(table.insert(), backup[table.name])


def moment(issuer: Issuer) -> Moment:
    with issuer.runtime.database.read() as connection:
        return now_at(connection)


def floor(issuer: Issuer, path: str = "/") -> int:
    with issuer.runtime.database.read() as connection:
        return int(connection.scalar(select(realms.c.status_floor).where(realms.c.path == path)) or 0)


def statuses(issuer: Issuer, caller: Caller, token: str) -> dict[str, int]:
    return {
        "token": issuer.token_response(caller).status_code,
        "introspection": issuer.introspect(caller, token).status_code,
        "jwks": issuer.http.get(issuer.address("/connect/jwk_uri")).status_code,
        "metadata": issuer.http.get(issuer.address("/.well-known/oauth-authorization-server")).status_code,
        "lists": issuer.http.get(issuer.address("/status")).status_code,
        "list": issuer.http.get(claims(token)["status"]["status_list"]["uri"].removeprefix(BASE_URL)).status_code,
        "ready": issuer.http.get("/readyz").status_code,
        "health": issuer.http.get("/healthz").status_code,
    }


SERVING = dict.fromkeys(("token", "introspection", "jwks", "metadata", "lists", "list", "ready", "health"), 200)
PENDING = SERVING | dict.fromkeys(("token", "introspection", "lists", "list", "ready"), 503)


@pytest.fixture
def restored(stored_issuer: Issuer, second_node: Issuer) -> tuple[Caller, str, str]:
    """The second node has heard of changes that are lost; a client, a token from before the backup, and one after."""
    caller = stored_issuer.client(options=READER)
    old = stored_issuer.token(caller)
    backup = back_up(stored_issuer)
    stored_issuer.run("clients update svc --name later")
    stored_issuer.run("realms create /lost")
    lost = second_node.token(caller)
    put_back(stored_issuer, backup)
    return caller, old, lost


def test_188_the_first_process_that_does_not_find_what_it_holds_stops_every_other_and_each_that_starts_later(
    stored_issuer: Issuer, second_node: Issuer, restored: tuple[Caller, str, str], lines: Lines,
    make_issuer: Callable[..., Issuer], database_url: str,
) -> None:  # fmt: skip
    caller, old, _ = restored
    stored_issuer.clock.advance(2)
    assert statuses(second_node, caller, old) == PENDING
    said = [json.loads(line) for line in lines.json]
    told = [line for line in said if line["event"] == "store_went_back"]
    assert [line["say"] for line in told] == ["flask db after-restore"]
    assert told[0]["held"] > told[0]["found"]
    refused = second_node.token_response(caller)
    assert refused.json["error"] == "temporarily_unavailable"
    assert refused.headers["Retry-After"] == "1"
    assert "flask db after-restore" in lines.text[-1]
    checks = second_node.http.get("/readyz").json["checks"]
    assert [name for name, holds in checks.items() if not holds] == ["history"]
    # One that follows the history that is there now hears of it, and so does one that starts now, a forked one too.
    stored_issuer.clock.advance(2)
    assert statuses(stored_issuer, caller, old) == PENDING
    third = make_issuer("third", database_url)
    assert statuses(third, caller, old) == PENDING
    # Time does not heal it.
    stored_issuer.clock.advance(3600)
    assert statuses(second_node, caller, old)["token"] == 503
    assert third.run(KEEP)["was_pending"] is True
    stored_issuer.clock.advance(2)
    for node in (stored_issuer, second_node, third):
        assert statuses(node, caller, node.token(caller)) == SERVING


def test_188_after_it_no_token_of_before_lives_and_no_index_of_the_lost_history_is_drawn_again(
    stored_issuer: Issuer, second_node: Issuer, restored: tuple[Caller, str, str]
) -> None:
    caller, old, lost = restored
    before = floor(stored_issuer)
    stored_issuer.run(KEEP)
    stored_issuer.clock.advance(2)
    for node in (stored_issuer, second_node):
        for token in (old, lost):
            assert_inactive(node.introspect(caller, token))
        fresh = node.token(caller)
        assert node.introspect(caller, fresh).json["active"] is True
        assert index_of(claims(fresh)["jti"]) >= floor(stored_issuer)
    skipped = (floor(stored_issuer) - before) // LIST_SIZE
    assert 1024 < skipped <= 1024 * 1024 + 2


def test_188_the_number_of_a_change_never_goes_back_and_is_above_all_that_was_lost(
    stored_issuer: Issuer, second_node: Issuer, restored: tuple[Caller, str, str]
) -> None:
    now = stored_issuer.clock.now
    done = stored_issuer.run(KEEP)
    assert done["changed"] is True
    assert done["generation"] == moment(stored_issuer).generation > now * GENERATIONS_A_SECOND
    # A clock that fell back, or a second restore in the same second: what a process held counts.
    caller = restored[0]
    second_node.clock.advance(2)
    second_node.token(caller)
    backup = back_up(stored_issuer)
    stored_issuer.run("clients update svc --name again")
    held = moment(stored_issuer).generation
    second_node.clock.advance(2)
    second_node.token(caller)
    put_back(stored_issuer, backup)
    second_node.clock.advance(2)
    assert second_node.token_response(caller).status_code == 503
    stored_issuer.clock.step(-86400)
    assert stored_issuer.run(KEEP)["generation"] > held


def test_188_the_same_backup_restored_twice_is_noticed_twice_and_leaves_out_other_lists(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    caller = stored_issuer.client(options=READER)
    backup = back_up(stored_issuer)
    second_node.token(caller)
    stored_issuer.run("clients update svc --name later")
    floors, tokens = set(), []
    for _ in range(2):
        second_node.clock.advance(2)
        tokens.append(second_node.token(caller))
        put_back(stored_issuer, backup)
        second_node.clock.advance(2)
        assert second_node.token_response(caller).status_code == 503
        assert stored_issuer.run(KEEP)["was_pending"] is True
        floors.add(floor(stored_issuer))
    second_node.clock.advance(2)
    assert len(floors) == 2
    for token in tokens:
        assert_inactive(second_node.introspect(caller, token))
    assert second_node.token(caller)


def test_188_an_equal_number_under_another_mark_is_another_history_and_so_is_one_that_went_further(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    caller = stored_issuer.client(options=READER)
    for changes in (1, 3):
        backup = back_up(stored_issuer)
        stored_issuer.run("clients update svc --name later")
        second_node.clock.advance(2)
        second_node.token(caller)
        put_back(stored_issuer, backup)
        for _ in range(changes):
            stored_issuer.run(f"clients update svc --name {secrets.token_hex(4)}")
        second_node.clock.advance(2)
        assert second_node.token_response(caller).status_code == 503
        stored_issuer.run(KEEP)
        second_node.clock.advance(2)
        assert second_node.token_response(caller).status_code == 200


def test_188_a_process_that_slept_through_all_of_it_drops_everything_and_goes_on(
    stored_issuer: Issuer, second_node: Issuer, restored: tuple[Caller, str, str], lines: Lines
) -> None:
    caller, old, _ = restored
    stored_issuer.run("clients disable svc")
    assert stored_issuer.run(KEEP)["was_pending"] is False
    second_node.clock.advance(2)
    assert second_node.token_response(caller).status_code == 401
    assert second_node.http.get("/readyz").status_code == 200
    assert any("changes_missed" in line for line in lines.text)
    assert not any("store_went_back" in line for line in lines.text)
    assert old


def test_188_a_store_that_cannot_be_written_stops_the_one_that_noticed_all_the_same(
    make_issuer: Callable[..., Issuer], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    store = tmp_path / "data" / "store.db"
    node = make_issuer("node", f"sqlite:///{store}").setup()
    caller = node.client(options=READER)
    backup = back_up(node)
    node.run("clients update svc --name later")
    node.token(caller)
    put_back(node, backup)
    with node.runtime.database.write() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER unwritable BEFORE INSERT ON restore_pending BEGIN SELECT RAISE(ABORT, 'read only'); END"
        )
    for _ in range(3):
        node.clock.advance(2)
        assert node.token_response(caller).status_code == 503
    with node.runtime.database.write() as connection:
        connection.exec_driver_sql("DROP TRIGGER unwritable")
    node.clock.advance(2)
    assert node.token_response(caller).status_code == 503
    assert node.run(KEEP)["was_pending"] is True
    node.clock.advance(2)
    assert node.token_response(caller).status_code == 200


def test_after_restore_lists_every_key_and_revokes_those_that_are_named(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /eu --alg RS256")
    keys = {path: stored_issuer.run(f"keys list --realm {path}") for path in ("/", "/eu")}
    every = {key["kid"] for listed in keys.values() for key in listed}
    shown = stored_issuer.run(f"{KEEP} --dry-run")
    assert (shown["dry_run"], shown["changed"]) == (True, False)
    assert {key["kid"] for key in shown["keys"]} == every
    assert {key["realm"] for key in shown["keys"]} == {"/", "/eu"}
    active = {path: next(key["kid"] for key in listed if key["state"] == "active") for path, listed in keys.items()}
    named = " ".join(f"--revoke {kid[:12]}" for kid in active.values())
    done = stored_issuer.run(f"db after-restore {named} --reason 'they leaked'")
    assert set(done["revoked"]) == set(active.values())
    for path, kid in active.items():
        states = {key["kid"]: key["state"] for key in stored_issuer.run(f"keys list --realm {path}")}
        assert kid not in states
        assert sorted(states.values()) == ["active", "published"]
        rows = stored_issuer.run(f"db audit --realm {path}")
        assert [row["reason"] for row in rows if row["event"] in {"restored", "revoked"}] == ["they leaked"] * 2
    assert stored_issuer.run("keys doctor") == []


def test_after_restore_says_what_to_say_where_nobody_can_be_asked_and_changes_nothing_for_an_unknown_key(
    stored_issuer: Issuer,
) -> None:
    before = moment(stored_issuer)
    refused = stored_issuer.command("db after-restore")
    assert refused.exit_code == 2
    assert "--keep-keys" in refused.stderr
    assert stored_issuer.command("db after-restore --revoke nothing-of-it --json").exit_code == 4
    assert stored_issuer.command("db after-restore --keep-keys --revoke x").exit_code == 2
    assert stored_issuer.command(f"{KEEP} --dry-run").exit_code == 0
    assert moment(stored_issuer) == before


def test_after_restore_a_path_whose_realm_was_deleted_leaves_lists_out_too(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /x")
    stored_issuer.client(options=READER, realm="/x")
    stored_issuer.run("realms delete /x --yes")

    def lists() -> int:
        with stored_issuer.runtime.database.read() as connection:
            found = connection.scalar(select(status_numbering.c.lists).where(status_numbering.c.path == "/x"))
        return int(found or 0)

    before = lists()
    stored_issuer.run(KEEP)
    assert 1024 <= lists() - before <= 1024 * 1024
