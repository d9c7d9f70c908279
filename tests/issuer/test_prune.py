"""flask db prune: what is dead for good goes, what lives stays, whatever the clock says."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, Table, event, func, insert, select

from issuer.admin import tokens
from issuer.slots import LIST_SIZE
from issuer.storage.changes import CHANGES_KEPT
from issuer.storage.tables import change_log, clients, revoked_tokens, status_floors, status_ranges
from keys.audit import Actor
from tests.issuer.conftest import READER, Lines
from tests.support.issuer import Caller, Issuer, claims
from tests.support.wire import assert_inactive

LIFETIME, CAP = 600, 3600
AFTER = 20 + 60 + 2 * 60
"""Ten refreshes, leeway, two clocks: the dead are dead so long after the last token that they could have had."""
DEAD_FOR = 3600


def count(issuer: Issuer, table: Table) -> int:
    with issuer.runtime.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


@pytest.fixture
def revoke_one(stored_issuer: Issuer) -> Callable[[Caller], str]:
    """Revokes a new token of a client by the floor that commands stand on; the token."""

    def one(caller: Caller) -> str:
        token = stored_issuer.token(caller)
        read = claims(token)
        tokens.revoke(
            stored_issuer.runtime.administration, caller.realm, read["jti"], Actor("test", "operation", "test"),
            exp=read["exp"],
        )  # fmt: skip
        return token

    return one


@pytest.mark.parametrize(("early", "gone"), [(1, 0), (0, 1), (-1, 1)])
def test_a_revoked_token_goes_when_it_has_been_dead_for_an_hour(
    stored_issuer: Issuer, revoke_one: Callable[[Caller], str], early: int, gone: int
) -> None:
    caller = stored_issuer.client(options=READER)
    token = revoke_one(caller)
    stored_issuer.clock.advance(LIFETIME + DEAD_FOR - early)
    before = count(stored_issuer, change_log)
    assert stored_issuer.run("db prune --dry-run")["revoked_tokens"] == gone
    assert count(stored_issuer, revoked_tokens) == 1
    done = stored_issuer.run("db prune")
    assert (done["changed"], done["revoked_tokens"]) == (bool(gone), gone)
    assert count(stored_issuer, revoked_tokens) == 1 - gone
    # A bit of its list is clear from then on: every process is told, of its client alone.
    assert count(stored_issuer, change_log) == before + gone
    assert_inactive(stored_issuer.introspect(caller, token))
    assert stored_issuer.run("db prune")["changed"] is False
    rows = [row for row in stored_issuer.run("db audit") if row["event"] == "pruned"]
    assert [row["details"] for row in rows] == [{"revoked_tokens": 1}] * gone


@pytest.mark.parametrize("error", [1800, 7200])
def test_196_a_revoked_token_stays_for_as_long_as_a_clock_may_be_late(
    make_issuer: Callable[..., Issuer], error: int
) -> None:
    issuer = make_issuer(CLOCK_ERROR=str(error))
    issuer.runtime.boot()
    token = issuer.token(issuer.client(options=READER))
    issuer.run(f"tokens revoke --jti {claims(token)['jti']} --reason leak")
    # Its own exp, a clock that is late, and the leeway of whoever has it.
    issuer.clock.advance(CAP + 60 + 2 * error - 1)
    assert issuer.run("db prune")["revoked_tokens"] == 0
    issuer.clock.advance(60 + 2 * error + 1)
    assert issuer.run("db prune")["revoked_tokens"] == 1


@pytest.mark.parametrize(("early", "gone"), [(1, 0), (0, 1)])
def test_an_ended_range_goes_when_nobody_accepts_a_token_of_it_any_more(
    stored_issuer: Issuer, early: int, gone: int
) -> None:
    caller = stored_issuer.client(options=READER)
    stored_issuer.token(caller)
    stored_issuer.run("clients disable svc")
    stored_issuer.run("clients enable svc")
    stored_issuer.clock.advance(CAP + AFTER - early)
    assert stored_issuer.run("db prune")["ranges"] == gone
    assert count(stored_issuer, status_ranges) == 2 - gone
    stored_issuer.clock.advance(2)
    fresh = stored_issuer.token(caller)
    assert stored_issuer.introspect(caller, fresh).json["active"] is True


def test_a_deleted_client_goes_with_its_ranges_and_a_live_one_never_however_old(stored_issuer: Issuer) -> None:
    for name in ("gone", "stays"):
        stored_issuer.token(stored_issuer.client(name, READER))
    stored_issuer.run("clients delete gone --yes")
    stored_issuer.clock.advance(CAP + AFTER)
    done = stored_issuer.run("db prune")
    assert (done["ranges"], done["clients"]) == (1, 1)
    stored_issuer.clock.advance(30 * 86400)
    assert stored_issuer.run("db prune")["changed"] is False
    assert count(stored_issuer, clients) == count(stored_issuer, status_ranges) == 1
    # A name that is free again is another client.
    assert stored_issuer.run("clients create gone --scope read")["client_id"] == "gone"


def test_what_lay_below_a_floor_and_changes_beyond_the_bound_go_too(stored_issuer: Issuer) -> None:
    stored_issuer.client(options=READER)
    stored_issuer.run("realms disable /")
    assert count(stored_issuer, status_floors) == 1
    with stored_issuer.runtime.database.write() as connection:  # a log that another version kept longer
        connection.exec_driver_sql(f"UPDATE change_head SET generation = {3 * CHANGES_KEPT}")
        connection.exec_driver_sql(f"UPDATE change_log SET generation = {3 * CHANGES_KEPT} WHERE generation = 3")
    old = count(stored_issuer, change_log)
    stored_issuer.clock.advance(CAP + AFTER)
    done = stored_issuer.run("db prune")
    assert (done["floors"], count(stored_issuer, status_floors)) == (1, 0)
    assert done["changes"] == old - count(stored_issuer, change_log) > 0


def test_a_clock_that_leapt_takes_nothing_away(
    stored_issuer: Issuer, revoke_one: Callable[[Caller], str], lines: Lines
) -> None:
    caller = stored_issuer.client(options=READER)
    revoke_one(caller)
    stored_issuer.clock.step(2 * 7776000 + 1)
    for option in ("", "--dry-run"):
        refused = stored_issuer.command(f"db prune --json {option}")
        assert refused.exit_code == 3
        assert json.loads(refused.stdout)["error"] == "clock_ahead"
    stored_issuer.run("clients update svc --name later")  # what goes beside a change does not believe it either
    assert count(stored_issuer, revoked_tokens) == 1
    assert lines.text
    stored_issuer.clock.step(-1)
    assert stored_issuer.run("db prune")["revoked_tokens"] == 1


def test_a_few_dead_rows_go_beside_any_change_but_not_beside_the_end_of_one_token(
    stored_issuer: Issuer, revoke_one: Callable[[Caller], str]
) -> None:
    caller = stored_issuer.client(options=READER)
    for _ in range(3):
        revoke_one(caller)
    stored_issuer.run("clients disable svc")
    stored_issuer.run("clients enable svc")
    stored_issuer.clock.advance(LIFETIME + DEAD_FOR)
    revoke_one(caller)
    assert (count(stored_issuer, revoked_tokens), count(stored_issuer, status_ranges)) == (4, 2)
    stored_issuer.run("clients create other --scope read --dry-run")
    assert count(stored_issuer, revoked_tokens) == 4
    stored_issuer.run("clients create other --scope read")
    assert (count(stored_issuer, revoked_tokens), count(stored_issuer, status_ranges)) == (1, 2)


def test_nobody_s_change_waits_while_what_is_dead_is_looked_for(stored_issuer: Issuer) -> None:
    stored_issuer.client(options=READER)
    stored_issuer.run("clients disable svc")
    stored_issuer.clock.advance(CAP + AFTER)
    looks: list[bool] = []

    def note(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT") and "status_ranges" in statement:
            looks.append(connection.get_execution_options().get("realmint_write", False))

    listening = (stored_issuer.runtime.database.engine, "before_cursor_execute", note)
    event.listen(*listening)
    assert stored_issuer.run("db prune")["ranges"] == 1
    event.remove(*listening)
    assert looks
    assert not any(looks)


def test_long_work_goes_in_short_transactions_while_traffic_flows(stored_issuer: Issuer, second_node: Issuer) -> None:
    caller = stored_issuer.client(options=READER)
    rows = [
        {"realm_id": 1, "jti": f"{n:028}", "index": n % LIST_SIZE, "exp": 1, "generation": 1} for n in range(12_000)
    ]
    with stored_issuer.runtime.database.write() as connection:
        connection.execute(insert(revoked_tokens), rows)
    result = stored_issuer.command("db prune --json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["revoked_tokens"] == 12_000
    assert "rows so far" in result.stderr
    assert count(stored_issuer, revoked_tokens) == 0
    # One change for each batch, and not one for each row.
    assert count(stored_issuer, change_log) < 40
    second_node.clock.advance(2)
    assert second_node.token(caller)
