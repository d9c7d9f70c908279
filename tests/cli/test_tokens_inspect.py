"""flask tokens inspect: what there is to see of a token, whoever made it and whatever became of it; never its text."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.issuer.conftest import READER
from tests.issuer.test_introspection import resigned
from tests.support.clock import START
from tests.support.forge import Forge
from tests.support.issuer import Caller, Issuer, claims, header


@pytest.fixture
def svc(issuer: Issuer) -> Caller:
    return issuer.client(options=READER)


def inspected(issuer: Issuer, token: str, code: int, more: str = "") -> dict[str, Any]:
    found = issuer.command(f"tokens inspect --json {more}", token)
    assert found.exit_code == code, found.output
    check_hidden(token, found.output)
    shown: dict[str, Any] = json.loads(found.stdout)
    return shown


def check_hidden(token: str, output: str) -> None:
    for part in token.split("."):
        assert len(part) < 16 or part not in output


def test_a_live_token_is_shown_whole(issuer: Issuer, svc: Caller) -> None:
    token = issuer.token(svc)
    issuer.clock.advance(100)
    said, status = claims(token), claims(token)["status"]["status_list"]
    list_number = int(status["uri"].rpartition("/")[2])
    assert inspected(issuer, token, 0) == {
        "active": True, "fails": None, "message": None, "realm": "/", "header": header(token), "claims": said,
        "key": {"kid": header(token)["kid"], "state": "active", "verified": True},
        "status": {"list_number": list_number, "position": status["idx"], "place": "open", "revoked": False, "is_set": False},
        "inspected_at": START + 100,
    }  # fmt: skip
    shown = issuer.command("tokens inspect -", token)
    check_hidden(token, shown.output)
    for line in (
        "issued      2026-11-23 02:13:20Z (1 min 40 s ago)\n",
        "valid from  2026-11-23 02:13:20Z (1 min 40 s ago)\n",
        "expires     2026-11-23 02:23:20Z (in 8 min 20 s)\n",
        "realm       /\n",
        f"key         {header(token)['kid']} made the signature; it is active\n",
        f"status      not set; index {status['idx']} of list {list_number}, range open\n",
        "active      yes\n",
    ):
        assert line in shown.stdout, shown.stdout
    assert issuer.command(f"tokens inspect {token}").stdout == shown.stdout


def killed(issuer: Issuer, svc: Caller) -> dict[str, tuple[Callable[[], object], str, str]]:
    """What is done to a token of svc; the rule that it fails then, and where its bit lies."""
    return {
        "revoked": (lambda: issuer.revoke(svc, TOKENS["it"]), "revoked", "open"),
        "client": (lambda: issuer.run("tokens revoke --client svc --yes --reason x"), "range_ended", "ended"),
        "realm": (lambda: issuer.run("tokens revoke --all --yes --reason x"), "no_range", "below the floor"),
        "disabled": (lambda: issuer.run("clients disable svc"), "range_ended", "ended"),
        "deleted": (lambda: issuer.run("clients delete svc --yes"), "range_ended", "ended"),
        "key": (lambda: issuer.run(f"keys revoke {header(TOKENS['it'])['kid']} --reason x --yes"), "unknown_key_or_type", "open"),
        "expired": (lambda: issuer.clock.advance(600), "expired", "open"),
    }  # fmt: skip


TOKENS: dict[str, str] = {}


@pytest.mark.parametrize("how", ["revoked", "client", "realm", "disabled", "deleted", "key", "expired"])
def test_the_first_rule_that_a_dead_token_fails_is_named_and_is_the_one_of_introspection(
    issuer: Issuer, svc: Caller, how: str
) -> None:
    TOKENS["it"] = token = issuer.token(svc)
    kill, fails, place = killed(issuer, svc)[how]
    kill()
    issuer.clock.advance(2)
    shown = inspected(issuer, token, 1)
    assert (shown["active"], shown["fails"], shown["status"]["place"]) == (False, fails, place)
    assert shown["status"]["is_set"] is (how not in ("key", "expired"))
    assert shown["status"]["revoked"] is (how == "revoked")
    assert shown["key"]["verified"] is True
    assert shown["key"]["state"] == ("revoked" if how == "key" else "active")
    auditor = issuer.client("auditor", "--scope am-introspect-all-tokens")
    assert issuer.introspect(auditor, token).json == {"active": False}
    said = issuer.command("tokens inspect", token)
    assert said.exit_code == 1
    assert f"active      no: {shown['message']}\n" in said.stdout
    assert shown["message"] != fails or fails == "revoked"


def test_foreign_and_malformed_texts_are_shown_as_far_as_they_can_be_read(issuer: Issuer, svc: Caller) -> None:
    mine = issuer.token(svc)
    foreign = Forge("ES256", "https://elsewhere.example").token()
    shown = inspected(issuer, foreign, 1)
    assert (shown["fails"], shown["realm"], shown["key"], shown["status"]) == ("other_issuer", None, None, None)
    assert shown["claims"] == claims(foreign)
    forged = Forge("ES256", claims(mine)["iss"]).token(header=header(mine), claims=claims(mine))
    shown = inspected(issuer, forged, 1)
    assert (shown["fails"], shown["key"]["verified"], shown["realm"]) == ("signature", False, "/")
    assert "did not make the signature" in issuer.command("tokens inspect", forged).stdout
    shown = inspected(issuer, Forge("ES256", claims(mine)["iss"]).token(claims=claims(mine)), 1)
    assert (shown["fails"], shown["key"]) == ("unknown_key_or_type", None)
    assert shown["message"] == "no key of this name was ever the realm's"
    for text, fails in (("x", "malformed"), ("rmt_x", "malformed"), ("a.b.c", "malformed"), ("x" * 9000, "too_large")):
        shown = inspected(issuer, text, 1)
        assert (shown["fails"], shown["header"], shown["claims"]) == (fails, None, None)
        assert issuer.command("tokens inspect -", text).exit_code == 1


def test_a_realm_that_is_named_is_the_one_it_is_held_against(issuer: Issuer, svc: Caller) -> None:
    issuer.run("realms create /x")
    token = issuer.token(svc)
    shown = inspected(issuer, token, 1, "--realm /x")
    assert (shown["realm"], shown["fails"]) == ("/x", "unknown_key_or_type")
    gone = resigned(issuer, token, iss=claims(token)["iss"] + "/realms/nobody")
    shown = inspected(issuer, gone, 1)
    assert (shown["realm"], shown["fails"]) == ("/nobody", "realm_ended")


def test_a_realm_that_is_named_and_not_there_is_not_found(issuer: Issuer, svc: Caller) -> None:
    opaque = issuer.token(issuer.client("stored", "--token-format opaque --scope read --default-scope read"))
    for token in (issuer.token(svc), opaque):
        found = issuer.command("tokens inspect --realm /nobody", token)
        assert (found.exit_code, "there is no realm /nobody" in found.output) == (4, True), found.output
        check_hidden(token, found.output)


def test_an_opaque_token_is_shown_with_its_realm_and_one_that_no_realm_holds_in_words(issuer: Issuer) -> None:
    issuer.run("realms create /x")
    token = issuer.token(issuer.client("stored", "--token-format opaque --scope read --default-scope read"))
    assert "realm       /\n" in issuer.command("tokens inspect", token).stdout
    said = issuer.command("tokens inspect --realm /x", token).stdout
    assert said == "realm       /x\nactive      no: the realm holds no such opaque token, or it has expired\n"


@pytest.mark.parametrize("stdin", ["", "\n", " \n"])
def test_no_token_on_standard_input_is_said_so(issuer: Issuer, stdin: str) -> None:
    for line in ("tokens inspect", "tokens inspect -", "tokens revoke --token - --reason x"):
        found = issuer.command(line, stdin)
        assert (found.exit_code, "there is no token on standard input" in found.output) == (2, True), found.output
        assert json.loads(issuer.command(f"{line} --json", stdin).stdout)["error"] == "usage"


@pytest.mark.parametrize("value", [True, None, -1, 1e300, "soon", [1], {"a": 1}, 253402300800])
def test_198_whatever_stands_where_an_instant_belongs_is_shown(issuer: Issuer, svc: Caller, value: object) -> None:
    token = Forge("ES256", claims(issuer.token(svc))["iss"]).token(claims={"exp": value, "iat": value, "jti": value})
    said = issuer.command("tokens inspect", token)
    assert said.exit_code == 1, said.output
    assert "which is no instant" in said.stdout


def test_without_a_database_it_says_so_and_makes_none(
    make_issuer: Callable[..., Issuer], issuer: Issuer, svc: Caller
) -> None:
    token, elsewhere = issuer.token(svc), make_issuer("elsewhere")
    found = elsewhere.command("tokens inspect --json", token)
    assert (found.exit_code, json.loads(found.stdout)["error"]) == (6, "no_schema")
    assert not elsewhere.runtime.database.path.exists()
