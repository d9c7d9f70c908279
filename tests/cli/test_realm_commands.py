"""flask realms: through the command line, on both engines where the store is meant."""

import json

import pytest

from issuer.realms import REALM_DEFAULTS
from issuer.storage import changes
from tests.support.issuer import Issuer, claims, header

SHAPE = {
    "realm", "issuer", "enabled", "signing_algs", "access_token_lifetime", "max_access_token_lifetime",
    "default_audience", "scopes", "default_scopes", "token_format",
}  # fmt: skip


def test_a_new_realm_has_its_own_issuer_an_active_key_and_a_standby(stored_issuer: Issuer) -> None:
    made = stored_issuer.run("realms create /customers/eu --alg RS256 --alg ES256 --access-token-lifetime 15m")
    assert set(made) >= SHAPE | {"changed"}
    assert made["issuer"] == "https://issuer.example/oauth2/realms/root/realms/customers/realms/eu"
    assert made["default_audience"] == [made["issuer"]]
    assert made["access_token_lifetime"] == 900
    keys = stored_issuer.run("keys list --realm /customers/eu")
    assert sorted((key["alg"], key["state"]) for key in keys) == [
        ("ES256", "active"), ("ES256", "published"), ("RS256", "active"), ("RS256", "published"),
    ]  # fmt: skip
    caller = stored_issuer.client(options="--scope read --default-scope read", realm="/customers/eu")
    token = stored_issuer.token(caller)
    assert header(token)["alg"] == "RS256"  # the first signs
    assert claims(token)["exp"] - claims(token)["iat"] == 900


def test_203_realms_that_differ_only_by_case_are_refused(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /Customers")
    refused = stored_issuer.command("realms create /customers --json")
    assert refused.exit_code == 8
    answer = json.loads(refused.stdout)
    assert (answer["error"], answer["message"]) == ("already_exists", "there is a realm /Customers already")
    assert stored_issuer.command("realms create /customers --if-missing").exit_code == 8  # it is another
    again = stored_issuer.run("realms create /Customers --if-missing --access-token-lifetime 60")
    assert (again["changed"], again["realm"], again["access_token_lifetime"]) == (False, "/Customers", 600)


@pytest.mark.parametrize(
    "path",
    ["customers", "", "//", "/a//b", "/a/", "/..", "/a/../b", "/.hidden", "/-a", "/a%2Fb", "/ä", "/a b", "/root", "/Realms",
     "/customers/access_token", "/.well-known", "/" + "a" * 64, "/a" * 9],
)  # fmt: skip
def test_203_paths_that_are_no_realms_are_refused(issuer: Issuer, path: str) -> None:
    refused = issuer.command(f"realms create '{path}' --json")
    assert refused.exit_code == 2, refused.output
    assert [realm["realm"] for realm in issuer.run("realms list")] == ["/"]


def test_the_deepest_and_the_longest_path_are_accepted(issuer: Issuer) -> None:
    issuer.run("realms create " + "/a" * 8)
    issuer.run("realms create /" + "a" * 63)


def test_update_changes_what_is_named_and_nothing_else(stored_issuer: Issuer) -> None:
    before = stored_issuer.run("realms show /")
    after = stored_issuer.run("realms update / --access-token-lifetime 300 --scope 'read write' --default-scope read")
    assert {name for name in SHAPE if before[name] != after[name]} == {
        "access_token_lifetime",
        "scopes",
        "default_scopes",
    }
    assert stored_issuer.run('realms update / --scope ""')["scopes"] == []


def test_a_lifetime_above_the_cap_is_refused(issuer: Issuer) -> None:
    assert issuer.command("realms update / --access-token-lifetime 2h").exit_code == 2
    issuer.run("realms update / --access-token-lifetime 2h --max-access-token-lifetime 2h")


def test_an_algorithm_added_later_is_published_first_and_signs_after_its_gate(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms update / --alg RS256 --alg ES256")
    assert ("RS256", "published") in {(key["alg"], key["state"]) for key in stored_issuer.run("keys list")}
    caller = stored_issuer.client(options="--scope read --default-scope read")
    stored_issuer.clock.advance(3)
    assert header(stored_issuer.token(caller))["alg"] == "ES256"  # no RS256 key may sign yet
    assert stored_issuer.command("keys rotate --alg RS256").exit_code == 3
    stored_issuer.clock.advance(20 + 86400 + 5)
    stored_issuer.run("keys rotate --alg RS256")
    stored_issuer.clock.advance(3)
    assert header(stored_issuer.token(caller))["alg"] == "RS256"


def test_a_disabled_realm_refuses_tokens_and_serves_its_keys(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /customers")
    caller = stored_issuer.client(options="--scope read --default-scope read", realm="/customers")
    token = stored_issuer.token(caller)
    assert stored_issuer.run("realms disable /customers")["enabled"] is False
    stored_issuer.clock.advance(3)
    assert stored_issuer.token_response(caller).status_code == 401
    assert stored_issuer.http.get(stored_issuer.address("/connect/jwk_uri", "/customers")).status_code == 200
    stored_issuer.run("realms enable /customers")
    stored_issuer.clock.advance(3)
    assert stored_issuer.token_response(caller).status_code == 200
    # Enabling never clears the cut-off.
    assert stored_issuer.introspect(caller, token).json == {"active": False}


def test_204_a_realm_made_again_under_its_name_revives_nothing(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /customers")
    caller = stored_issuer.client(options="--scope read --default-scope read", realm="/customers")
    token = stored_issuer.token(caller)
    kids = {key["kid"] for key in stored_issuer.run("keys list --realm /customers")}
    stored_issuer.run("realms delete /customers --yes")
    stored_issuer.clock.advance(3)
    assert stored_issuer.token_response(caller).status_code == 404
    stored_issuer.run("realms create /customers")
    stored_issuer.clock.advance(3)
    assert stored_issuer.token_response(caller).status_code == 401
    again = stored_issuer.client(options="--scope read --default-scope read", realm="/customers")
    stored_issuer.clock.advance(3)
    assert stored_issuer.introspect(again, token).json == {"active": False}
    assert not kids & {key["kid"] for key in stored_issuer.run("keys list --realm /customers")}


def test_a_realm_with_realms_below_it_is_not_deleted(issuer: Issuer) -> None:
    issuer.run("realms create /customers")
    issuer.run("realms create /customers/eu")
    refused = issuer.command("realms delete /customers --yes --json")
    assert refused.exit_code == 2
    assert json.loads(refused.stdout)["error"] == "not_empty"


def test_where_nobody_can_be_asked_deleting_needs_yes(issuer: Issuer) -> None:
    issuer.run("realms create /customers")
    assert issuer.command("realms delete /customers").exit_code == 2
    assert len(issuer.run("realms list")) == 2


def test_dry_run_checks_everything_and_changes_nothing(stored_issuer: Issuer) -> None:
    assert stored_issuer.run("realms create /customers --dry-run")["realm"] == "/customers"
    stored_issuer.runtime.database.rehearsing = False
    assert [realm["realm"] for realm in stored_issuer.run("realms list")] == ["/"]
    assert stored_issuer.command("realms create /root --dry-run").exit_code == 2


def test_an_unknown_realm_is_exit_code_4(issuer: Issuer) -> None:
    for line in (
        "realms show /nope",
        "clients list --realm /nope",
        "keys list --realm /nope",
        "keys rotate --realm /nope",
    ):
        refused = issuer.command(line + " --json")
        assert refused.exit_code == 4, line
        assert json.loads(refused.stdout)["error"] == "not_found"


def test_people_get_tables(issuer: Issuer) -> None:
    assert "LIFETIME" in issuer.command("realms list").stdout
    assert "NEXT" in issuer.command("keys list").stdout


def test_the_size_of_rsa_keys_is_the_realms(issuer: Issuer) -> None:
    issuer.run("realms create /large --alg RS256 --rsa-bits 3072")
    keys = issuer.http.get(issuer.address("/connect/jwk_uri", "/large")).json["keys"]
    assert {len(key["n"]) for key in keys} == {512}  # 3072 bits in base64url


def test_what_a_command_says_to_people_ends_with_the_outcome(issuer: Issuer) -> None:
    issuer.run("realms create /customers")
    issuer.client(realm="/customers", options="--scope read")
    assert issuer.command("clients delete svc --realm /customers --yes").stdout == "svc of /customers is deleted\n"
    assert issuer.command("realms delete /customers --yes").stdout == "/customers is deleted\n"


@pytest.mark.parametrize("audience", ["\udcff", "é", "a\x00b", "x" * 1001])
def test_an_audience_that_could_not_stand_in_a_token_is_refused(issuer: Issuer, audience: str) -> None:
    runner = issuer.app.test_cli_runner()
    for line in (["realms", "update", "/"], ["realms", "create", "/x"], ["clients", "create", "svc"]):
        assert runner.invoke(args=[*line, "--default-audience", audience]).exit_code == 2
    assert issuer.run("realms show /")["default_audience"] == ["https://issuer.example/oauth2/realms/root"]


def test_an_update_that_says_nothing_new_changes_nothing(stored_issuer: Issuer) -> None:
    before = stored_issuer.run("realms show /")
    with stored_issuer.runtime.database.read() as connection:
        generation = changes.now_at(connection)
    for options in ("", "--access-token-lifetime 600", "--alg ES256 --rsa-bits 2048 --no-am-sub-prefix"):
        assert stored_issuer.run(f"realms update / {options}") == {"changed": False, **before}
    stored_issuer.client()
    with stored_issuer.runtime.database.read() as connection:
        generation = changes.now_at(connection)
    assert stored_issuer.run("clients update svc --scope 'write read'")["changed"] is False
    with stored_issuer.runtime.database.read() as connection:
        assert changes.now_at(connection) == generation


def test_show_has_every_setting_that_can_be_made(stored_issuer: Issuer) -> None:
    made = stored_issuer.run("realms create /am --alg RS256 --rsa-bits 3072 --am-sub-prefix --token-format am")
    assert (made["rsa_bits"], made["am_sub_prefix"]) == (3072, True)
    shown = stored_issuer.run("realms show /am")
    assert {"changed": True, **shown} == made
    assert set(shown) >= REALM_DEFAULTS.keys()


@pytest.mark.parametrize(
    "line",
    ["realms create /x", "realms update / --access-token-lifetime 60", "realms disable /", "realms delete /b", "clients create x",
     "clients update svc --name x", "clients disable svc", "clients delete svc", "clients secrets add svc",
     "keys rotate", "keys generate --pending", "keys rewrap", "keys prune"],
)  # fmt: skip
def test_a_rehearsal_says_that_it_is_one_and_changes_nothing(issuer: Issuer, line: str) -> None:
    issuer.run("realms create /b")
    issuer.client()
    before = [issuer.run(f"{group} list") for group in ("realms", "clients", "keys")]
    rehearsed = issuer.run(f"{line} --dry-run")
    issuer.runtime.database.rehearsing = False
    assert (rehearsed["changed"], rehearsed["dry_run"]) == (False, True)
    assert "client_secret" not in rehearsed
    assert [issuer.run(f"{group} list") for group in ("realms", "clients", "keys")] == before
    if line.startswith(("realms", "clients")):
        assert issuer.command(f"{line} --dry-run").stdout.rstrip().endswith("a rehearsal; nothing was changed")


def test_create_if_missing_says_what_is_there_and_makes_what_is_not(issuer: Issuer) -> None:
    made = issuer.run("clients create svc --scope read --if-missing")
    assert made["client_secret"]
    again = issuer.run("clients create svc --scope write --if-missing")
    assert (again["changed"], again["scopes"], "client_secret" in again) == (False, ["read"], False)
    refused = issuer.command("clients create svc --json")
    assert (refused.exit_code, json.loads(refused.stdout)["message"]) == (8, "there is a client svc already")
    assert issuer.run("realms create / --if-missing")["changed"] is False
