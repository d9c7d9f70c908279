"""Realms that cannot reach each other, and what operators can do: facts/security.md section O."""

import json
from importlib.metadata import version
from typing import Any

import pytest

from issuer.endpoints import ENDPOINTS
from issuer.realms import RESERVED
from tests.issuer.conftest import READER, House
from tests.support.issuer import Caller, Issuer, claims, header
from tests.support.wire import JSON, PRIVATE, assert_inactive, assert_refused, headers


@pytest.mark.parametrize("suffix", ["/access_token", "/introspect"])
@pytest.mark.parametrize("how", ["basic", "post"])
def test_202_a_client_of_one_realm_is_unknown_in_another_whatever_it_says(house: House, suffix: str, how: str) -> None:
    form = {"grant_type": "client_credentials", "scope": "read", "token": "x"}
    for name, there in (("svc", "/customers"), ("elsewhere", "/")):
        caller = house[name]
        for trick in ({}, {"realm": caller.realm}, {"iss": "x"}, {"organization": caller.realm}, {"module": "x"}):
            sent = form | trick | (caller.post if how == "post" else {})
            header_ = caller.basic if how == "basic" else {}
            assert_refused(house.issuer.post(suffix, sent, header_, there), "invalid_client", realm=there)
        for client_id in (f"{caller.realm}/{name}", f"{caller.realm}:{name}", f"{name}@{caller.realm}"):
            tricky = Caller(client_id, caller.secret, there)
            assert house.issuer.post(suffix, form, tricky.basic, there).status_code == 401


def test_202_two_realms_may_hold_clients_of_one_name_that_share_nothing(issuer: Issuer) -> None:
    issuer.run("realms create /x")
    here, there = issuer.client(options=READER), issuer.client(options=READER, realm="/x")
    assert here.secret != there.secret
    swapped = Caller("svc", here.secret, "/x")
    assert_refused(issuer.token_response(swapped), "invalid_client", realm="/x")
    ours, theirs = issuer.token(here), issuer.token(there)
    assert claims(ours)["iss"] != claims(theirs)["iss"]
    assert header(ours)["kid"] != header(theirs)["kid"]
    assert_inactive(issuer.introspect(there, ours))
    assert_inactive(issuer.introspect(here, theirs))


@pytest.mark.parametrize(
    "path",
    ["", "x", "//", "/x/", "/x//y", "/.", "/..", "/x/..", "/x/../y", "/%78", "/x%2fy", "/x y", "/x\t", "/x\n", "/é",
     "/\uff58", "/x\u200b", "/-x", "/_x", "/.x", "/x:y", "/x\\y", "/x?y", "/x#y", "/" + "a" * 64, "/a" * 9,
     "/root", "/realms", "/Root", "/x/REALMS", "/token", "/status", "/x/Authorize", "/x/y/Connect",
     *sorted({f"/{endpoint.suffix.split('/')[1]}" for endpoint in ENDPOINTS})],
)  # fmt: skip
def test_203_a_path_that_could_be_read_in_two_ways_is_refused_at_creation(issuer: Issuer, path: str) -> None:
    refused = issuer.app.test_cli_runner().invoke(args=["realms", "create", "--json", "--", path])
    assert refused.exit_code == 2, refused.output
    assert [realm["realm"] for realm in issuer.run("realms list")] == ["/"]


def test_203_what_is_reserved_is_the_first_part_of_an_endpoints_address_and_nothing_more(issuer: Issuer) -> None:
    parts = {endpoint.suffix.split("/")[1] for endpoint in ENDPOINTS}
    assert parts >= {"access_token", "introspect", "connect", "authorize", ".well-known"}
    # Revocation and the status lists have their addresses already, though nothing answers there yet.
    assert parts | {"root", "realms", "token", "status"} == RESERVED
    for path in ("/revoke", "/jwk_uri", "/jwks.json", "/authorize2"):
        assert issuer.run(f"realms create {path}")["realm"] == path


def test_203_realms_that_differ_by_case_are_refused_and_prefixes_are_apart(issuer: Issuer) -> None:
    for path in ("/a", "/a/b", "/ab", "/a.b", "/a-b", "/a/b.c"):
        issuer.run(f"realms create {path}")
    for path in ("/A", "/a/B", "/AB"):
        assert issuer.command(f"realms create {path}").exit_code == 8
    paths = [realm["realm"] for realm in issuer.run("realms list")]
    issuers = {realm["issuer"] for realm in issuer.run("realms list")}
    kids = {key["kid"] for path in paths for key in issuer.run(f"keys list --realm {path}")}
    assert (len(paths), len(issuers), len(kids)) == (7, 7, 14)
    caller = issuer.client(options=READER, realm="/a")
    for other in ("/a/b", "/ab", "/a.b", "/"):
        assert_refused(issuer.token_response(Caller("svc", caller.secret, other)), "invalid_client", realm=other)


def test_204_a_realm_or_client_made_again_gets_nothing_of_the_old_one(issuer: Issuer) -> None:
    issuer.run("realms create /x")
    old = issuer.client(options=READER, realm="/x")
    token = issuer.token(old)
    issuer.run("clients delete svc --realm /x --yes")
    new = issuer.client(options=READER, realm="/x")
    issuer.clock.advance(3)
    assert_refused(issuer.token_response(old), "invalid_client", realm="/x")
    assert_inactive(issuer.introspect(new, token))
    kept = issuer.token(new)
    issuer.run("realms delete /x --yes")
    issuer.run("realms create /x")
    again = issuer.client(options=READER, realm="/x")
    issuer.clock.advance(3)
    for caller in (old, new):
        assert_refused(issuer.token_response(caller), "invalid_client", realm="/x")
    for dead in (token, kept):
        assert_inactive(issuer.introspect(again, dead))
    assert issuer.introspect(again, issuer.token(again)).json["active"] is True


def test_205_the_method_that_counts_is_the_one_that_was_used_also_after_an_update(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    form = {"grant_type": "client_credentials"}
    for method, basic, post in (("client_secret_post", 401, 200), ("client_secret_basic", 200, 401)):
        issuer.run(f"clients update svc --auth-method {method}")
        issuer.clock.advance(2)
        assert issuer.token_response(caller).status_code == basic
        assert issuer.token_response(caller, client_assertion_type="x", client_assertion="y").status_code == 400
        assert issuer.post("/access_token", form | caller.post).status_code == post


@pytest.mark.parametrize(
    "line",
    ["clients show {}", "clients update {} --name x", "clients disable {}", "clients enable {}",
     "clients delete {} --yes", "clients secrets list {}", "clients secrets add {}", "clients secrets revoke {} x --yes"],
)  # fmt: skip
def test_206_a_command_in_one_realm_does_not_find_another_realms_client(house: House, line: str) -> None:
    for name, realm in (("svc", "/customers"), ("elsewhere", "/")):
        refused = house.issuer.command(f"{line.format(name)} --realm {realm} --json")
        assert refused.exit_code == 4, refused.output
        assert json.loads(refused.stdout)["error"] == "not_found"


def test_206_a_secret_is_only_revoked_through_its_own_client(house: House) -> None:
    (secret,) = house.issuer.run("clients secrets list other")
    refused = house.issuer.command(f"clients secrets revoke svc {secret['secret_id']} --yes")
    assert refused.exit_code == 4
    assert house.issuer.token_response(house["other"]).status_code == 200


@pytest.mark.parametrize("text", ["' OR 1=1--", "%", "_", "s%", "\\", "svc'; DROP TABLE clients;--"])
def test_206_names_are_literal_in_commands(house: House, text: str) -> None:
    runner = house.issuer.app.test_cli_runner()
    for args in (["clients", "show", "--", text], ["clients", "list", "--realm", text], ["realms", "show", "--", text]):
        assert runner.invoke(args=args).exit_code in (2, 4)
    assert house.issuer.token_response(house["svc"]).status_code == 200


def test_210_health_says_up_and_ready_and_names_nobody(house: House) -> None:
    up = house.issuer.http.get("/healthz")
    assert (up.status_code, up.json, headers(up)) == (200, {"status": "up"}, JSON)
    ready = house.issuer.http.get("/readyz")
    checks = dict.fromkeys(("database", "key_encryption_key", "root_realm", "snapshot"), True)
    assert (ready.status_code, ready.json) == (200, {"status": "ready", "checks": checks})
    for path in ("/healthz", "/readyz"):
        refused = house.issuer.http.post(path)
        assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path", ["/metrics", "/debug", "/console", "/admin", "/config", "/_debug", "/.env", "/server-status"]
)
def test_210_there_is_no_other_door(house: House, path: str) -> None:
    for address in (path, house.issuer.address(path)):
        response = house.issuer.http.get(address)
        assert (response.status_code, response.json["error"]) == (404, "not_found")


FLOORS = {
    "Authlib": (1, 9, 1),
    "joserfc": (1, 7, 4),
    "PyJWT": (2, 13, 0),
    "gunicorn": (23, 0, 0),
    "Werkzeug": (3, 0, 6),
}


@pytest.mark.parametrize("name", FLOORS)
def test_211_no_library_is_below_the_floor_its_advisories_set(name: str) -> None:
    installed = tuple(int(part) for part in version(name).split(".")[:3])
    assert installed >= FLOORS[name]


def test_117_a_client_disabled_on_another_node_gets_no_token_within_a_refresh(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    caller = stored_issuer.client(options=READER)
    token: Any = second_node.token_response(caller)
    assert (token.status_code, headers(token)) == (200, PRIVATE)
    stored_issuer.run("clients disable svc")
    auditor = stored_issuer.client("auditor", "--scope am-introspect-all-tokens")
    assert_inactive(second_node.introspect(auditor, token.json["access_token"]))
    second_node.clock.advance(2)
    assert_refused(second_node.token_response(caller), "invalid_client")
