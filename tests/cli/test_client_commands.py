"""flask clients and flask clients secrets, on both engines where the store is meant."""

import json
import re

import pytest

from tests.support.issuer import Caller, Issuer, claims

SHAPE = {
    "realm", "client_id", "name", "enabled", "scopes", "default_scopes", "audiences", "default_audience",
    "resource_identifiers", "auth_method", "created_at", "last_used_at",
}  # fmt: skip
READER = "--scope read --default-scope read"


def test_a_new_client_prints_its_secret_once_and_it_works(stored_issuer: Issuer) -> None:
    made = stored_issuer.run("clients create svc --scope 'read write' --default-scope read --name 'The service'")
    assert set(made) >= SHAPE | {"client_secret", "secret_id", "changed"}
    assert re.fullmatch(r"rms_[A-Za-z0-9_-]{49}", made["client_secret"])
    assert made["scopes"] == ["read", "write"]
    assert stored_issuer.token(Caller("svc", made["client_secret"]))
    shown = stored_issuer.command("clients show svc --json").stdout + stored_issuer.command("clients list").stdout
    assert made["client_secret"] not in shown


def test_a_client_without_a_name_gets_one(issuer: Issuer) -> None:
    assert re.fullmatch(r"client-[0-9a-f]{16}", issuer.run("clients create")["client_id"])


def test_a_warning_says_when_nobody_names_an_audience(issuer: Issuer) -> None:
    assert "audience" in issuer.command("clients create one --scope read").stderr
    assert issuer.command("clients create two --scope read --default-audience https://orders.example").stderr == ""
    assert issuer.command("clients create api --resource-identifier https://orders.example").stderr == ""


def test_an_audience_is_a_name_or_a_uri_wherever_one_is_registered(issuer: Issuer) -> None:
    names = ["https://orders.example", "kubernetes.default.svc", "rabbitmq", "urn:example:stock", "api://0a1b/x"]
    given = " ".join(f"--audience {name} --default-audience {name}" for name in names)
    made = issuer.run(f"clients create svc --scope read {given}")
    assert (made["audiences"], made["default_audience"]) == (names, names)


def test_an_imported_secret_works_by_both_methods_and_is_never_printed(stored_issuer: Issuer) -> None:
    made = stored_issuer.run(f"clients create myClient {READER} --secret-stdin", "forgerock\n")
    assert "client_secret" not in made
    caller = Caller("myClient", "forgerock")
    assert stored_issuer.token(caller)
    form = {"grant_type": "client_credentials", **caller.post}
    assert stored_issuer.post("/access_token", form).status_code == 200


@pytest.mark.parametrize(
    "secret", ["", "short", "rms_looks-like-one-of-ours", " padded secret", "tab\tinside it", "x" * 2000]
)
def test_a_secret_that_cannot_be_imported_is_refused_and_not_quoted(issuer: Issuer, secret: str) -> None:
    refused = issuer.command("clients create svc --secret-stdin --json", secret)
    assert refused.exit_code == 2, refused.output
    assert not secret or secret not in refused.output
    assert issuer.run("clients list") == []


@pytest.mark.parametrize(
    "options",
    ["--scope 'a\"b'", "--default-scope read", "--audience é", f"--audience {'x' * 1001}",
     "--signing-alg RS256", "--access-token-lifetime 2h", "--auth-method none", "--grant-type password",
     "--scope am-introspect-all-tokens --default-scope am-introspect-all-tokens", "--default-audience é",
     f"--resource-identifier {'x' * 1001}"],
)  # fmt: skip
def test_a_registration_that_could_not_work_is_refused(issuer: Issuer, options: str) -> None:
    assert issuer.command(f"clients create svc {options}").exit_code == 2
    assert issuer.run("clients list") == []


@pytest.mark.parametrize("client_id", ["", "-x", "a b", 'a"b', "é", "a\\b", "x" * 256])
def test_a_client_id_that_would_not_survive_headers_and_logs_is_refused(issuer: Issuer, client_id: str) -> None:
    assert issuer.app.test_cli_runner().invoke(args=["clients", "create", "--", client_id]).exit_code == 2


def test_update_changes_what_is_named_and_is_in_force_at_once_here_and_soon_elsewhere(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    caller = stored_issuer.client(options=READER)
    assert second_node.token(caller)
    stored_issuer.run("clients update svc --access-token-lifetime 60 --default-audience https://orders.example")
    second_node.clock.advance(2)
    token = claims(second_node.token(caller))
    assert (token["exp"] - token["iat"], token["aud"]) == (60, "https://orders.example")


def test_a_disabled_client_is_refused_and_its_tokens_are_inactive_even_when_enabled_again(
    stored_issuer: Issuer,
) -> None:
    caller = stored_issuer.client(options=READER)
    api = stored_issuer.client("api", "--scope am-introspect-all-tokens")
    token = stored_issuer.token(caller)
    assert stored_issuer.introspect(api, token).json["active"] is True
    stored_issuer.run("clients disable svc")
    assert stored_issuer.introspect(api, token).json == {"active": False}  # read afresh, no waiting
    stored_issuer.clock.advance(2)
    assert stored_issuer.token_response(caller).status_code == 401
    stored_issuer.run("clients enable svc")
    stored_issuer.clock.advance(2)
    assert stored_issuer.introspect(api, token).json == {"active": False}
    assert stored_issuer.introspect(api, stored_issuer.token(caller)).json["active"] is True


def test_disabling_twice_changes_nothing_the_second_time(issuer: Issuer) -> None:
    issuer.client()
    assert [issuer.run("clients disable svc")["changed"] for _ in range(2)] == [True, False]


def test_204_a_client_made_again_under_its_name_gets_nothing_of_the_old_one(stored_issuer: Issuer) -> None:
    old = stored_issuer.client(options=READER)
    token = stored_issuer.token(old)
    stored_issuer.run("clients delete svc --yes")
    stored_issuer.clock.advance(2)
    assert stored_issuer.token_response(old).status_code == 401
    new = stored_issuer.client(options=READER)
    stored_issuer.clock.advance(2)
    assert stored_issuer.token_response(old).status_code == 401
    assert stored_issuer.introspect(new, token).json == {"active": False}
    assert stored_issuer.introspect(new, stored_issuer.token(new)).json["active"] is True


def test_47_old_and_new_secret_live_side_by_side_until_the_cut_off_on_every_process(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    old = stored_issuer.client(options=READER)
    made = stored_issuer.run("clients secrets add svc --overlap 1h")
    new = Caller("svc", made["client_secret"])
    second_node.clock.advance(3599)
    for node in (stored_issuer, second_node):
        assert [node.token_response(caller).status_code for caller in (old, new)] == [200, 200]
    second_node.clock.advance(1)
    for node in (stored_issuer, second_node):
        assert [node.token_response(caller).status_code for caller in (old, new)] == [401, 200]


def test_a_revoked_secret_is_dead_on_every_process_within_a_refresh(stored_issuer: Issuer, second_node: Issuer) -> None:
    caller = stored_issuer.client(options=READER)
    assert second_node.token(caller)
    (secret,) = stored_issuer.run("clients secrets list svc")
    stored_issuer.run(f"clients secrets revoke svc {secret['secret_id']} --yes")
    second_node.clock.advance(2)
    for node in (stored_issuer, second_node):
        assert node.token_response(caller).status_code == 401
    assert stored_issuer.run("clients secrets list svc") == []
    assert stored_issuer.command(f"clients secrets revoke svc {secret['secret_id']} --yes").exit_code == 4


def test_a_secret_with_an_end_stops_there(stored_issuer: Issuer) -> None:
    made = stored_issuer.run(f"clients create svc {READER} --expires-in 1h")
    caller = Caller("svc", made["client_secret"])
    stored_issuer.clock.advance(3599)
    assert stored_issuer.token_response(caller).status_code == 200
    stored_issuer.clock.advance(1)
    assert stored_issuer.token_response(caller).status_code == 401


def test_last_used_marks_show_who_is_unused(stored_issuer: Issuer) -> None:
    used, _ = stored_issuer.client("used", READER), stored_issuer.client("idle", READER)
    stored_issuer.clock.advance(31 * 86400)
    stored_issuer.token(used)
    stored_issuer.runtime.registry.marks.flush()
    assert stored_issuer.run("clients show used")["last_used_at"] == stored_issuer.clock.now
    assert [client["client_id"] for client in stored_issuer.run("clients list --unused-for 30d")] == ["idle"]
    report = stored_issuer.command("clients health --json")
    assert report.exit_code == 1
    found = [(each["client_id"], each["kind"]) for each in json.loads(report.stdout) if each["kind"] != "no_audience"]
    assert found == [("idle", "never_used")]


def test_health_finds_secrets_that_are_dead_or_about_to_be(issuer: Issuer) -> None:
    issuer.run("clients create dying --expires-in 1h")
    assert json.loads(issuer.command("clients health --json").stdout)[0]["finding"] == (
        "its last secret expires within 14 days"
    )
    issuer.clock.advance(3600)
    assert json.loads(issuer.command("clients health --json").stdout)[0]["finding"] == "has no live secret"


def test_206_a_client_of_another_realm_is_not_found(issuer: Issuer) -> None:
    issuer.run("realms create /customers")
    issuer.client()
    for line in ("show svc", "update svc --name x", "disable svc", "delete svc --yes", "secrets list svc"):
        assert issuer.command(f"clients {line} --realm /customers").exit_code == 4, line


def test_dry_run_makes_no_client_and_shows_no_secret(issuer: Issuer) -> None:
    shown = issuer.run("clients create svc --dry-run")
    assert "client_secret" not in shown
    issuer.runtime.database.rehearsing = False
    assert issuer.run("clients list") == []


def test_a_comma_in_a_scope_is_warned_of(issuer: Issuer) -> None:
    made = issuer.command("clients create svc --scope a,b")
    assert (made.exit_code, "is one scope value; several are separated by spaces" in made.stderr) == (0, True)
    assert issuer.run("clients show svc")["scopes"] == ["a,b"]


@pytest.mark.parametrize("option", ["--scope", "--default-audience", "--scope x --default-scope"])
def test_what_no_token_or_request_could_hold_is_refused_with_the_reason(issuer: Issuer, option: str) -> None:
    values = " ".join(f"https://api-number-{n}.example" for n in range(300))
    for command in ("clients create svc", "realms update /"):
        refused = issuer.command(f"{command} {option} '{values}'")
        assert refused.exit_code == 2
        assert re.search(r"have [0-9]{4,5} characters; (no request can name|a token holds)", refused.output), (
            refused.output
        )
    assert issuer.run("clients list") == []


def test_the_longest_defaults_that_are_accepted_fit_a_token(issuer: Issuer) -> None:
    audiences = " ".join(f"https://api-{n:03}.example" for n in range(70))
    scopes = " ".join(f"scope:{n:03}" for n in range(300))
    options = f"--default-audience '{audiences}' --scope '{scopes}' --default-scope '{scopes[:2699]}'"
    caller = issuer.client("svc", options)
    assert len(claims(issuer.token(caller))["aud"]) == 70
