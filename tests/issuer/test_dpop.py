"""Tokens bound to the key of a proof, as the token endpoint makes them: facts/security.md section F."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.issuer.conftest import READER, House
from tests.support.issuer import BASE_URL, Caller, Issuer, claims
from tests.support.prover import KINDS, Prover
from tests.support.wire import PRIVATE, REFUSALS, assert_refused, headers

CANONICAL = f"{BASE_URL}/oauth2/realms/root/access_token"
ALIAS = f"{BASE_URL}/oauth2/access_token"
INVALID = "The DPoP proof is invalid"
REFUSALS |= {
    "invalid_dpop_proof": (400, INVALID),
    "use_dpop_nonce": (400, "The DPoP proof needs the nonce in the DPoP-Nonce header"),
}
ALLOWED = [kind for kind in KINDS if not kind.startswith("RS256")]
numbers = iter(range(10**6))


@pytest.fixture(params=["front", "flask"])
def door(request: pytest.FixtureRequest, house: House) -> str:
    """Either way into the same issuer: the one before Flask is opened by the first request, and shut by an upgrade."""
    house.issuer.http.get("/healthz")
    return str(request.param)


def ask(issuer: Issuer, caller: Caller, proof: str | None, door: str = "front", **form: Any) -> Any:
    sent = dict(caller.basic) | ({"DPoP": proof} if proof is not None else {})
    if door == "flask":
        sent["Upgrade"] = "h2c"
    return issuer.post("/access_token", {"grant_type": "client_credentials"} | form, sent, caller.realm)


def proof(issuer: Issuer, prover: Prover, **changes: Any) -> str:
    fresh = {"jti": f"jti-{next(numbers)}", "htu": CANONICAL, "iat": issuer.clock.wall()}
    return prover.proof(**{**fresh, **changes})


@pytest.mark.parametrize("kind", [pytest.param(kind, id=f"case_108-{kind}") for kind in ALLOWED])
@pytest.mark.rfc("9449", "5")
def test_93_a_good_proof_binds_the_token_to_its_key(house: House, door: str, kind: str) -> None:
    issuer, prover = house.issuer, Prover(kind)
    response = ask(issuer, house["svc"], proof(issuer, prover), door)
    assert response.status_code == 200, response.text
    assert response.json["token_type"] == "DPoP"
    token = response.json["access_token"]
    assert claims(token)["cnf"] == {"jkt": prover.jkt}
    told = issuer.introspect(house["auditor"], token).json
    assert (told["active"], told["token_type"], told["cnf"]) == (True, "DPoP", {"jkt": prover.jkt})
    assert headers(response) == PRIVATE


def test_93_newer_libraries_call_eddsa_by_the_name_of_its_curve(house: House) -> None:
    prover = Prover("EdDSA")
    response = ask(house.issuer, house["svc"], proof(house.issuer, prover, header={**prover.header, "alg": "Ed25519"}))
    assert claims(response.json["access_token"])["cnf"] == {"jkt": prover.jkt}


def test_93_a_request_without_a_proof_gets_a_bearer_token_as_ever(house: House, door: str) -> None:
    response = ask(house.issuer, house["svc"], None, door)
    assert response.json["token_type"] == "Bearer"
    assert "cnf" not in claims(response.json["access_token"])


@pytest.mark.parametrize("form", ["rfc9068", "jwt", "am", "opaque"])
def test_93_a_token_of_every_format_is_bound(issuer: Issuer, form: str) -> None:
    caller = issuer.client(options=f"{READER} --token-format {form} --resource-identifier svc")
    prover = Prover()
    response = ask(issuer, caller, proof(issuer, prover))
    assert response.json["token_type"] == "DPoP"
    told = issuer.introspect(caller, response.json["access_token"]).json
    assert (told["cnf"], told["token_type"]) == ({"jkt": prover.jkt}, "DPoP")
    if form == "am":
        assert claims(response.json["access_token"])["token_type"] == "DPoP"


def wrong(make: Callable[[Issuer], str], case: str) -> Any:
    return pytest.param(make, id=f"case_{case}")


ONE = Prover()
OTHER = Prover("ES384")


@pytest.mark.parametrize(
    "make",
    [
        wrong(lambda i: f"{proof(i, ONE)},{proof(i, ONE)}", "94-several"),
        wrong(lambda i: f"{proof(i, ONE)}, {proof(i, ONE)}", "94-several with a space"),
        wrong(lambda _: "no JWT", "94-malformed"),
        wrong(lambda _: "", "94-empty"),
        wrong(lambda i: proof(i, ONE, jti=None), "95-no jti"),
        wrong(lambda i: proof(i, ONE, htm=None), "95-no htm"),
        wrong(lambda i: proof(i, ONE, htu=None), "95-no htu"),
        wrong(lambda i: proof(i, ONE, iat=None), "95-no iat"),
        wrong(lambda i: proof(i, ONE, iat="now"), "95-iat a text"),
        wrong(lambda i: proof(i, ONE, jti=5), "95-jti a number"),
        wrong(lambda i: proof(i, ONE, htm="GET"), "95-another method"),
        wrong(lambda _: ONE.with_header(typ="JWT"), "96-typ"),
        wrong(lambda i: proof(i, Prover("RS256")), "96-RS256"),
        wrong(lambda _: ONE.with_header(alg="none"), "96-none"),
        wrong(lambda _: ONE.with_header(alg="HS256"), "96-HS256"),
        wrong(lambda _: ONE.with_header(jwk={**ONE.jwk, "d": "x" * 43}), "97-private"),
        wrong(lambda _: ONE.with_header(jwk={"kty": "oct", "k": "x" * 43}), "97-oct"),
        wrong(lambda _: ONE.with_header(jwk=OTHER.jwk), "98-another key"),
        wrong(lambda i: proof(i, ONE, htu="https://other.example/oauth2/realms/root/access_token"), "99-host"),
        wrong(lambda i: proof(i, ONE, htu=f"{BASE_URL}/oauth2/realms/root/introspect"), "99-path"),
        wrong(lambda i: proof(i, ONE, htu=CANONICAL.replace("https", "http")), "99-scheme"),
        wrong(lambda i: proof(i, ONE, htu=f"{BASE_URL}/oauth2/realms/root/realms/customers/access_token"), "99-realm"),
        wrong(lambda i: proof(i, ONE, iat=i.clock.wall() - 3600), "100-an hour old"),
        wrong(lambda i: proof(i, ONE, iat=i.clock.wall() + 3600), "100-an hour ahead"),
    ],
)
@pytest.mark.rfc("9449", "4.3")
def test_a_proof_that_is_none_for_this_request_is_refused_by_one_body(
    house: House, door: str, make: Callable[[Issuer], str]
) -> None:
    assert_refused(ask(house.issuer, house["svc"], make(house.issuer), door), "invalid_dpop_proof")


@pytest.mark.parametrize(
    "url", [CANONICAL, ALIAS, f"{CANONICAL}?x=1#y", "HTTPS://ISSUER.EXAMPLE:443/oauth2/access_token"]
)
def test_99_every_address_of_the_realm_may_be_the_one_that_was_asked_whatever_the_host(house: House, url: str) -> None:
    issuer = house.issuer
    sent = house["svc"].basic | {"DPoP": proof(issuer, ONE, htu=url), "Host": "evil.test", "X-Forwarded-Proto": "http"}
    assert issuer.post("/access_token", {"grant_type": "client_credentials"}, sent).status_code == 200


@pytest.mark.parametrize("seconds", [-10, 0, 10])
def test_100_clocks_may_differ_by_some_seconds_and_other_instants_mean_nothing(house: House, seconds: int) -> None:
    now = house.issuer.clock.wall()
    made = proof(house.issuer, ONE, iat=now + seconds, nbf=now + 9999, exp=now - 9999)
    assert ask(house.issuer, house["svc"], made).status_code == 200


def test_105_a_proof_is_taken_once_on_every_node_and_after_a_restart(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    caller = stored_issuer.client(options=READER)
    second_node.clock.advance(2)
    made = proof(stored_issuer, ONE)
    assert ask(stored_issuer, caller, made).status_code == 200
    for node in (stored_issuer, second_node):
        assert_refused(ask(node, caller, made), "invalid_dpop_proof")
    assert ask(second_node, caller, proof(stored_issuer, ONE)).status_code == 200


def test_105_the_same_jti_of_another_key_or_of_an_assertion_is_another(house: House) -> None:
    issuer = house.issuer
    for prover in (Prover(), Prover("EdDSA")):
        assert ask(issuer, house["svc"], proof(issuer, prover, jti="the same")).status_code == 200


def test_105_a_proof_that_was_refused_is_not_used_up(house: House) -> None:
    issuer, made = house.issuer, proof(house.issuer, ONE)
    assert ask(issuer, Caller("svc", "wrong"), made).status_code == 401
    assert ask(issuer, house["svc"], made).status_code == 200


def test_106_a_realm_that_wants_nonces_gives_one_and_takes_it_on_every_node(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    stored_issuer.run("realms update / --dpop-nonce")
    caller = stored_issuer.client(options=READER)
    for node in (stored_issuer, second_node):
        node.clock.advance(2)
    refused = ask(stored_issuer, caller, proof(stored_issuer, ONE))
    nonce = refused.headers["DPoP-Nonce"]
    assert_refused(refused, "use_dpop_nonce", also={"DPoP-Nonce": nonce})
    for node in (second_node, stored_issuer):  # which share the key-encryption key, and nothing else of it
        answer = ask(node, caller, proof(stored_issuer, ONE, nonce=nonce))
        assert answer.status_code == 200, answer.text
        assert answer.headers["DPoP-Nonce"]
    assert_refused(
        ask(stored_issuer, caller, proof(stored_issuer, ONE, nonce="made up")),
        "use_dpop_nonce", also={"DPoP-Nonce": nonce},
    )  # fmt: skip
    stored_issuer.clock.advance(900)
    old = ask(stored_issuer, caller, proof(stored_issuer, ONE, nonce=nonce))
    assert old.json["error"] == "use_dpop_nonce"
    assert old.headers["DPoP-Nonce"] != nonce


def test_107_a_client_that_has_to_prove_gets_nothing_without(issuer: Issuer) -> None:
    caller = issuer.client(options=f"{READER} --dpop")
    issuer.clock.advance(2)
    assert_refused(ask(issuer, caller, None), "invalid_request", text="This client has to send a DPoP proof")
    assert ask(issuer, caller, proof(issuer, ONE)).json["token_type"] == "DPoP"
    assert issuer.run("clients show svc")["dpop"] is True


def test_107_no_proof_is_asked_for_where_no_token_is(house: House) -> None:
    """Introspection and revocation bind nothing, so a proof there is an unknown header."""
    token = house.issuer.token(house["svc"])
    sent = house["svc"].basic | {"DPoP": "whatever"}
    assert house.issuer.post("/introspect", {"token": token}, sent).json["active"] is True


def test_208_nothing_of_a_proof_is_in_the_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    made = proof(house.issuer, ONE)
    assert ask(house.issuer, house["svc"], made).status_code == 200
    assert ask(house.issuer, house["svc"], made).status_code == 400
    assert made not in caplog.text
    assert made.split(".")[2] not in caplog.text
