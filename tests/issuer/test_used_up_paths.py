"""A path whose status indexes are used up: what is there can be killed, nothing new is made, and nobody meets a fault."""

import json
from typing import Any

import pytest
from sqlalchemy import select, update

from issuer import slots
from issuer.slots import END_LIST, LIST_SIZE
from issuer.storage.tables import status_numbering, status_ranges
from tests.issuer.conftest import READER
from tests.support.issuer import Caller, Issuer, claims
from tests.support.wire import assert_inactive, assert_refused

LAST = END_LIST - 1
USED_UP = "every status index of this path was used"


def use_up(issuer: Issuer, left: int = 0) -> None:
    """Of the root's path so many lists are left."""
    with issuer.runtime.database.change() as connection:
        lists = END_LIST - left
        connection.execute(
            update(status_numbering).where(status_numbering.c.path == "/").values(small=lists * LIST_SIZE, lists=lists)
        )


def heard(issuer: Issuer) -> None:
    issuer.runtime.registry._lookout.look()


def refused(issuer: Issuer, line: str) -> dict[str, Any]:
    result = issuer.command(f"{line} --json")
    assert result.exit_code == 2, result.output
    said: dict[str, Any] = json.loads(result.stdout)
    assert said["message"].startswith(USED_UP)
    assert said["error"] == "used_up"
    return said


def aggregated(issuer: Issuer) -> list[int]:
    answer = issuer.http.get(issuer.address("/status"))
    assert answer.status_code == 200
    return [int(uri.rpartition("/")[2]) for uri in answer.json["status_lists"]]


@pytest.mark.parametrize(
    "kill",
    [
        "clients disable svc", "clients delete svc --yes", "realms disable /", "realms delete / --yes",
        "tokens revoke --client svc", "tokens revoke --all", "tokens revoke --secret", "clients secrets revoke svc",
        "db after-restore --keep-keys",
    ],
)  # fmt: skip
def test_126_what_is_at_a_path_that_is_used_up_can_be_killed(stored_issuer: Issuer, kill: str) -> None:
    made = stored_issuer.run(f"clients create svc {READER}")
    caller = Caller("svc", made["client_secret"])
    auditor = stored_issuer.client("auditor", "--scope am-introspect-all-tokens")
    token = stored_issuer.token(caller)
    use_up(stored_issuer)
    heard(stored_issuer)
    if kill.endswith(("--secret", "revoke svc")):
        kill += " " + made["secret_id"]
    more = " --reason leak" if kill.startswith(("tokens", "db")) else ""
    more += "" if "--yes" in kill or "disable" in kill else " --yes"
    done = stored_issuer.run(kill + more)
    heard(stored_issuer)
    answer = stored_issuer.introspect(auditor, token)
    if "realms delete" in kill:
        assert answer.status_code == 404
    else:
        assert_inactive(answer)
    status = claims(token)["status"]["status_list"]
    assert stored_issuer.http.get(status["uri"].removeprefix("https://issuer.example")).status_code == 200
    if kill.startswith("tokens"):
        assert done["used_up"] is True
    answer = stored_issuer.token_response(caller)
    if kill in ("tokens revoke --all", "db after-restore --keep-keys"):
        assert_refused(answer, "temporarily_unavailable", also={"Retry-After": "1"})
    elif "realms delete" not in kill:
        assert_refused(answer, "invalid_client")


def test_what_goes_on_at_a_path_that_is_used_up_issues_and_is_revoked_token_by_token(stored_issuer: Issuer) -> None:
    caller = stored_issuer.client(options=READER)
    use_up(stored_issuer)
    for _ in range(12):  # 4 of 256 would make a range drain
        token = stored_issuer.token(caller)
        assert stored_issuer.revoke(caller, token).status_code == 200
        assert_inactive(stored_issuer.introspect(caller, token))
        heard(stored_issuer)
    assert stored_issuer.introspect(caller, stored_issuer.token(caller)).json["active"] is True
    with stored_issuer.runtime.database.read() as connection:
        (row,) = connection.execute(select(status_ranges)).all()
    assert (row.drained_at, row.ended_at, row.length) == (None, None, 256)


def test_nothing_new_is_made_at_a_path_that_is_used_up_and_it_is_said_why(stored_issuer: Issuer) -> None:
    stored_issuer.client(options=READER)
    use_up(stored_issuer)
    refused(stored_issuer, "clients create other --scope read")
    # The list that small ranges are taken from is full, too.
    refused(stored_issuer, "clients secrets add svc")
    stored_issuer.run("clients disable svc")
    refused(stored_issuer, "clients enable svc")
    stored_issuer.run("realms disable /")
    refused(stored_issuer, "realms enable /")
    stored_issuer.run("realms delete / --yes")
    refused(stored_issuer, "realms create /")
    assert stored_issuer.run("realms create /elsewhere")["realm"] == "/elsewhere"


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_floor_moves_ranges_to_the_end_of_a_path_and_not_beyond(stored_issuer: Issuer, left: int) -> None:
    """One range in the first list, one of a whole list in the next."""
    first = stored_issuer.client(options=READER)
    second = stored_issuer.client("second", READER)
    with stored_issuer.runtime.database.change() as connection:
        mine = status_ranges.c.offset == 256
        connection.execute(update(status_ranges).where(mine).values(offset=LIST_SIZE, length=LIST_SIZE))
    use_up(stored_issuer, left)
    heard(stored_issuer)
    old = [stored_issuer.token(caller) for caller in (first, second)]
    stored_issuer.run("tokens revoke --all --reason leak --yes")
    heard(stored_issuer)
    for token in old:
        assert_inactive(stored_issuer.introspect(first, token))
    for number, caller in enumerate((first, second)):
        answer = stored_issuer.token_response(caller)
        if number < left:
            assert answer.status_code == 200
            assert slots.list_of(slots.index_of(claims(answer.json["access_token"])["jti"])) == LAST - left + 1 + number
            assert stored_issuer.introspect(caller, answer.json["access_token"]).json["active"] is True
        else:
            assert_refused(answer, "temporarily_unavailable", also={"Retry-After": "1"})
    assert max(aggregated(stored_issuer)) <= LAST
    for each, status in ((LAST, 200), (END_LIST, 404), (999_999_999, 404)):
        assert stored_issuer.http.get(stored_issuer.address(f"/status/{each}")).status_code == status
    stored_issuer.run("tokens revoke --all --reason leak --yes")
    heard(stored_issuer)
    assert stored_issuer.run("realms disable /")["changed"] is True
    assert_inactive(stored_issuer.introspect(first, old[0]))
