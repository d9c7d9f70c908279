"""What a token request may ask for and what it gets: facts/security.md section C."""

from typing import Any

import pytest

from issuer import slots
from issuer.storage import realms as realm_store
from issuer.storage.changes import record_change
from realmint.protocol.jws import MAX_TOKEN
from tests.issuer.conftest import ORDERS, READER, STOCK, House
from tests.support.issuer import Issuer, claims, header
from tests.support.wire import CONTROL, NO_SCOPE, PRIVATE, assert_refused, headers

ISSUER = "https://issuer.example/oauth2/realms/root"


def ask(house: House, name: str = "svc", **form: Any) -> Any:
    return house.issuer.token_response(house[name], **form)


@pytest.mark.parametrize("how", ["basic", "post"])
@pytest.mark.rfc("6749", "5.1")
@pytest.mark.rfc("6749", "4.4.3")
def test_48_a_token_response_holds_these_four_members_and_no_refresh_token(house: House, how: str) -> None:
    form = {"grant_type": "client_credentials", "scope": "read write"} | (house["svc"].post if how == "post" else {})
    response = house.issuer.post("/access_token", form, house["svc"].basic if how == "basic" else None)
    assert (response.status_code, headers(response)) == (200, PRIVATE)
    token = claims(response.json["access_token"])
    assert response.json == {
        "access_token": response.json["access_token"],
        "token_type": "Bearer",
        "expires_in": token["exp"] - token["iat"],
        "scope": "read write",
    }
    assert type(response.json["expires_in"]) is int
    assert response.json["expires_in"] == 600


@pytest.mark.rfc("6749", "3.3")
def test_48_the_default_scope_is_granted_and_said_when_none_is_asked(house: House) -> None:
    assert ask(house).json["scope"] == "read"
    assert_refused(ask(house, "no-default"), "invalid_scope", text=NO_SCOPE)


@pytest.mark.rfc("6749", "5.2")
def test_49_a_grant_that_the_client_or_the_realm_may_not_use_is_refused(house: House, issuer: Issuer) -> None:
    assert_refused(ask(house, "no-grant"), "unauthorized_client")
    caller = issuer.client(options=READER)
    with issuer.runtime.database.change() as connection:
        realm = realm_store.find(connection, "/")
        assert realm is not None
        realm_store.alter(connection, realm.id, {"grant_types": []})
        record_change(connection, realm.id)
    issuer.clock.advance(2)
    assert_refused(issuer.token_response(caller), "unauthorized_client")
    metadata = issuer.http.get(issuer.address("/.well-known/oauth-authorization-server")).json
    assert "grant_types_supported" not in metadata  # 129: what is refused is not advertised


@pytest.mark.parametrize(
    "scope",
    ["admin", "read admin", "admin read write", "rea", "readwrite", "read,write", "READ", "*", "openid", "' OR 1=1--"],
)
@pytest.mark.rfc("6749", "5.2")
def test_50_one_scope_value_that_is_not_the_clients_refuses_the_whole_request(house: House, scope: str) -> None:
    assert_refused(ask(house, scope=scope), "invalid_scope")


@pytest.mark.parametrize("scope", ["am-introspect-all-tokens", "read am-introspect-all-tokens"])
def test_50_a_marker_is_never_granted_even_to_the_client_that_has_it(house: House, scope: str) -> None:
    assert_refused(ask(house, "auditor", scope=scope), "invalid_scope")
    assert ask(house, "auditor", scope="read").status_code == 200


@pytest.mark.parametrize(
    "scope",
    ["read\u00a0write", "read\u2028write", "read\u3000write", '"read"', "read\\", "read\\write", "réad",
     " read", "read ", "read  write", " ", "\ufeffread", "\U0001f511"],
)  # fmt: skip
@pytest.mark.rfc("6749", "3.3")
def test_51_a_scope_outside_the_grammar_is_refused(house: House, scope: str) -> None:
    assert_refused(ask(house, scope=scope), "invalid_scope")


@pytest.mark.parametrize("char", ["\t", "\n", "\r", "\x0b", "\x0c", "\x1f", "\x00", "\x7f", "\x85"])
@pytest.mark.rfc("6749", "A")
def test_51_a_control_character_is_refused_before_it_is_a_scope(house: House, char: str) -> None:
    assert_refused(ask(house, scope=f"read{char}write"), "invalid_request", text=CONTROL)


@pytest.mark.rfc("6749", "3.3")
def test_52_a_repeated_scope_value_stands_once_in_the_order_first_asked(house: House) -> None:
    response = ask(house, scope="write read write read")
    assert response.json["scope"] == "write read"
    assert claims(response.json["access_token"])["scope"] == "write read"


def test_53_a_scope_too_long_for_any_header_is_refused(house: House) -> None:
    assert_refused(ask(house, scope=" ".join(["read"] * 5000)), "invalid_scope")
    assert_refused(ask(house, scope=" ".join(f"s{n}" for n in range(7000))), "invalid_scope")
    assert_refused(ask(house, scope="x" * 4097), "invalid_scope")


def test_53_no_token_is_issued_that_an_api_would_refuse_for_its_length(issuer: Issuer) -> None:
    audiences = [f"https://{n}.example/{'x' * 980}" for n in range(7)]
    caller = issuer.client(options=READER + "".join(f" --audience {uri}" for uri in audiences))
    allowed = [issuer.token_response(caller, resource=audiences[:count]) for count in range(1, 8)]
    assert [response.status_code for response in allowed] == [200] * 5 + [400] * 2
    assert all(len(response.json["access_token"]) <= MAX_TOKEN for response in allowed[:5])
    assert_refused(allowed[-1], "invalid_scope")


@pytest.mark.rfc("6749", "3.3")
def test_54_scope_values_are_case_sensitive(house: House) -> None:
    assert ask(house, scope="Read").json["scope"] == "Read"
    assert ask(house, scope="Read read").json["scope"] == "Read read"
    assert_refused(ask(house, "other", scope="Read"), "invalid_scope")


@pytest.mark.parametrize(
    "resource",
    [
        pytest.param(["orders"], id="relative"),
        pytest.param(["/orders"], id="path"),
        pytest.param(["//orders.example"], id="no_scheme"),
        pytest.param([ORDERS + "#part"], id="fragment"),
        pytest.param([ORDERS + "#"], id="empty_fragment"),
        pytest.param(["https://unknown.example"], id="unknown"),
        pytest.param([ORDERS + "/"], id="slash_behind"),
        pytest.param([ORDERS.upper()], id="case"),
        pytest.param([ORDERS, "https://unknown.example"], id="good_and_unknown"),
        pytest.param([ORDERS, "relative"], id="good_and_relative"),
        pytest.param([ISSUER], id="our_own_issuer"),
        pytest.param(["svc"], id="client_id"),
        pytest.param(["*"], id="wildcard"),
        pytest.param([ORDERS + " " + STOCK], id="two_in_one"),
        pytest.param([ORDERS] * 17, id="too_many"),
        pytest.param(["https://ü.example"], id="non_ascii"),
        pytest.param(["x:" + "y" * 2000], id="too_long"),
    ],
)
@pytest.mark.rfc("8707", "2")
def test_55_a_resource_that_is_malformed_or_not_allowed_is_an_invalid_target(house: House, resource: list[str]) -> None:
    assert_refused(ask(house, resource=resource), "invalid_target")


@pytest.mark.rfc("8707", "2")
def test_55_an_allowed_resource_becomes_exactly_the_audience(house: House) -> None:
    for resources, expected in (
        ([ORDERS], ORDERS),
        ([ORDERS, ORDERS], ORDERS),
        ([STOCK, ORDERS], [STOCK, ORDERS]),
    ):
        assert claims(ask(house, resource=resources).json["access_token"])["aud"] == expected
    assert claims(ask(house, resource="").json["access_token"])["aud"] == ISSUER  # without a value: omitted


@pytest.mark.rfc("9068", "2.2")
def test_55_an_audience_is_the_same_choice_by_plain_name(issuer: Issuer) -> None:
    caller = issuer.client(
        options=f"{READER} --audience {ORDERS} --audience 'kubernetes sts.example' --default-audience kafka"
    )
    for form, expected in (
        ({"audience": "kubernetes"}, "kubernetes"),
        ({"audience": ["kubernetes", "kafka"]}, ["kubernetes", "kafka"]),
        ({"audience": "kafka sts.example kafka"}, ["kafka", "sts.example"]),
        ({"audience": ORDERS}, ORDERS),
        ({"audience": f"kafka {ORDERS}", "resource": ORDERS}, [ORDERS, "kafka"]),
        ({"audience": ["kafka", f"kafka {ORDERS}"], "resource": [ORDERS]}, [ORDERS, "kafka"]),
        ({"audience": ""}, "kafka"),  # without a value: omitted
        ({"audience": ["", ""]}, "kafka"),
    ):
        assert claims(issuer.token(caller, **form))["aud"] == expected, form


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({"audience": "nobodys"}, id="unknown"),
        pytest.param({"audience": "Kafka"}, id="case"),
        pytest.param({"audience": "kafka nobodys"}, id="good_and_unknown"),
        pytest.param({"audience": ["kafka", "nobodys"]}, id="good_and_unknown_apart"),
        pytest.param({"audience": "kafka", "resource": STOCK}, id="good_and_unknown_resource"),
        pytest.param({"audience": "nobodys", "resource": ORDERS}, id="unknown_beside_a_good_resource"),
        pytest.param({"audience": " "}, id="space"),
        pytest.param({"audience": "kafka  " + ORDERS}, id="two_spaces"),
        pytest.param({"audience": "kafka,other"}, id="comma"),
        pytest.param({"audience": "kafka\u00a0other"}, id="non_ascii_space"),
        pytest.param({"audience": ISSUER}, id="our_own_issuer"),
        pytest.param({"audience": "plain"}, id="client_id"),
        pytest.param({"audience": "*"}, id="wildcard"),
        pytest.param({"audience": " ".join(["kafka"] * 17)}, id="too_many"),
        pytest.param({"audience": ["kafka"] * 9, "resource": [ORDERS] * 8}, id="too_many_together"),
        pytest.param({"audience": "k" * 60_000}, id="too_long"),
        pytest.param({"resource": "kafka"}, id="a_plain_name_is_no_resource"),
    ],
)
@pytest.mark.rfc("8707", "2")
def test_55_an_audience_that_the_client_may_not_have_is_an_invalid_target(house: House, form: dict[str, Any]) -> None:
    assert_refused(ask(house, "plain", **form), "invalid_target")


@pytest.mark.rfc("9068", "3")
def test_56_without_a_resource_the_audience_is_the_clients_else_the_realms_else_the_issuer(issuer: Issuer) -> None:
    svc = issuer.client("svc", READER)
    own = issuer.client("own", f"{READER} --default-audience {ORDERS} --default-audience {STOCK}")
    assert claims(issuer.token(svc))["aud"] == ISSUER
    assert claims(issuer.token(own))["aud"] == [ORDERS, STOCK]
    issuer.run("realms update / --default-audience https://realm.example")
    issuer.clock.advance(2)
    assert claims(issuer.token(svc))["aud"] == "https://realm.example"
    assert claims(issuer.token(own))["aud"] == [ORDERS, STOCK]


@pytest.mark.parametrize("option", ["--claim", "--claims", "--custom-claim", "--role", "--iss", "--cnf"])
def test_57_registration_has_no_way_to_put_a_claim_into_a_token(house: House, option: str) -> None:
    assert house.issuer.command(f"clients create x {option} iss=evil").exit_code == 2
    token = claims(ask(house, iss="evil", aud="evil", exp="9", cnf="{}", roles="admin").json["access_token"])
    assert (token["iss"], token["aud"]) == (ISSUER, ISSUER)
    assert not {"cnf", "roles"} & token.keys()


@pytest.mark.rfc("9068", "2.1")
@pytest.mark.rfc("9068", "2.2")
def test_58_header_and_claims_are_these_and_no_others(house: House) -> None:
    token = ask(house, scope="read").json["access_token"]
    kid = house.issuer.run("keys list")[0]["kid"]
    now = house.issuer.clock.now
    found = claims(token)
    assert header(token) == {"alg": "ES256", "kid": kid, "typ": "at+jwt"}
    assert found == {
        "iss": ISSUER, "sub": "svc", "aud": ISSUER, "client_id": "svc", "iat": now, "nbf": now, "exp": now + 600,
        "jti": found["jti"], "scope": "read", "realm": "/",
        "status": {"status_list": {"idx": slots.index_of(found["jti"]), "uri": f"{ISSUER}/status/0"}},
    }  # fmt: skip
    assert all(type(found[name]) is int for name in ("iat", "nbf", "exp"))


@pytest.mark.rfc("7519", "4.1.7")
def test_59_a_jti_is_28_characters_and_never_comes_twice(house: House) -> None:
    seen = [claims(ask(house).json["access_token"])["jti"] for _ in range(500)]
    assert len(set(seen)) == 500
    assert {len(jti) for jti in seen} == {28}  # 120 random bits and the index
    assert len({jti[-1] for jti in seen} | {jti[0] for jti in seen}) > 16


@pytest.mark.parametrize("client_id", [ISSUER, "user:1234", "root@example", "https://other.example/oauth2"])
@pytest.mark.rfc("9068", "5")
def test_60_there_are_no_users_to_collide_with_and_sub_is_always_the_client(issuer: Issuer, client_id: str) -> None:
    token = claims(issuer.token(issuer.client(client_id, READER)))
    assert (token["iss"], token["sub"], token["client_id"]) == (ISSUER, client_id, client_id)
    assert token["aud"] == ISSUER


def test_61_a_lifetime_is_minutes_and_never_over_the_realms_cap(issuer: Issuer) -> None:
    assert issuer.command("clients create long --access-token-lifetime 3601").exit_code == 2
    assert issuer.command("realms update / --access-token-lifetime 3601").exit_code == 2
    long = issuer.client("long", f"{READER} --access-token-lifetime 3600")
    assert issuer.token_response(long).json["expires_in"] == 3600
    assert issuer.token_response(long, expires_in="99999", access_token_lifetime="99999").json["expires_in"] == 3600
    issuer.run("realms update / --max-access-token-lifetime 900")
    issuer.clock.advance(2)
    response = issuer.token_response(long)
    token = claims(response.json["access_token"])
    assert (response.json["expires_in"], token["exp"] - token["iat"]) == (900, 900)
    assert issuer.command("realms update / --max-access-token-lifetime 0").exit_code == 2


def test_a_grant_that_the_realm_does_not_allow_comes_before_any_scope(issuer: Issuer) -> None:
    caller = issuer.client(options="--scope read")
    with issuer.runtime.database.change() as connection:
        connection.exec_driver_sql("UPDATE realms SET grant_types = '[]'")
        record_change(connection, 1)
    issuer.clock.advance(2)
    for scope in ("unknown", "read  read", "read", ""):
        refused = issuer.token_response(caller, scope=scope)
        assert (refused.status_code, refused.json["error"]) == (400, "unauthorized_client"), scope


def test_60_in_format_am_nobody_s_name_is_an_api_s(issuer: Issuer) -> None:
    issuer.run("realms create /am --token-format am")
    issuer.client("orders-api", "--resource-identifier https://orders.example --resource-identifier stock", "/am")
    issuer.client("billing", "--scope read --audience https://bills.example --audience ledger", "/am")
    named = "is named like an API"
    for name in (
        "https://orders.example",
        "stock",
        "https://bills.example",
        "ledger",
        "https://nobody-names-it.example",
    ):
        refused = issuer.command(f"clients create {name} --realm /am --scope read --json")
        assert (refused.exit_code, named in refused.output) == (2, True), name
        issuer.run(f"clients create {name} --realm /am --scope read --default-audience https://other.example")
        # Nor by taking the audience away, nor by the API's coming later.
        assert issuer.command(f"clients update {name} --realm /am --default-audience ''").exit_code == 2
        issuer.run(f"clients delete {name} --realm /am --yes")
    later = issuer.client("later", "--scope read --default-scope read", "/am")
    assert claims(issuer.token(later))["aud"] == "later"
    assert issuer.command("clients create later-api --realm /am --resource-identifier later").exit_code == 2
    # A realm that turns to the format, or to it without an audience of its own, is refused as well.
    issuer.run("realms create /plain --default-audience https://d.example")
    issuer.client("api", "--resource-identifier stock", "/plain")
    issuer.client("stock", "--scope read", "/plain")
    issuer.run("realms update /plain --token-format am")
    refused = issuer.command("realms update /plain --default-audience ''")
    assert (refused.exit_code, named in refused.output) == (2, True)


def test_56_a_client_named_like_a_uri_gets_no_token_of_format_am_for_that_uri(issuer: Issuer) -> None:
    """As an earlier version let it in."""
    caller = issuer.client("https://orders.example", "--scope read --default-scope read")
    with issuer.runtime.database.change() as connection:
        connection.exec_driver_sql("UPDATE clients SET token_format = 'am'")
        record_change(connection, 1)
    issuer.clock.advance(2)
    refused = issuer.token_response(caller)
    assert (refused.status_code, refused.json["error"]) == (400, "invalid_target")


def test_an_algorithm_that_a_client_names_is_not_taken_from_its_realm(issuer: Issuer) -> None:
    issuer.run("realms update / --alg ES256 --alg RS256")
    issuer.client("svc", "--scope read --signing-alg RS256")
    refused = issuer.command("realms update / --alg ES256")
    assert (refused.exit_code, "client svc signs with RS256" in refused.output) == (2, True)
    assert issuer.run("realms show /")["signing_algs"] == ["ES256", "RS256"]
