"""flask clients health: which credentials want attention, and the marks that it knows of; both engines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from issuer.storage.tables import scope_marks
from tests.support.issuer import Caller, Issuer

ORDERS = "https://orders.example"
GOOD = f"--scope read --default-scope read --default-audience {ORDERS}"
DAY = 86400


def health(issuer: Issuer, realm: str = "/") -> list[dict[str, Any]]:
    result = issuer.command(f"clients health --realm {realm} --json")
    found: list[dict[str, Any]] = json.loads(result.stdout)
    assert result.exit_code == (1 if found else 0)
    assert all(set(each) == {"client_id", "kind", "finding", "secret_id", "credential_id", "scopes"} for each in found)
    return found


def kinds(issuer: Issuer, realm: str = "/") -> list[tuple[str, str]]:
    return [(each["client_id"], each["kind"]) for each in health(issuer, realm)]


def marked(issuer: Issuer) -> dict[str, int]:
    issuer.runtime.registry.marks.flush()
    with issuer.runtime.database.read() as connection:
        return {row.scope: row.last_requested_at for row in connection.execute(select(scope_marks))}


def use(issuer: Issuer, *callers: Caller, **form: Any) -> None:
    for caller in callers:
        issuer.token(caller, **form)
    issuer.runtime.registry.marks.flush()


def test_a_client_that_is_new_and_one_that_is_used_want_nothing(stored_issuer: Issuer) -> None:
    caller = stored_issuer.client(options=GOOD)
    assert health(stored_issuer) == []
    assert stored_issuer.command("clients health").stdout == "nothing wants attention\n"
    for _ in range(3):
        stored_issuer.clock.advance(29 * DAY)
        use(stored_issuer, caller)
        assert health(stored_issuer) == []


@pytest.mark.parametrize(("seconds", "found"), [(30 * DAY - 1, False), (30 * DAY, True), (30 * DAY + 1, True)])
def test_who_was_never_used_and_who_is_not_any_more_are_told_apart(
    stored_issuer: Issuer, seconds: int, found: bool
) -> None:
    stored_issuer.client("fresh", GOOD)
    use(stored_issuer, stored_issuer.client("was", GOOD))
    stored_issuer.clock.advance(seconds)
    expected = [
        {"client_id": "fresh", "kind": "never_used", "finding": "never used, for 30 days or more"},
        {"client_id": "was", "kind": "unused", "finding": "not used for 30 days"},
    ]
    more = {"secret_id": None, "credential_id": None, "scopes": []}
    assert health(stored_issuer) == ([each | more for each in expected] if found else [])


def test_of_several_secrets_each_is_told_by_its_name(stored_issuer: Issuer) -> None:
    made = stored_issuer.run(f"clients create svc {GOOD}")
    caller = Caller("svc", made["client_secret"])
    use(stored_issuer, caller)
    stored_issuer.clock.advance(20 * DAY)
    second = stored_issuer.run("clients secrets add svc")
    stored_issuer.clock.advance(30 * DAY)
    use(stored_issuer, Caller("svc", stored_issuer.run("clients secrets add svc")["client_secret"]))
    first, other = made["secret_id"], second["secret_id"]
    assert [(each["kind"], each["secret_id"], each["finding"]) for each in health(stored_issuer)] == [
        ("unused", first, f"secret {first} not used for 30 days"),
        ("never_used", other, f"secret {other} never used for 30 days"),
    ]


@pytest.mark.parametrize(("days", "found"), [(14, []), (13, [("svc", "expiring")])])
def test_the_last_secret_is_told_before_it_expires_and_after(
    stored_issuer: Issuer, days: int, found: list[tuple[str, str]]
) -> None:
    stored_issuer.run(f"clients create svc {GOOD} --expires-in {days}d")
    assert kinds(stored_issuer) == found
    stored_issuer.clock.advance(days * DAY)
    assert kinds(stored_issuer) == [("svc", "no_live_secret")]


def test_what_ends_beside_a_secret_that_stays_is_a_rotation_and_no_finding(stored_issuer: Issuer) -> None:
    stored_issuer.client(options=GOOD)
    stored_issuer.run("clients secrets add svc --overlap 1d")
    assert health(stored_issuer) == []


@pytest.mark.parametrize(("seconds", "found"), [(365 * DAY - 1, 0), (365 * DAY, 1), (365 * DAY + 1, 1)])
def test_a_secret_that_is_a_year_old_wants_rotation_however_much_it_is_used(
    stored_issuer: Issuer, seconds: int, found: int
) -> None:
    made = stored_issuer.run(f"clients create svc {GOOD}")
    stored_issuer.clock.advance(seconds)
    use(stored_issuer, Caller("svc", made["client_secret"]))
    secret_id = made["secret_id"]
    told = {"client_id": "svc", "kind": "old", "finding": f"secret {secret_id} is over a year old"}
    assert health(stored_issuer) == [told | {"secret_id": secret_id, "credential_id": None, "scopes": []}] * found


def test_scopes_that_were_never_requested_are_named_a_month_after_registration(stored_issuer: Issuer) -> None:
    options = f"--scope 'read write admin am-introspect-all-tokens' --default-scope read --default-audience {ORDERS}"
    caller, idle = stored_issuer.client("svc", options), stored_issuer.client("idle", options)
    use(stored_issuer, caller)
    stored_issuer.clock.advance(30 * DAY - 1)
    use(stored_issuer, caller, idle)
    assert health(stored_issuer) == []
    stored_issuer.clock.advance(1)
    use(stored_issuer, caller, scope="write read")
    found = [each for each in health(stored_issuer) if each["client_id"] == "svc"]
    told = {"client_id": "svc", "kind": "scopes_never_requested", "finding": "scopes never requested: admin"}
    assert found == [told | {"secret_id": None, "credential_id": None, "scopes": ["admin"]}]
    assert stored_issuer.token_response(caller, scope="nothing").status_code == 400
    use(stored_issuer, caller, scope="admin")
    assert [each["client_id"] for each in health(stored_issuer)] == ["idle"]


def test_a_client_without_an_audience_is_told_unless_its_realm_has_one(stored_issuer: Issuer) -> None:
    stored_issuer.client("svc", "--scope read")
    stored_issuer.client("api", f"--resource-identifier {ORDERS}")
    stored_issuer.client("seer", "--scope am-introspect-all-tokens")
    assert kinds(stored_issuer) == [("svc", "no_audience")]
    stored_issuer.run(f"realms update / --default-audience {ORDERS}")
    assert health(stored_issuer) == []


def test_206_only_the_realm_that_is_asked_about_is_told_of(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /customers")
    stored_issuer.client("svc", "--scope read", "/customers")
    assert (kinds(stored_issuer), kinds(stored_issuer, "/customers")) == ([], [("svc", "no_audience")])
    assert stored_issuer.command("clients health --realm /nobody").exit_code == 4


def test_people_read_a_table(stored_issuer: Issuer) -> None:
    stored_issuer.client("svc", "--scope read")
    lines = stored_issuer.command("clients health").stdout.splitlines()
    assert [line.split(None, 1) for line in lines] == [
        ["CLIENT", "ID  FINDING"],
        ["svc", "neither it nor its realm names an audience"],
    ]


def test_a_scope_is_marked_with_the_day_beside_the_request_and_never_earlier_than_it_was(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    caller = stored_issuer.client(options="--scope 'read write' --default-scope read")
    today = stored_issuer.clock.now - stored_issuer.clock.now % DAY
    stored_issuer.token(caller)
    with stored_issuer.runtime.database.read() as connection:  # nothing was written by the request itself
        assert connection.execute(select(scope_marks)).all() == []
    assert marked(stored_issuer) == {"read": today}
    stored_issuer.clock.advance(DAY)
    second_node.token(caller, scope="read write")
    assert marked(second_node) == {"read": today + DAY, "write": today + DAY}
    stored_issuer.clock.step(-DAY)
    stored_issuer.token(caller, scope="write read")
    assert marked(stored_issuer) == {"read": today + DAY, "write": today + DAY}


def test_a_scope_in_steady_use_is_marked_once_a_day_and_waits_while_the_store_is_away(
    make_issuer: Callable[..., Issuer], tmp_path: Path
) -> None:
    issuer = make_issuer("one", f"sqlite:///{tmp_path / 'store.db'}").setup()
    caller = issuer.client(options="--scope read --default-scope read")
    use(issuer, caller)
    with issuer.runtime.database.write() as connection:
        connection.execute(text("DELETE FROM scope_marks"))
    use(issuer, caller)
    assert marked(issuer) == {}
    issuer.clock.advance(DAY)
    issuer.token(caller)
    issuer.runtime.database.engine.dispose()
    (tmp_path / "store.db").rename(tmp_path / "away.db")
    issuer.runtime.registry.marks.flush()
    (tmp_path / "away.db").rename(tmp_path / "store.db")
    assert list(marked(issuer)) == ["read"]


def test_marks_go_with_their_client_and_with_its_realm(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /x")
    for realm in ("/", "/x"):
        use(stored_issuer, stored_issuer.client("svc", "--scope read --default-scope read", realm))
    use(stored_issuer, stored_issuer.client("stays", "--scope write --default-scope write"))
    stored_issuer.run("clients delete svc --yes")
    stored_issuer.run("realms delete /x --yes")
    assert list(marked(stored_issuer)) == ["write"]


def test_a_scope_too_long_for_an_index_is_neither_marked_nor_missed(stored_issuer: Issuer) -> None:
    long, longest = "l" * 4000, "m" * 255
    options = f"--scope '{longest} read' --default-audience {ORDERS}"
    caller = stored_issuer.client(options=options)
    stored_issuer.run(f"clients update svc --scope {long}")
    stored_issuer.clock.advance(3)
    use(stored_issuer, caller, scope=long)
    assert marked(stored_issuer) == {}
    stored_issuer.clock.advance(31 * DAY)
    use(stored_issuer, caller, scope=long)
    assert health(stored_issuer) == []
    stored_issuer.run(f"clients update svc --scope {longest}")
    stored_issuer.clock.advance(3)
    use(stored_issuer, caller, scope=longest)
    assert list(marked(stored_issuer)) == [longest]
