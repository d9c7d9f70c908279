"""The documents that anybody may read: facts/security.md section I."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from issuer.request import SELF_SIGNED, TLS_CLIENT_AUTH
from keys import store as key_store
from realmint import ClientKey
from realmint.client_assertion import assertion_form
from tests.issuer.conftest import READER, House
from tests.support.issuer import BASE_URL, Issuer, header
from tests.support.mutual_tls import Authority, certificate, pem, post_with
from tests.support.wire import FORM, JSON, REFUSALS, headers

METADATA = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"
JWKS = "/connect/jwk_uri"
JWKS_ALIAS = "/.well-known/jwks.json"
AUTHORIZE = "/authorize"
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


def get(issuer: Issuer, path: str, **more: Any) -> Any:
    return issuer.http.get(path, **more)


def forms(realm: str) -> dict[str, str]:
    """Every address form of a realm: what stands between the base and the endpoint."""
    nested = "" if realm == "/" else realm.replace("/", "/realms/")
    return {"canonical": f"/oauth2/realms/root{nested}", "older": "/oauth2" + ("" if realm == "/" else realm)}


@pytest.mark.parametrize("base", ["", "/openam"])
@pytest.mark.parametrize("realm", ["/", "/customers", "/customers/eu"])
@pytest.mark.rfc("8414", "3.3")
def test_128_the_issuer_is_the_same_at_every_address_and_is_the_one_that_was_asked(
    make_issuer: Callable[..., Issuer], base: str, realm: str
) -> None:
    issuer = make_issuer(BASE_URL=BASE_URL + base)
    issuer.runtime.boot()
    for path in ("/customers", "/customers/eu"):
        issuer.run(f"realms create {path}")
    expected = BASE_URL + issuer.address("", realm)
    documents = {get(issuer, f"{base}{form}{METADATA}").data for form in forms(realm).values()}
    # RFC 8414 section 3.1: the well-known part goes between the origin and the path of the issuer.
    documents |= {get(issuer, f"{METADATA}{base}{form}").data for form in forms(realm).values()}
    (document,) = documents
    found = json.loads(document)
    assert found["issuer"] == expected
    assert all(
        found[name].startswith(expected + "/") for name in ("token_endpoint", "jwks_uri", "introspection_endpoint")
    )
    openid = {get(issuer, f"{base}{form}{OPENID}").data for form in forms(realm).values()}
    # The same form of OpenID Connect's name: Model Context Protocol clients ask there first.
    openid |= {get(issuer, f"{OPENID}{base}{form}").data for form in forms(realm).values()}
    (document,) = openid
    assert json.loads(document)["issuer"] == expected
    assert get(issuer, found["jwks_uri"].removeprefix(BASE_URL)).json["keys"]


@pytest.mark.rfc("8414", "2")
def test_129_metadata_is_whole_and_cacheable(house: House) -> None:
    root = f"{BASE_URL}/oauth2/realms/root"
    methods = [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
        "tls_client_auth",
        "self_signed_tls_client_auth",
    ]
    algs = ["ES256", "RS256", "PS256", "ES384", "EdDSA", "Ed25519"]
    expected = {
        "issuer": root,
        "authorization_endpoint": f"{root}/authorize",
        "token_endpoint": f"{root}/access_token",
        "token_endpoint_auth_methods_supported": methods,
        "dpop_signing_alg_values_supported": ["ES256", "ES384", "EdDSA", "PS256", "Ed25519"],
        "tls_client_certificate_bound_access_tokens": True,
        "token_endpoint_auth_signing_alg_values_supported": algs,
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": ["none"],
        "introspection_endpoint": f"{root}/introspect",
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": algs,
        "revocation_endpoint": f"{root}/token/revoke",
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algs,
        "jwks_uri": f"{root}{JWKS}",
        "status_list_aggregation_endpoint": f"{root}/status",
    }
    response = get(house.issuer, house.issuer.address(METADATA))
    assert response.json == expected  # and so no scopes_supported: an empty list is left out
    found = headers(response)
    assert found.pop("ETag").startswith('"')
    assert found.pop("Date")
    assert found == JSON | {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}
    customers = get(house.issuer, house.issuer.address(METADATA, "/customers")).json
    assert customers["scopes_supported"] == ["read", "write"]
    openid = get(house.issuer, house.issuer.address(OPENID)).json
    more = {"subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"]}
    assert openid == response.json | more


def signed_for(issuer: Issuer, folder: Path) -> dict[str, str]:
    """What a client that signs for itself, made for this, presents in a form."""
    private = ECKey.generate_key("P-256")
    key, public = ClientKey(private.as_dict(private=True)), folder / "public.jwk"
    public.write_text(json.dumps(key.public_jwk))
    issuer.run("clients create signs --scope read --auth-method private_key_jwt")
    issuer.run(f"clients keys add signs {public}")
    issuer.clock.advance(2)
    return assertion_form(key.assertion("signs", f"{BASE_URL}/oauth2/realms/root", issuer.clock.wall()))


def connected(issuer: Issuer, folder: Path, client_id: str, form: dict[str, str], *, self_signed: bool) -> Any:
    """The answer to a client that shows a certificate, made for this."""
    authority = None if self_signed else Authority()
    der = certificate(client_id, authority)
    (folder / f"{client_id}.pem").write_bytes(pem(der if authority is None else authority.der))
    method = SELF_SIGNED if self_signed else TLS_CLIENT_AUTH
    issuer.run(f"clients create {client_id} --scope read --auth-method {method}")
    file = folder / f"{client_id}.pem"
    named = file if self_signed else f"--subject-dn CN={client_id} --ca {file}"
    issuer.run(f"clients certs add {client_id} {named}")
    issuer.clock.advance(2)
    return post_with(issuer, der, form | {"client_id": client_id})


@pytest.mark.rfc("8414", "2")
def test_129_what_is_advertised_is_what_is_served_and_nothing_else(house: House, tmp_path: Path) -> None:
    document = get(house.issuer, house.issuer.address(METADATA)).json
    form = {"grant_type": "client_credentials", "scope": "read"}
    works = {
        "client_secret_basic": house.issuer.post("/access_token", form, house["svc"].basic),
        "client_secret_post": house.issuer.post("/access_token", form | house["svc"].post),
        "private_key_jwt": house.issuer.post("/access_token", form | signed_for(house.issuer, tmp_path)),
        "tls_client_auth": connected(house.issuer, tmp_path, "named", form, self_signed=False),
        "self_signed_tls_client_auth": connected(house.issuer, tmp_path, "itself", form, self_signed=True),
    }
    assert {name for name, response in works.items() if response.status_code == 200} == set(
        document["token_endpoint_auth_methods_supported"]
    )
    for grant_type in ("client_credentials", "password", "refresh_token", "authorization_code"):
        served = house.issuer.token_response(house["svc"], grant_type=grant_type).status_code == 200
        assert served == (grant_type in document["grant_types_supported"])
    for name, address in document.items():
        if name.endswith(("_endpoint", "_uri")):
            answered = {"jwks_uri": 200, "status_list_aggregation_endpoint": 200, "authorization_endpoint": 400}
            expected = answered.get(name, 405)
            assert get(house.issuer, address.removeprefix(BASE_URL)).status_code == expected, name


@pytest.mark.parametrize("realm", ["/", "/customers"])
@pytest.mark.parametrize(
    "query",
    ["", "response_type=none&client_id=svc", "response_type=code&client_id=svc&redirect_uri=https://evil.test/&state=x",
     "response_type=token&redirect_uri=https%3A%2F%2Fevil.test&prompt=none", "response_type=", "%ff%00", "x=" + "y" * 5000],
)  # fmt: skip
@pytest.mark.rfc("6749", "4.1.2.1")
def test_129_the_authorization_endpoint_is_named_and_refuses_everybody_without_a_redirect(
    house: House, realm: str, query: str
) -> None:
    document = get(house.issuer, house.issuer.address(METADATA, realm)).json
    address = house.issuer.address(AUTHORIZE, realm)
    assert document["authorization_endpoint"] == BASE_URL + address
    status, text = REFUSALS["unsupported_response_type"]
    answers = [
        house.issuer.http.get(f"{address}?{query}"),
        house.issuer.http.post(address, data=query, content_type=FORM),
        house.issuer.http.post(f"{address}?{query}", data=b"{" * 70_000, content_type="application/json"),
        house.issuer.http.get(address, headers=house["svc"].basic),
        *(house.issuer.http.get(f"{form}{AUTHORIZE}?{query}") for form in forms(realm).values()),
    ]
    for response in answers:
        assert (response.status_code, response.json) == (
            status, {"error": "unsupported_response_type", "error_description": text},
        )  # fmt: skip
        assert headers(response) == JSON
    head = house.issuer.http.head(f"{address}?{query}")
    assert (head.status_code, head.data, headers(head)) == (status, b"", JSON)


def test_2_129_the_authorization_endpoint_takes_get_and_post_only(house: House) -> None:
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
        response = house.issuer.http.open(house.issuer.address(AUTHORIZE), method=method)
        assert (response.status_code, response.json["error"]) == (405, "method_not_allowed")
        assert headers(response) == JSON | {"Allow": "GET, HEAD, POST"}


@pytest.mark.parametrize("realm", ["/", "/customers"])
def test_129_the_key_set_stands_at_a_second_address_where_some_libraries_look(house: House, realm: str) -> None:
    for method in ("GET", "HEAD"):
        first, second = (
            house.issuer.http.open(house.issuer.address(suffix, realm), method=method) for suffix in (JWKS, JWKS_ALIAS)
        )
        assert (second.status_code, second.data) == (200, first.data)
        assert headers(second) | {"Date": ""} == headers(first) | {"Date": ""}
    etag = second.headers["ETag"]
    unchanged = get(house.issuer, house.issuer.address(JWKS_ALIAS, realm), headers={"If-None-Match": etag})
    assert unchanged.status_code == 304
    document = get(house.issuer, house.issuer.address(OPENID, realm)).json
    assert document["jwks_uri"] == BASE_URL + house.issuer.address(JWKS, realm)


@pytest.mark.parametrize("suffix", [METADATA, OPENID, JWKS, JWKS_ALIAS, AUTHORIZE, "/access_token", "/introspect"])
@pytest.mark.parametrize(
    "front",
    [
        "/oauth2/realms/root/realms/nobody", "/oauth2/nobody", "/oauth2/realms/nobody", "/oauth2/realms",
        "/oauth2/realms/root/realms/Customers", "/oauth2/CUSTOMERS", "/oauth2/realms/root/realms/customers.",
        "/oauth2/realms/root/realms/customers/", "/oauth2/realms/root//realms/customers", "/oauth2//customers",
        "/oauth2/realms/root/realms/", "/oauth2/realms/root/", "/oauth2/", "//oauth2", "/oauth2/./customers",
        "/oauth2/realms/root/realms/..", "/oauth2/realms/root/realms/customers/..", "/oauth2/../oauth2",
        "/oauth2/realms/root/realms/%2e%2e", "/oauth2/realms/root%2frealms%2fcustomers", "/oauth2/%63ustomers",
        "/oauth2/realms/root/realms/customers%00", "/oauth2/customers%20", "/oauth2/customers;x=1", "/oauth2/root",
        "/oauth2/realms/root/realms/root", "/OAuth2/customers", "/oauth2/custom\u0435rs", "/oauth2/customers/realms/root",
        "/oauth2/realms/customers", "/oauth2/realms/root/customers", "/oauth2" + "/a" * 9, "/oauth2/" + "a" * 2000,
    ],
)  # fmt: skip
def test_130_203_an_address_that_is_not_exactly_a_realms_is_404_with_one_body(
    house: House, front: str, suffix: str
) -> None:
    response = house.issuer.http.open(
        front + suffix, method="POST" if suffix in ("/access_token", "/introspect") else "GET"
    )
    assert (response.status_code, response.json) == (
        404,
        {"error": "not_found", "error_description": REFUSALS["not_found"][1]},
    )
    assert "Location" not in response.headers


def test_130_a_disabled_realm_still_serves_its_documents(issuer: Issuer) -> None:
    # Ruled by design decision 18: APIs that hold its keys must still hear that its tokens are dead.
    issuer.run("realms create /x")
    before = {suffix: get(issuer, issuer.address(suffix, "/x")).data for suffix in (METADATA, OPENID, JWKS)}
    issuer.run("realms disable /x")
    issuer.clock.advance(3)
    for suffix, data in before.items():
        response = get(issuer, issuer.address(suffix, "/x"))
        assert (response.status_code, response.data) == (200, data)


@pytest.mark.parametrize("alg", ["ES256", "RS256", "PS256", "ES384", "EdDSA"])
@pytest.mark.rfc("7517", "5")
def test_131_132_the_key_set_is_public_named_and_for_signatures_only_in_every_state(issuer: Issuer, alg: str) -> None:
    issuer.run(f"realms create /x --alg {alg}")
    seen: set[str] = set()
    for rotation in range(3):
        response = get(issuer, issuer.address(JWKS, "/x"))
        keys = response.json["keys"]
        assert len(keys) == (2 if rotation == 0 else rotation + 2)
        for key in keys:
            assert not PRIVATE_MEMBERS & key.keys()
            assert (key["use"], key["alg"]) == ("sig", alg)
            assert key["kty"] in ("EC", "RSA", "OKP")
        assert len({key["kid"] for key in keys}) == len(keys)
        seen |= {key["kid"] for key in keys}
        issuer.run("keys rotate --realm /x --force --reason test")
        issuer.clock.advance(3)
    assert len(seen) == 4


def test_132_no_kid_is_in_two_realms(house: House) -> None:
    kids = [key["kid"] for realm in ("/", "/customers") for key in get_keys(house.issuer, realm)]
    assert len(kids) == len(set(kids)) == 4


def get_keys(issuer: Issuer, realm: str = "/") -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = get(issuer, issuer.address(JWKS, realm)).json["keys"]
    return keys


@pytest.mark.rfc("9110", "13.1.2")
def test_133_the_key_set_has_an_etag_that_moves_with_it_and_a_bounded_age(issuer: Issuer) -> None:
    address = issuer.address(JWKS)
    first = get(issuer, address)
    found = headers(first)
    etag = found.pop("ETag")
    assert not etag.startswith("W/")
    assert found.pop("Date")
    assert found == {
        "Content-Type": "application/jwk-set+json",
        "Cache-Control": f"public, max-age={issuer.runtime.settings.policy.jwks_max_age}",
        "Access-Control-Allow-Origin": "*",
        "X-Content-Type-Options": "nosniff",
    }
    for sent, status in ((etag, 304), (f'"x", {etag}', 304), ("*", 304), ('"x"', 200), ("garbage", 200), ("", 200)):
        response = get(issuer, address, headers={"If-None-Match": sent})
        assert (response.status_code, response.data) == (status, b"" if status == 304 else first.data), sent
        assert response.headers["ETag"] == etag
    head = issuer.http.head(address)
    assert (head.status_code, head.data, head.headers["ETag"]) == (200, b"", etag)
    issuer.run("keys rotate")
    issuer.clock.advance(2)
    second = get(issuer, address, headers={"If-None-Match": etag})
    assert second.status_code == 200
    assert second.headers["ETag"] != etag
    # What signs was in every set that was ever served, so nobody's copy is too old (keys.md).
    kid = header(issuer.token(issuer.client(options=READER)))["kid"]
    assert kid in {key["kid"] for key in first.json["keys"]}


@pytest.mark.parametrize("suffix", [METADATA, OPENID, JWKS])
@pytest.mark.rfc("9110", "13.1.1")
def test_133_a_condition_that_fails_does_not_come_with_the_document(house: House, suffix: str) -> None:
    response = get(house.issuer, house.issuer.address(suffix), headers={"If-Match": '"another"'})
    text = "A precondition of the request does not hold"
    assert (response.status_code, response.json) == (412, {"error": "invalid_request", "error_description": text})
    assert headers(response) == JSON
    etag = get(house.issuer, house.issuer.address(suffix)).headers["ETag"]
    assert get(house.issuer, house.issuer.address(suffix), headers={"If-Match": etag}).status_code == 200


@pytest.mark.parametrize("name", ["Range", "If-Modified-Since", "If-Unmodified-Since", "If-Range"])
def test_133_other_conditions_are_ignored(house: House, name: str) -> None:
    for value in ("bytes=0-3", "garbage", "Mon, 23 Nov 2099 00:00:00 GMT", "\x00", '"x"'):
        response = get(house.issuer, house.issuer.address(JWKS), headers={name: value})
        assert (response.status_code, len(response.json["keys"])) == (200, 2)


def test_133_documents_outlive_the_store_and_a_process_that_never_read_it_says_503(
    make_issuer: Callable[..., Issuer], tmp_path: Any
) -> None:
    database = tmp_path / "outside.db"
    issuer = make_issuer("one", f"sqlite:///{database}").setup()
    fresh = make_issuer("two", f"sqlite:///{database}")
    before = {suffix: get(issuer, issuer.address(suffix)).data for suffix in (METADATA, OPENID, JWKS, JWKS_ALIAS)}
    issuer.runtime.database.engine.dispose()
    database.rename(tmp_path / "away.db")
    for _ in range(3):
        issuer.clock.advance(3600)
        for suffix, data in before.items():
            response = get(issuer, issuer.address(suffix))
            assert (response.status_code, response.data) == (200, data)
    for suffix in before:
        response = get(fresh, fresh.address(suffix))
        assert (response.status_code, response.json["error"]) == (503, "temporarily_unavailable")
        assert response.headers["Retry-After"]
        assert response.headers["Cache-Control"] == "no-store"
        assert "max-age" not in str(response.headers)


def test_131_nothing_private_is_loaded_for_a_key_that_does_not_sign(house: House) -> None:
    with house.issuer.runtime.database.read() as connection:
        keys = key_store.load(connection, 1).keys
    view = house.issuer.runtime.registry.realm("/")
    assert view is not None
    assert len(keys) == 2
    assert [type(signer).__name__ for signer in view.keys.signers.values()] == ["LocalSigner"]
    assert "private" not in repr(view).lower()
    assert "sealed" not in repr(view).replace("unsealed", "")
