"""flask tokens revoke: one token or a class of them, and what every command that cuts something off says of when."""

from collections.abc import Callable
from typing import Any

import pytest

from issuer.storage import changes
from keys.audit_log import audit_since
from tests.issuer.conftest import READER
from tests.issuer.test_introspection import resigned
from tests.support.clock import START
from tests.support.forge import Forge
from tests.support.issuer import Caller, Issuer, claims

WHY = "--reason 'ticket 7'"
BOUND = {
    "introspection": START,
    "status_lists": START + 14,
    "node_cut_off": START + 20,
    "no_list_reachable": START + 600,
}


@pytest.fixture
def svc(issuer: Issuer) -> Caller:
    return issuer.client(options=READER)


def active(issuer: Issuer, caller: Caller, token: str) -> bool:
    return bool(issuer.introspect(caller, token).json["active"])


def recorded(issuer: Issuer) -> tuple[int, int]:
    with issuer.runtime.database.read() as connection:
        return changes.now_at(connection).generation, len(audit_since(connection, 0))


def test_a_token_by_its_text_or_its_jti_is_dead_and_its_sibling_is_not(issuer: Issuer, svc: Caller) -> None:
    one, other, kept = (issuer.token(svc) for _ in range(3))
    for token, line, stdin in (
        (one, f"tokens revoke --token - {WHY}", one + "\n"),
        (other, f"tokens revoke --jti {claims(other)['jti']} {WHY}", None),
    ):
        answer = issuer.run(line, stdin)
        assert answer == {
            "changed": True, "realm": "/", "jti": claims(token)["jti"], "revoked_at": START, "accepted_until": BOUND,
            "fresh_refused_until": None,
        }  # fmt: skip
        assert not active(issuer, svc, token)
        assert active(issuer, svc, kept)
        assert issuer.run(line, stdin) == {
            "changed": False, "realm": "/", "jti": claims(token)["jti"], "revoked_at": START,
        }  # fmt: skip
    written = issuer.run("db audit")[-1]
    assert (written["event"], written["target"], written["reason"]) == ("token_revoked", "/", "ticket 7")
    assert written["details"] == {"jti": claims(other)["jti"], "client_id": "svc"}


def test_a_token_names_its_realm_and_one_of_another_key_is_not_found(issuer: Issuer, svc: Caller) -> None:
    issuer.run("realms create /x")
    far = issuer.client("far", READER, "/x")
    token = issuer.token(far)
    assert issuer.run(f"tokens revoke --token - {WHY}", token)["realm"] == "/x"
    assert not active(issuer, far, token)
    mine = issuer.token(svc)
    forged = Forge("ES256", claims(mine)["iss"]).token(claims=claims(mine))
    for stdin, more in ((forged, ""), ("x", ""), (mine, "--realm /x"), (issuer.token(far), "--realm /")):
        found = issuer.command(f"tokens revoke --token - {WHY} {more}", stdin)
        assert (found.exit_code, "that is no token that any " in found.output) == (4, True), found.output
        assert "eyJ" not in found.output
    assert active(issuer, svc, mine)


def test_195_a_token_that_nobody_accepts_any_more_leaves_no_row(issuer: Issuer, svc: Caller) -> None:
    token = issuer.token(svc)
    issuer.clock.advance(600 + 60 + 2 * 60)
    before = recorded(issuer)
    assert issuer.run(f"tokens revoke --token - {WHY}", token)["changed"] is False
    assert recorded(issuer) == before


CLASSES = {
    "client": "--client svc", "secret": "--secret {secret_id}", "realm": "--all",
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_dead_and_what_goes_on_has_fresh_tokens(stored_issuer: Issuer, name: str) -> None:
    issuer = stored_issuer
    made = issuer.run(f"clients create svc {READER}")
    svc, other = Caller("svc", made["client_secret"]), issuer.client("other", READER)
    second = Caller("svc", issuer.run("clients secrets add svc")["client_secret"])
    auditor = issuer.client("auditor", "--scope am-introspect-all-tokens")
    tokens = {"mine": issuer.token(svc), "second": issuer.token(second), "other": issuer.token(other)}
    line = f"tokens revoke {CLASSES[name].format(**made)} --yes {WHY}"
    answer = issuer.run(line)
    named = {"client": {"client_id": "svc"}, "secret": {"secret_id": made["secret_id"]}, "realm": {}}[name]
    fresh = {"status_lists": START + 2, "node_cut_off": START + 20}
    assert answer == {
        "changed": True, "realm": "/", **named, "revoked_at": START, "accepted_until": BOUND,
        "fresh_refused_until": fresh,
    }  # fmt: skip
    dead = {"client": {"mine", "second"}, "secret": {"mine"}, "realm": set(tokens)}[name]
    assert {key for key, token in tokens.items() if not active(issuer, auditor, token)} == dead
    issuer.clock.advance(2)
    for caller in (svc, second, other):
        assert active(issuer, caller, issuer.token(caller))


def test_a_rehearsal_changes_nothing_and_says_so(issuer: Issuer, svc: Caller) -> None:
    token, before = issuer.token(svc), recorded(issuer)
    secret_id = issuer.run("clients secrets list svc")[0]["secret_id"]
    for what, stdin in (
        ("--token -", token), (f"--jti {claims(token)['jti']}", None), ("--client svc", None),
        (f"--secret {secret_id}", None), ("--all", None),
    ):  # fmt: skip
        answer = issuer.run(f"tokens revoke {what} --dry-run {WHY}", stdin)
        assert (answer["changed"], answer["dry_run"]) == (False, True)
        said = issuer.command(f"tokens revoke {what} --dry-run {WHY}", stdin).stdout
        assert said == "a rehearsal; nothing was changed\n"
    assert recorded(issuer) == before
    assert active(issuer, svc, token)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (f"tokens revoke {WHY}", 2, "say exactly one of"),
        (f"tokens revoke --jti x --client svc {WHY}", 2, "say exactly one of"),
        (f"tokens revoke --token eyJhbGciOiJFUzI1NiJ9.e30.c2ln {WHY}", 2, "--token - takes it from standard input"),
        ("tokens revoke --client svc --yes", 2, "--reason"),
        (f"tokens revoke --jti short {WHY}", 2, "no jti of a token that was issued here"),
        (f"tokens revoke --client nobody {WHY}", 4, "there is no client nobody"),
        (f"tokens revoke --secret sec1 {WHY}", 4, "sec1"),
        (f"tokens revoke --all --realm /nobody {WHY}", 4, "there is no realm /nobody"),
        (f"tokens revoke --client svc {WHY}", 2, "Revoke every token of client svc of /?"),
        (f"tokens revoke --all {WHY}", 2, "Revoke every token of /?"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    issuer: Issuer, svc: Caller, line: str, code: int, said: str
) -> None:
    token, before = issuer.token(svc), recorded(issuer)
    found = issuer.command(line)
    assert (found.exit_code, said in found.output, "eyJ" in found.output) == (code, True, False), found.output
    assert recorded(issuer) == before
    assert active(issuer, svc, token)


def test_people_read_until_when_who_may_still_accept_it(issuer: Issuer, svc: Caller) -> None:
    said = issuer.command(f"tokens revoke --client svc --yes {WHY}").stdout
    assert said == (
        "every token of client svc of / is revoked\n"
        "Introspection refuses it from now on.\n"
        "An API that reads status lists may accept it until 2026-11-23 02:13:34Z (14 s),\n"
        "while a node is cut off from the database until 2026-11-23 02:13:40Z (20 s);\n"
        "one that reaches no list until 2026-11-23 02:23:20Z (10 min), one that reads none until it expires.\n"
        "A fresh token of what goes on may be refused until 2026-11-23 02:13:22Z (2 s),\n"
        "one that a node cut off from the database issues until 2026-11-23 02:13:40Z (20 s).\n"
    )
    jti = claims(issuer.token(svc))["jti"]
    assert "fresh" not in issuer.command(f"tokens revoke --jti {jti} {WHY}").stdout
    assert issuer.command(f"tokens revoke --jti {jti} {WHY}").stdout == (
        f"token {jti} of / is dead already; nothing was changed\n"
    )


def test_the_bounds_follow_the_settings(make_issuer: Callable[..., Issuer]) -> None:
    issuer = make_issuer(SNAPSHOT_REFRESH="5")
    issuer.runtime.boot()
    answer = issuer.run(f"tokens revoke --all --yes {WHY}")
    assert answer["accepted_until"]["status_lists"] == START + 5 + 12
    assert answer["fresh_refused_until"] == {"status_lists": START + 5, "node_cut_off": START + 50}


def test_every_command_that_cuts_off_says_the_same_of_when(issuer: Issuer) -> None:
    issuer.run("realms create /x")
    made = issuer.run(f"clients create svc {READER}")
    secret = made["secret_id"]
    kept = issuer.run("clients secrets add svc")["secret_id"]
    for line, told in (
        (f"clients secrets revoke svc {kept} --keep-tokens --yes", False),
        (f"clients secrets revoke svc {secret} --yes --dry-run", False),
        (f"clients secrets revoke svc {secret} --yes", True),
        ("clients disable svc --dry-run", False),
        ("clients disable svc", True),
        ("clients disable svc", False),  # it is so already
        ("clients enable svc", False),
        ("clients delete svc --yes", True),
        ("realms disable /x", True),
        ("realms delete /x --yes", True),
    ):
        answer: dict[str, Any] = issuer.run(line) if "dry" in line or not told else {}
        if told:
            found = issuer.command(line)
            assert "Introspection refuses it from now on.\n" in found.stderr, line
            assert "until 2026-11-23 02:13:34Z (14 s)" in found.stderr, line
            assert "Introspection" not in found.stdout
        else:
            assert "accepted_until" not in answer, line
    issuer.run("realms create /y")
    assert issuer.run("realms disable /y")["accepted_until"] == BOUND
    assert issuer.run("realms delete /y --yes")["accepted_until"] == BOUND


def test_a_token_of_a_revoked_key_and_one_without_an_index_of_ours_are_told_apart(issuer: Issuer, svc: Caller) -> None:
    other = resigned(issuer, issuer.token(svc), jti="0123456789abcdef")
    found = issuer.command(f"tokens revoke --token - {WHY}", other)
    assert (found.exit_code, "no jti of a token that was issued here" in found.output) == (2, True)
