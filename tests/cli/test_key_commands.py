"""flask keys: what each command does, says and exits with, on both engines."""

import base64
import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from issuer.storage.changes import record_change
from keys import store
from keys.key import canonical, generate
from tests.support.issuer import KEK, Issuer, claims, header

READER = "--scope read --default-scope read"
GATE = 20 + 86400 + 5
OTHER_KEK = base64.urlsafe_b64encode(b"o" * 32).rstrip(b"=").decode()


def kids(issuer: Issuer, *states: str, realm: str = "/") -> list[str]:
    options = " ".join(f"--state {state}" for state in states)
    return [key["kid"] for key in issuer.run(f"keys list --realm {realm} {options}")]


def states(issuer: Issuer, realm: str = "/") -> dict[str, str]:
    return {key["kid"]: key["state"] for key in issuer.run(f"keys list --state all --realm {realm}")}


def refused(issuer: Issuer, line: str, exit_code: int, stdin: bytes | None = None) -> dict[str, Any]:
    result = issuer.command(f"{line} --json", stdin)
    assert result.exit_code == exit_code, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    assert answer["changed"] is False
    assert answer["message"]
    return answer


def test_list_has_the_agreed_members_and_reads_well(stored_issuer: Issuer) -> None:
    stored_issuer.run("keys rotate")
    stored_issuer.clock.advance(90)
    listed = stored_issuer.run("keys list")
    members = ["kid", "alg", "state", "generation", "published_at", "activated_at", "retiring_at", "max_exp_bound", "held",
               "next_action", "next_action_at"]  # fmt: skip
    assert [list(key) for key in listed] == [members] * 3
    assert [(key["state"], key["next_action"]) for key in listed] == [
        ("active", "rotate"), ("published", "promote"), ("retiring", "prune"),
    ]  # fmt: skip
    now = stored_issuer.clock.now
    assert listed[0]["next_action_at"] == now - 90 + 7776000
    assert listed[1]["next_action_at"] == now - 90 + GATE
    # S + E for the last signature, L for its token, K + E for those who check it.
    assert listed[2]["next_action_at"] == now - 90 + (20 + 60) + 3600 + (60 + 60)
    lines = stored_issuer.command("keys list").stdout.splitlines()
    assert re.split(r"\s{2,}", lines[0]) == ["KID", "ALG", "STATE", "AGE", "HELD", "NEXT", "FROM"]
    assert re.split(r"\s{2,}", lines[1])[1:] == ["ES256", "active", "1 min 30 s", "-", "rotate", "in 89 d 23 h"]
    assert re.split(r"\s{2,}", lines[3])[1:] == ["ES256", "retiring", "1 min 30 s", "-", "prune", "in 1 h 1 min"]
    assert all(len(line) < 110 for line in lines)


def test_show_takes_the_start_of_a_name_and_says_no_more_than_is_public(stored_issuer: Issuer) -> None:
    kid = kids(stored_issuer, "active")[0]
    shown = stored_issuer.run(f"keys show {kid[:10]}")
    assert shown["kid"] == shown["thumbprint"] == kid
    assert (shown["backend"], shown["last_absent_at"], shown["max_lifetime"]) == ("local", None, 3600)
    assert not any("sealed" in member or "jwk" in member for member in shown)
    jwk = json.loads(stored_issuer.command(f"keys show {kid[:10]} --public-jwk").stdout)
    assert jwk == stored_issuer.http.get(stored_issuer.address("/connect/jwk_uri")).json["keys"][0]
    assert stored_issuer.command(f"keys show {kid} --pem").stdout.startswith("-----BEGIN PUBLIC KEY-----")
    assert stored_issuer.command(f"keys show {kid} --pem --json").exit_code == 2


@pytest.mark.parametrize("line", ["show {}", "activate {}", "retire {}", "hold {}", "unhold {}", "publish {}",
                                  "revoke {} --reason x --yes", "export {} --out x"])  # fmt: skip
def test_a_name_that_fits_none_or_several_keys_is_exit_4(issuer: Issuer, line: str) -> None:
    assert refused(issuer, f"keys {line.format('nobody')}", 4)["error"] == "not_found"
    assert issuer.command(f"keys {line.format(repr(''))}").exit_code == 4
    with issuer.runtime.database.write() as connection:
        for kid in kids(issuer):
            connection.execute(update(store.keys).where(store.keys.c.kid == kid).values(kid=f"same-{kid}"))
    assert "2 keys" in refused(issuer, f"keys {line.format('same')}", 4)["message"]


def test_rotate_says_which_key_is_what_and_within_the_gate_when_it_may(stored_issuer: Issuer) -> None:
    (old, standby) = kids(stored_issuer)
    rotated = stored_issuer.run("keys rotate --reason routine")
    (row,) = rotated["rotated"]
    assert (row["active"], row["retiring"], row["forced"]) == (standby, old, False)
    assert states(stored_issuer) == {old: "retiring", standby: "active", row["standby"]: "published"}
    early = refused(stored_issuer, "keys rotate", 3)
    assert early["error"] == "gate_not_met"
    assert early["retry_at"] - early["retry_after"] == stored_issuer.clock.now
    stored_issuer.clock.advance(early["retry_after"] - 1)
    assert refused(stored_issuer, "keys rotate", 3)["retry_after"] == 1
    stored_issuer.clock.advance(1)
    assert stored_issuer.run("keys rotate")["changed"] is True


def test_force_needs_a_reason_and_stands_in_the_audit(stored_issuer: Issuer) -> None:
    stored_issuer.run("keys rotate")
    assert stored_issuer.command("keys rotate --force").exit_code == 2
    forced = stored_issuer.run("keys rotate --force --reason 'the old key may have leaked'")
    assert forced["forced"] is True
    rows = [row for row in stored_issuer.run("keys audit") if row["forced"]]
    assert [row["event"] for row in rows] == ["demoted", "promoted", "generated"]
    assert {row["reason"] for row in rows} == {"the old key may have leaked"}
    assert len({row["operation"] for row in rows}) == 1
    assert rows[0]["gates"]["promotable_at"] > stored_issuer.clock.now


def test_several_algorithms_rotate_together_or_one_by_one(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /two --alg ES256 --alg EdDSA")
    both = stored_issuer.run("keys rotate --realm /two")
    assert [row["alg"] for row in both["rotated"]] == ["ES256", "EdDSA"]
    assert len({row["operation"] for row in stored_issuer.run("keys audit --realm /two")[-6:]}) == 1
    one = stored_issuer.run("keys rotate --realm /two --alg EdDSA --force --reason x")
    assert [row["alg"] for row in one["rotated"]] == ["EdDSA"]
    assert stored_issuer.command("keys rotate --alg EdDSA").exit_code == 2  # the root realm does not sign with it


def test_a_young_standby_of_one_algorithm_holds_no_other_up(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms update / --alg ES256 --alg RS256")
    rotated = stored_issuer.run("keys rotate")
    assert [row["alg"] for row in rotated["rotated"]] == ["ES256"]
    assert "the RS256 standby may not sign yet" in rotated["note"]
    assert refused(stored_issuer, "keys rotate --alg RS256", 3)["error"] == "gate_not_met"
    assert refused(stored_issuer, "keys rotate", 3)["error"] == "gate_not_met"  # now both are young


@pytest.mark.parametrize(
    ("options", "code", "error"), [("", 4, "no_standby"), ("--alg EdDSA", 2, "alg_not_used")]
)  # fmt: skip
def test_of_all_realms_one_that_is_refused_is_told_of_and_holds_no_other_up(
    stored_issuer: Issuer, options: str, code: int, error: str
) -> None:
    stored_issuer.run("realms create /two --alg ES256 --alg EdDSA")
    with stored_issuer.runtime.database.write() as connection:
        lost = (store.keys.c.realm_id == 1, store.keys.c.state == "published")
        connection.execute(store.keys.delete().where(*lost))
    result = stored_issuer.command(f"keys rotate --all --json {options}")
    assert result.exit_code == code
    root, two = json.loads(result.stdout)
    assert (root["realm"], root["error"], root["changed"]) == ("/", error, False)
    assert (two["realm"], two["changed"]) == ("/two", True)
    people = stored_issuer.command(f"keys rotate --all {options}")
    assert "/: " in people.stderr


def test_with_if_due_nothing_is_done_before_and_a_lost_race_is_success(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    assert stored_issuer.run("keys rotate --if-due")["changed"] is False
    stored_issuer.clock.advance(7776000)
    assert stored_issuer.run("keys rotate --if-due")["changed"] is True
    assert second_node.run("keys rotate --if-due")["changed"] is False


def test_all_goes_through_every_realm_whatever_one_of_them_says(stored_issuer: Issuer) -> None:
    for path in ("/a", "/b"):
        stored_issuer.run(f"realms create {path}")
    stored_issuer.run("keys rotate --realm /a")
    result = stored_issuer.command("keys rotate --all --json")
    answers = {row["realm"]: row for row in json.loads(result.stdout)}
    assert result.exit_code == 3
    assert {path: row["changed"] for path, row in answers.items()} == {"/": True, "/a": False, "/b": True}
    assert answers["/a"]["error"] == "gate_not_met"
    assert answers["/a"]["retry_after"] == GATE
    quiet = stored_issuer.run("keys rotate --all --if-due")
    assert [row["changed"] for row in quiet] == [False] * 3
    people = stored_issuer.command("keys prune --all")
    assert people.stdout.splitlines() == ["/: nothing is due", "/a: nothing is due", "/b: nothing is due"]


def test_a_script_can_say_at_which_generation_it_looked(stored_issuer: Issuer) -> None:
    generation = stored_issuer.run("keys list")[0]["generation"]
    assert stored_issuer.run(f"keys rotate --expect-generation {generation}")["generation"] == generation + 1
    late = refused(stored_issuer, f"keys rotate --force --reason x --expect-generation {generation}", 5)
    assert late["error"] == "lost_race"


def test_183_prune_takes_out_what_may_go_and_nothing_sooner(stored_issuer: Issuer) -> None:
    caller = stored_issuer.client(options=READER)
    old = kids(stored_issuer, "active")[0]
    token = stored_issuer.token(caller)
    stored_issuer.run("keys rotate")
    gate = {key["kid"]: key["next_action_at"] for key in stored_issuer.run("keys list")}[old]
    assert gate > claims(token)["exp"] + 60
    stored_issuer.clock.advance(gate - stored_issuer.clock.now - 1)
    assert stored_issuer.run("keys prune")["changed"] is False
    assert refused(stored_issuer, f"keys retire {old}", 3)["retry_at"] == gate
    stored_issuer.clock.advance(1)
    assert stored_issuer.run("keys prune --older-than 1h")["changed"] is False
    rehearsed = stored_issuer.run("keys prune --dry-run")
    assert (rehearsed["changed"], rehearsed["dry_run"], len(rehearsed["steps"])) == (False, True, 1)
    assert states(stored_issuer)[old] == "retiring"
    assert stored_issuer.run("keys prune")["steps"] == [
        {"event": "retired", "kid": old, "alg": "ES256", "from": "retiring", "to": "retired"}
    ]
    stored_issuer.clock.advance(2)
    published = stored_issuer.http.get(stored_issuer.address("/connect/jwk_uri")).json["keys"]
    assert old not in {jwk["kid"] for jwk in published}
    with stored_issuer.runtime.database.read() as connection:
        row = connection.execute(select(store.keys).where(store.keys.c.kid == old)).one()
    assert (row.sealed, row.kek_id) == (None, None)


@pytest.mark.parametrize("options", ["", "--force --reason x", "--all", "--all --force --reason x", "--older-than 1s"])
def test_a_held_key_survives_prune_under_every_combination_of_flags(issuer: Issuer, options: str) -> None:
    old = kids(issuer, "active")[0]
    issuer.run("keys rotate")
    issuer.run(f"keys hold {old}")
    assert issuer.run(f"keys hold {old}")["changed"] is False
    issuer.clock.advance(7776000)
    issuer.run(f"keys prune {options}")
    assert refused(issuer, f"keys retire {old} --force --reason x", 3)["error"] == "held"
    assert states(issuer)[old] == "retiring"
    issuer.run(f"keys unhold {old}")
    issuer.run("keys prune")
    assert states(issuer)[old] == "retired"


def test_a_way_back_works_live(stored_issuer: Issuer, second_node: Issuer) -> None:
    caller = stored_issuer.client(options=READER)
    old = kids(stored_issuer, "active")[0]
    stored_issuer.run("keys rotate")
    second_node.clock.advance(2)
    new = second_node.token(caller)
    back = stored_issuer.run(f"keys activate {old}")
    assert [step["event"] for step in back["steps"]] == ["demoted", "reactivated"]
    second_node.clock.advance(2)
    assert header(second_node.token(caller))["kid"] == old
    assert second_node.introspect(caller, new).json["active"] is True
    assert stored_issuer.run(f"keys activate {old}")["changed"] is False
    assert stored_issuer.run("keys doctor") == []


def test_generate_and_publish_stage_a_key_that_nobody_sees_before(stored_issuer: Issuer) -> None:
    assert stored_issuer.run("keys generate")["changed"] is False
    staged = stored_issuer.run("keys generate --pending")["steps"][0]["kid"]
    stored_issuer.clock.advance(2)
    served = stored_issuer.http.get(stored_issuer.address("/connect/jwk_uri")).json["keys"]
    assert staged not in {jwk["kid"] for jwk in served}
    assert refused(stored_issuer, f"keys publish {staged}", 2)["error"] == "standby_exists"
    old = kids(stored_issuer, "published")[0]
    stored_issuer.run(f"keys publish {staged} --replace")
    assert (states(stored_issuer)[old], states(stored_issuer)[staged]) == ("retired", "published")
    assert refused(stored_issuer, f"keys activate {staged}", 3)["retry_after"] == GATE
    other = stored_issuer.run("keys generate --pending")["steps"][0]["kid"]
    stored_issuer.run(f"keys retire {other}")
    assert states(stored_issuer)[other] == "retired"


def test_an_algorithm_goes_out_of_use_step_by_step(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /two --alg ES256 --alg EdDSA")
    active, standby = (key["kid"] for key in stored_issuer.run("keys list --realm /two") if key["alg"] == "EdDSA")
    assert refused(stored_issuer, f"keys retire {active} --realm /two", 2)["error"] == "in_use"
    stored_issuer.run("realms update /two --alg ES256")
    stored_issuer.run(f"keys retire {active} --realm /two")
    stored_issuer.run(f"keys retire {standby} --realm /two")
    assert (states(stored_issuer, "/two")[active], states(stored_issuer, "/two")[standby]) == ("retiring", "retired")
    stored_issuer.clock.advance(7200)
    stored_issuer.run("keys prune --realm /two")
    assert states(stored_issuer, "/two")[active] == "retired"
    assert stored_issuer.run("keys doctor") == []


def test_a_realm_that_changes_its_algorithm_goes_on_with_the_old_one_until_the_new_key_may_sign(
    stored_issuer: Issuer,
) -> None:
    issuer = stored_issuer
    caller = issuer.client(options=READER)
    issuer.run("realms update / --alg EdDSA")
    issuer.clock.advance(2)
    token = issuer.token(caller)
    assert header(token)["alg"] == "ES256"
    assert issuer.introspect(caller, token).json["active"] is True
    assert issuer.http.get("/readyz").status_code == 200
    old = kids(issuer, "active")[0]
    assert refused(issuer, f"keys retire {old}", 2)["error"] == "in_use"
    revoked = issuer.run(f"keys revoke {old} --reason leaked --yes")
    assert len(revoked["active"]) == 1
    issuer.clock.advance(2)
    assert header(issuer.token(caller))["kid"] == revoked["active"][0]
    issuer.clock.advance(GATE)
    issuer.run("keys rotate --if-due")
    issuer.clock.advance(2)
    assert header(issuer.token(caller))["alg"] == "EdDSA"
    issuer.run(f"keys retire {revoked['active'][0]}")
    assert issuer.run("keys doctor") == []


def test_a_standby_that_cannot_be_opened_is_not_promoted(stored_issuer: Issuer) -> None:
    active, standby = kids(stored_issuer)
    with stored_issuer.runtime.database.write() as connection:
        spoilt = update(store.keys).where(store.keys.c.kid == standby).values(sealed=b"spoilt")
        connection.execute(spoilt)
    assert refused(stored_issuer, "keys rotate", 7)["error"] == "wrong_kek"
    assert states(stored_issuer)[active] == "active"


@pytest.mark.parametrize("reason", ["x" * 257, "a\nb", "a\udcffb", "\x1b[2J"])
def test_a_reason_that_no_database_or_log_could_hold_is_refused_before_anything_is_done(
    stored_issuer: Issuer, reason: str
) -> None:
    kid = kids(stored_issuer, "active")[0]
    runner = stored_issuer.app.test_cli_runner()
    for line in (["keys", "revoke", kid, "--yes"], ["keys", "rotate"], ["keys", "prune", "--realm", reason]):
        result = runner.invoke(args=[*line, "--reason", reason])
        assert (result.exit_code, result.exception.__class__) == (2, SystemExit)
    assert states(stored_issuer)[kid] == "active"


def test_184_revoke_puts_another_key_there_and_states_the_bound(stored_issuer: Issuer, second_node: Issuer) -> None:
    caller = stored_issuer.client(options=READER)
    leaked, standby = kids(stored_issuer)
    token = second_node.token(caller)
    assert stored_issuer.command(f"keys revoke {leaked} --reason leaked").exit_code == 2  # nobody can be asked
    assert stored_issuer.command(f"keys revoke {leaked} --yes").exit_code == 2  # and why is always said
    said = stored_issuer.run(f"keys revoke {leaked[:12]} --reason leaked --yes")
    assert (said["revoked"], said["active"], said["forced"]) == ([leaked], [standby], False)
    assert said["exposure"] == 2 + 5 + 86400
    assert said["exposed_until"] == stored_issuer.clock.now + said["exposure"]
    assert second_node.introspect(caller, token).json == {"active": False}  # at once, on every node
    second_node.clock.advance(2)
    assert header(second_node.token(caller))["kid"] == standby
    served = second_node.http.get(second_node.address("/connect/jwk_uri")).json["keys"]
    assert leaked not in {jwk["kid"] for jwk in served}
    assert stored_issuer.run(f"keys revoke {leaked} --reason again --yes")["changed"] is False
    assert stored_issuer.run("keys doctor") == []
    with stored_issuer.runtime.database.read() as connection:
        row = connection.execute(select(store.keys).where(store.keys.c.kid == leaked)).one()
    assert (row.sealed, row.kek_id, row.reason) == (None, None, "leaked")


def test_184_a_young_standby_is_spared_and_people_are_told(stored_issuer: Issuer) -> None:
    first = kids(stored_issuer, "active")[0]
    stored_issuer.run("keys rotate")
    leaked, young = kids(stored_issuer, "active", "published")
    people = stored_issuer.command(f"keys revoke {leaked} --reason leaked --yes")
    assert "newest retiring key signs again" in people.stderr
    assert "may accept forged tokens until" in people.stdout
    assert states(stored_issuer) == {first: "active", leaked: "revoked", young: "published"}
    insisted = stored_issuer.run(f"keys revoke {first} --reason x --yes --standby")
    assert (insisted["active"], insisted["forced"]) == ([young], True)


def test_184_all_takes_every_key_and_issuing_goes_on(stored_issuer: Issuer) -> None:
    caller = stored_issuer.client(options=READER)
    before = set(kids(stored_issuer))
    assert stored_issuer.command("keys revoke x --all --reason x --yes").exit_code == 2
    assert stored_issuer.command("keys revoke --reason x --yes").exit_code == 2
    said = stored_issuer.run("keys revoke --all --reason 'the database leaked' --yes")
    assert set(said["revoked"]) == before
    stored_issuer.clock.advance(2)
    assert header(stored_issuer.token(caller))["kid"] == said["active"][0]
    assert stored_issuer.run("keys doctor") == []


@pytest.mark.parametrize(
    "line",
    ["generate --pending", "rotate", "activate {published}", "hold {active}", "prune", "revoke {active} --reason x",
     "revoke --all --reason x", "rewrap"],
)  # fmt: skip
def test_dry_run_says_what_would_happen_and_changes_nothing(issuer: Issuer, line: str) -> None:
    named = {key["state"]: key["kid"] for key in issuer.run("keys list")}
    before = issuer.run("keys list --state all"), issuer.run("keys audit")
    issuer.run(f"keys {line.format(**named)} --dry-run")
    assert (issuer.run("keys list --state all"), issuer.run("keys audit")) == before


def test_the_audit_names_everything_that_happened_and_notices_what_is_taken_away(stored_issuer: Issuer) -> None:
    issuer = stored_issuer
    issuer.run("keys rotate --reason routine")
    kid = kids(issuer, "retiring")[0]
    for line in (f"hold {kid}", f"unhold {kid}", f"activate {kid}", "generate --pending"):
        issuer.run(f"keys {line}")
    rows = issuer.run("keys audit")
    assert [row["event"] for row in rows] == [
        "generated", "generated", "demoted", "promoted", "generated", "held", "unheld", "demoted", "reactivated",
        "generated",
    ]  # fmt: skip
    assert [row["seq"] for row in rows] == list(range(1, 11))
    assert [row["generation"] for row in rows] == [1, 1, 2, 2, 2, 3, 4, 5, 5, 6]
    assert all(row["actor"].startswith("cli:") for row in rows)
    assert all(row["previous"] == before["hash"] for before, row in pairwise(rows))
    assert issuer.run("keys audit --limit 2") == rows[-2:]
    assert "reactivated" in issuer.command("keys audit").stdout
    with issuer.runtime.database.write() as connection:
        connection.execute(update(store.audit).where(store.audit.c.seq == 4).values(reason="nothing to see"))
    result = issuer.command("keys audit --json")
    assert (result.exit_code, len(json.loads(result.stdout))) == (1, 10)
    assert "from row 4 on" in result.stderr


def test_deleting_a_realm_ends_its_keys_in_the_audit_too(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /x")
    stored_issuer.run("realms delete /x --yes")
    with stored_issuer.runtime.database.read() as connection:
        rows = [entry for entry, _ in store.audit_of(connection, 2) if entry.of_key]
        dead = store.history(connection, 2)
    assert [(row.event, row.reason) for row in rows[2:]] == [("revoked", "realm deleted")] * 2
    assert {(str(key.state), key.sealed) for key in dead} == {("revoked", None)}


# Clocks


def test_195_a_clock_that_fell_back_moves_nothing_until_somebody_says_it_is_right(stored_issuer: Issuer) -> None:
    issuer = stored_issuer
    issuer.clock.advance(3600)
    issuer.run("keys prune")  # leaves a mark of the time
    before = states(issuer)
    issuer.clock.step(-3600)
    for line in ("rotate", "rotate --if-due", "prune", f"activate {kids(issuer, 'published')[0]}"):
        behind = refused(issuer, f"keys {line}", 3)
        assert behind["error"] == "clock_behind"
        assert behind["retry_after"] == 3600
    assert states(issuer) == before
    issuer.run("keys prune --force --reason 'the clock was wrong before'")
    assert issuer.run("keys rotate")["changed"] is True
    issuer.clock.step(-60)  # within CLOCK_ERROR clocks differ
    assert issuer.run("keys prune")["changed"] is False


def test_195_a_clock_that_leapt_prunes_nothing_and_the_routine_says_so(stored_issuer: Issuer) -> None:
    issuer = stored_issuer
    issuer.run("keys rotate")
    old = kids(issuer, "retiring")[0]
    issuer.clock.advance(2 * 7776000 + 1)
    assert refused(issuer, "keys prune", 3)["error"] == "clock_ahead"
    assert refused(issuer, "keys rotate --if-due", 3)["error"] == "clock_ahead"
    assert issuer.command("keys prune --all").exit_code == 3
    assert refused(issuer, "keys prune", 3)["error"] == "clock_ahead"  # asking again makes it no more right
    assert states(issuer)[old] == "retiring"
    # A person may rotate, even past a gate, and the leap is still a leap.
    issuer.run("keys rotate")
    issuer.run("keys rotate --force --reason 'cannot wait'")
    assert refused(issuer, "keys prune", 3)["error"] == "clock_ahead"
    issuer.run("keys prune --force --reason 'nobody was here for half a year'")
    assert states(issuer)[old] == "retired"
    assert issuer.run("keys doctor") == []
    assert issuer.run("keys prune")["changed"] is False


def test_a_routine_that_runs_daily_leaves_marks_of_the_time_in_every_realm(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /a")
    for _ in range(3):
        stored_issuer.clock.advance(7776000 - 10)
        stored_issuer.run("keys rotate --all --if-due")
        stored_issuer.run("keys prune --all")
    with stored_issuer.runtime.database.read() as connection:
        marks = connection.scalars(select(store.key_sets.c.watermark)).all()
    assert list(marks) == [stored_issuer.clock.now] * 2


# Key-encryption keys


def test_rewrap_seals_everything_under_the_newest_key_and_can_be_stopped(
    database_url: str, make_issuer: Callable[..., Issuer]
) -> None:
    old = make_issuer("old", database_url).setup()
    for number in range(3):
        old.run(f"realms create /r{number}")
    caller = old.client(options=READER)
    assert old.run("keys rewrap") == {"changed": False, "rewrapped": 0, "kek_id": old.runtime.sealer().kek_id}
    both = make_issuer("both", database_url, KEK=f"{OTHER_KEK},{KEK}")
    look = make_issuer("look", database_url, KEK=f"{OTHER_KEK},{KEK}")
    assert look.run("keys rewrap --dry-run")["rewrapped"] == 8
    # Stopped half way: what is done stays done, and both kinds open.
    with both.runtime.database.write() as connection:
        (key, *_) = store.sealed_otherwise(connection, both.runtime.sealer().kek_id, 1)
        assert store.reseal(connection, key, both.runtime.sealer())
        assert not store.reseal(connection, key, both.runtime.sealer())
    assert both.token(caller)
    assert both.run("keys rewrap")["rewrapped"] == 7
    assert both.run("keys rewrap")["changed"] is False
    assert both.run("keys doctor") == []
    new = make_issuer("new", database_url, KEK=OTHER_KEK)
    assert new.token(caller)
    assert [row["event"] for row in new.run("keys audit")][-1] == "rewrapped"
    assert refused(make_issuer("late", database_url), "keys rotate", 7)["error"] == "wrong_kek"


def test_a_process_that_lost_its_key_encryption_key_goes_on_with_what_it_opened_and_is_not_ready(
    database_url: str, make_issuer: Callable[..., Issuer]
) -> None:
    """Decision 19: met at run time a wrong key fails readiness, while keys already opened keep signing."""
    running = make_issuer("running", database_url).setup()
    caller = running.client(options=READER)
    kid = header(running.token(caller))["kid"]
    assert running.http.get("/readyz").status_code == 200
    both = make_issuer("both", database_url, KEK=f"{OTHER_KEK},{KEK}")
    both.run("keys rewrap")
    running.clock.advance(2)
    running.token(caller)
    assert running.http.get("/readyz").status_code == 503  # at once, and not at the next rotation
    both.run("realms update / --access-token-lifetime 300")
    running.clock.advance(2)
    token = running.token(caller)
    assert header(token)["kid"] == kid
    assert claims(token)["exp"] - claims(token)["iat"] == 300
    ready = running.http.get("/readyz")
    assert (ready.status_code, ready.json["checks"]["key_encryption_key"]) == (503, False)
    assert len(running.http.get(running.address("/connect/jwk_uri")).json["keys"]) == 2
    rotated = both.run("keys rotate")["rotated"][0]
    running.clock.advance(2)
    answer = running.token_response(caller)  # the new key was never opened here
    assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable")
    # What it had verified is published on, in the states that the store says; the newcomer it cannot tell from a key
    # that somebody planted.
    served = [jwk["kid"] for jwk in running.http.get(running.address("/connect/jwk_uri")).json["keys"]]
    assert served == [rotated["active"], rotated["retiring"]]
    # Mended without a restart.
    make_issuer("back", database_url, KEK=f"{KEK},{OTHER_KEK}").run("keys rewrap")
    running.clock.advance(2)
    assert header(running.token(caller))["kid"] == rotated["active"]
    assert running.http.get("/readyz").status_code == 200


def test_199_a_key_of_a_later_version_is_published_and_harms_nothing(stored_issuer: Issuer) -> None:
    caller = stored_issuer.client(options=READER)
    made = generate("ES256")
    jwk = {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "use": "sig", "kid": "later"}
    with stored_issuer.runtime.database.change() as connection:
        row = dict(connection.execute(select(store.keys).where(store.keys.c.state == "active")).mappings().one())
        row |= {"kid": "later", "thumbprint": made.thumbprint, "alg": "ML-DSA-44", "public_jwk": canonical(jwk)}
        row["proof"] = stored_issuer.runtime.sealer().vouch(canonical(jwk), 1, "later", "ML-DSA-44")
        connection.execute(insert(store.keys).values(row))
        record_change(connection, 1)
    stored_issuer.clock.advance(2)
    assert header(stored_issuer.token(caller))["alg"] == "ES256"
    served = stored_issuer.http.get(stored_issuer.address("/connect/jwk_uri")).json["keys"]
    assert jwk in served
    assert stored_issuer.introspect(caller, stored_issuer.token(caller)).json["active"] is True
    assert "later" in states(stored_issuer)


def test_a_lifetime_that_outlives_rotations_is_refused(issuer: Issuer) -> None:
    assert issuer.command("realms update / --max-access-token-lifetime 90d").exit_code == 2
    assert issuer.command("realms create /x --max-access-token-lifetime 7775999s").exit_code == 0


def test_raising_a_lifetime_then_rotating_at_once_keeps_the_old_key_for_its_longest_token(
    stored_issuer: Issuer,
) -> None:
    caller = stored_issuer.client(options=READER)
    stored_issuer.run("realms update / --max-access-token-lifetime 2d --access-token-lifetime 2d")
    stored_issuer.clock.advance(2)
    token = stored_issuer.token(caller)
    stored_issuer.run("realms update / --access-token-lifetime 60 --max-access-token-lifetime 60")
    stored_issuer.run("keys rotate")
    (old,) = stored_issuer.run("keys list --state retiring")
    assert old["next_action_at"] > claims(token)["exp"] + 60
    stored_issuer.clock.advance(2 * 86400 - 10)
    stored_issuer.run("keys prune")
    assert stored_issuer.introspect(caller, token).json["active"] is True
