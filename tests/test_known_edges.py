"""What Authlib and joserfc really do (facts on L1-L19), and that our doors do not do it.

Each test shows our side; where it is cheap it also shows the library's, so that an upgrade that changes it is noticed.
"""

import json
import logging
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import authlib.oauth2
import joserfc.errors
import pytest
from authlib.oauth2.rfc6749.util import extract_basic_authorization, scope_to_list
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from joserfc import jws as joserfc_jws
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from realmint.protocol import jws
from realmint.protocol.jws import JWSError
from tests.support.assertions import TYPE, Signer
from tests.support.forge import Forge
from tests.support.issuer import Issuer, basic, claims

READER = "--scope 'read write' --default-scope read"
GRANT = {"grant_type": "client_credentials"}
FORGE = Forge()
KEY = jws.verification_key(dict(FORGE.material.public_jwk))


def refused(token: str) -> str:
    with pytest.raises(JWSError) as error:
        jws.verify(jws.peek(token), KEY)
    return error.value.reason


# The frame


@contextmanager
def entered() -> Iterator[set[str]]:
    """Qualified names of Authlib's functions that are entered meanwhile."""
    seen: set[str] = set()

    def record(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and str(frame.f_globals.get("__name__", "")).startswith("authlib."):
            seen.add(frame.f_code.co_qualname)

    before = sys.getprofile()
    sys.setprofile(record)
    try:
        yield seen
    finally:
        sys.setprofile(before)


def test_a_token_request_goes_through_authlibs_server_and_its_client_credentials_grant(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    with entered() as seen:
        issuer.token(caller)
    assert seen >= {
        "AuthorizationServer.create_token_response",
        "AuthorizationServer.get_token_grant",
        "TokenEndpointMixin.check_token_endpoint",
        "ClientCredentialsGrant.validate_token_request",
        "BaseGrant.authenticate_token_endpoint_client",
        "ClientCredentialsGrant.create_token_response",
        "BaseGrant.save_token",
    }


def test_introspection_goes_through_authlibs_endpoint(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    token = issuer.token(caller)
    with entered() as seen:
        issuer.introspect(caller, token)
    assert seen >= {"AuthorizationServer.create_endpoint_response", "IntrospectionEndpoint.create_endpoint_response"}


# Authlib


def test_l1_parameters_in_the_query_are_refused_and_not_merged(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    address = issuer.address("/access_token")
    for query in ("?grant_type=client_credentials", "?scope=write", "?x="):
        answer = issuer.http.post(address + query, data=GRANT, headers=caller.basic)
        assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")


def test_l2_two_methods_at_once_are_refused_even_when_each_is_good(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    for form in (caller.post, {**caller.post, "client_secret": "wrong"}):
        answer = issuer.post("/access_token", GRANT | form, caller.basic)
        assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")


def test_l3_an_unknown_client_and_a_wrong_secret_get_the_same_answer_by_both_methods(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    answers = set()
    for client_id, secret in (("nobody", caller.secret), (caller.client_id, "wrong")):
        by_header = issuer.post("/access_token", GRANT, basic(client_id, secret))
        by_body = issuer.post("/access_token", GRANT | {"client_id": client_id, "client_secret": secret})
        for answer in (by_header, by_body):
            answers.add((answer.status_code, answer.data, answer.headers["WWW-Authenticate"]))
    assert len(answers) == 1


def test_l4_a_basic_header_that_cannot_be_read_is_400_where_authlibs_parser_raises(issuer: Issuer) -> None:
    bad = ["Basic /////w==", "Basic ", "Basic"]
    for value in bad:
        answer = issuer.post("/access_token", GRANT, {"Authorization": value})
        assert (answer.status_code, answer.json["error"]) == (400, "invalid_request"), value
    with pytest.raises(ValueError):
        extract_basic_authorization({"Authorization": "Basic /////w=="})
    # Authlib does not turn + into a space (RFC 6749 appendix B).
    assert extract_basic_authorization({"Authorization": "Basic YStiOmM="}) == ("a+b", "c")


def test_l5_deep_nesting_ends_in_a_refusal(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    deep = FORGE.token(claims=("[" * 3000 + "]" * 3000).encode())
    assert issuer.introspect(caller, deep).json == {"active": False}


def test_l6_an_assertion_for_several_servers_good_for_years_is_refused_where_authlibs_checks_let_it_in(
    issuer: Issuer, tmp_path: Path
) -> None:
    signer = Signer("signs")
    (tmp_path / "key.jwk").write_text(json.dumps(signer.public_jwk()))
    issuer.run("clients create signs --scope read --default-scope read --auth-method private_key_jwt")
    issuer.run(f"clients keys add signs {tmp_path / 'key.jwk'}")
    issuer.clock.advance(2)
    now = issuer.clock.wall()
    for changes in ({"aud": [signer.audience, "https://other.example"]}, {"exp": now + 3 * 365 * 86400}):
        said = signer.claims(now, **changes)
        theirs = JWTBearerClientAssertion(validate_jti=False, leeway=10**9)
        theirs.get_audiences = lambda: [signer.audience]
        theirs.verify_claims(said)  # raises nothing
        form = GRANT | {"client_assertion_type": TYPE, "client_assertion": signer.signed(said)}
        assert issuer.post("/access_token", form).status_code == 401
    good = GRANT | {"client_assertion_type": TYPE, "client_assertion": signer.assertion(now)}
    assert issuer.post("/access_token", good).status_code == 200


def test_l13_authlib_has_nothing_for_proofs_and_certificates_so_that_all_of_it_is_ours() -> None:
    """Once it has, its own is worth a look."""
    names = {module.name for module in pkgutil.iter_modules(authlib.oauth2.__path__)}
    assert names.isdisjoint({"rfc8705", "rfc9449"})
    assert "rfc7523" in names


def test_l7_algorithms_are_our_explicit_list_and_not_the_librarys_recommendation() -> None:
    for alg in ("PS256", "EdDSA", "ES384"):
        forge = Forge(alg)
        assert jws.verify(jws.peek(forge.token()), jws.verification_key(dict(forge.material.public_jwk)))
    assert refused(FORGE.hmac(b"secret" * 8)) == "alg"
    with pytest.raises(joserfc.errors.UnsupportedAlgorithmError):
        joserfc_jwt.decode(Forge("ES384").token(), ECKey.generate_key("P-384"))


@pytest.mark.parametrize("scope", [{"a": 1}, 5])
def test_l8_a_scope_of_another_type_is_a_refusal_and_no_fault(issuer: Issuer, scope: Any) -> None:
    caller = issuer.client(options=READER)
    assert issuer.introspect(caller, FORGE.token(scope=scope)).json == {"active": False}


def test_l9_an_unknown_hint_is_ignored_and_the_body_method_works_at_introspection(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    token = issuer.token(caller)
    assert issuer.introspect(caller, token, token_type_hint="pigeon").json["active"] is True
    assert issuer.post("/introspect", caller.post | {"token": token}).json["active"] is True


def test_l10_a_token_lives_minutes_and_an_unknown_scope_refuses_the_request(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    assert issuer.token_response(caller).json["expires_in"] == 600
    assert issuer.token_response(caller, scope="read admin").json["error"] == "invalid_scope"
    assert scope_to_list("a\u00a0b") == ["a", "b"]  # Authlib splits on any white space
    assert issuer.token_response(caller, scope="read\u00a0write").json["error"] == "invalid_scope"


def test_l11_plain_http_behind_a_proxy_is_no_fault(make_issuer: Callable[..., Issuer]) -> None:
    issuer = make_issuer(BASE_URL="http://issuer.example", ALLOW_HTTP="1")
    issuer.runtime.boot()
    caller = issuer.client(options=READER)
    assert issuer.token_response(caller).status_code == 200
    assert claims(issuer.token(caller))["iss"] == "http://issuer.example/oauth2/realms/root"


def test_l12_authlibs_debug_log_shows_no_token(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("authlib").setLevel(logging.DEBUG)
    caller = issuer.client(options=READER)
    with caplog.at_level(logging.DEBUG):
        token = issuer.token(caller)
    assert "Issue token <token response>" in caplog.text
    assert not any(part in caplog.text for part in token.split("."))
    assert caller.secret not in caplog.text


def test_a_repeated_parameter_is_refused(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    for body in ("grant_type=client_credentials&scope=read&scope=read", "grant_type=client_credentials&x=1&x=2"):
        answer = issuer.http.post(
            issuer.address("/access_token"),
            data=body,
            headers=caller.basic,
            content_type="application/x-www-form-urlencoded",
        )
        assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")


def test_a_missing_grant_type_is_an_invalid_request(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    assert issuer.post("/access_token", {"scope": "read"}, caller.basic).json["error"] == "invalid_request"


def test_an_empty_token_value_is_refused_at_introspection(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    assert issuer.introspect(caller, "").json["error"] == "invalid_request"


def test_the_challenge_names_the_realm(issuer: Issuer) -> None:
    issuer.run("realms create /customers")
    answer = issuer.post("/access_token", GRANT, realm="/customers")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="/customers"'


def test_our_metadata_passes_authlibs_validation_which_allows_no_empty_response_types(issuer: Issuer) -> None:
    document = issuer.http.get(issuer.address("/.well-known/oauth-authorization-server")).json
    AuthorizationServerMetadata(document).validate()
    with pytest.raises(ValueError, match="response_types_supported"):
        AuthorizationServerMetadata(document | {"response_types_supported": []}).validate()


# joserfc


def test_l14_the_header_cap_is_ours() -> None:
    assert jws.verify(jws.peek(FORGE.with_header(x="y" * 600)), KEY)
    with pytest.raises(joserfc.errors.ExceededSizeError):
        joserfc_jws.extract_compact(FORGE.with_header(x="y" * 600).encode())
    assert refused(FORGE.with_header(x="y" * 2048)) == "too_large"


def test_l15_what_joserfc_lets_through_is_refused_here() -> None:
    ours = ECKey.import_key(dict(FORGE.material.public_jwk))
    lenient = {
        "crit empty": FORGE.with_header(crit=[]),
        "duplicate names": FORGE.token(claims=b'{"iss":"a","iss":"b"}'),
        "utf-16": FORGE.token(claims=json.dumps(FORGE.claims).encode("utf-16")),
        "lone surrogate": FORGE.token(claims=rb'{"sub":"\ud800"}'),
    }
    for kind, token in lenient.items():
        assert joserfc_jwt.decode(token, ours, algorithms=["ES256"]), kind
        refused(token)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = RSAKey.generate_key(1024).as_dict(private=False) | {"kid": "small"}
    with pytest.raises(JWSError, match="key"):
        jws.verification_key(small)


def test_l16_a_key_is_found_by_its_kid_and_one_bad_key_fails_alone() -> None:
    ours = ECKey.import_key(dict(FORGE.material.public_jwk))
    other_name = FORGE.with_header(kid="another")
    assert joserfc_jwt.decode(other_name, ours, algorithms=["ES256"])  # a lone Key ignores kid
    with pytest.raises((ValueError, KeyError, joserfc.errors.JoseError)):
        KeySet.import_key_set(
            {"keys": [dict(FORGE.material.public_jwk), {"kty": "EC", "crv": "P-999", "x": "", "y": ""}]}
        )


def test_l17_the_floor_of_joserfc_keeps_what_older_ones_let_through_out() -> None:
    for payload in (b"[]", b'{"exp":NaN}', b'{"exp":Infinity}'):
        assert refused(FORGE.token(claims=payload)) == "malformed"
    assert refused(FORGE.token() + "=") == "malformed"


def test_l18_what_is_good_by_default_stays_good() -> None:
    ours = ECKey.import_key(dict(FORGE.material.public_jwk))
    secret = OctKey.import_key(b"s" * 32)
    with pytest.raises(joserfc.errors.JoseError):
        joserfc_jwt.decode(FORGE.hmac(b"s" * 32), ours, algorithms=["HS256", "ES256"])
    with pytest.raises(joserfc.errors.JoseError):
        joserfc_jwt.decode(FORGE.token(), secret, algorithms=["HS256", "ES256"])
    for header in ({"alg": "none"}, {"zip": "DEF"}, {"unheard": "of"}):
        with pytest.raises(joserfc.errors.JoseError):
            joserfc_jwt.decode(FORGE.with_header(**header), ours, algorithms=["ES256"])


def test_signing_always_names_the_one_key_where_joserfc_would_pick_one_at_random(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    active = next(key["kid"] for key in issuer.run("keys list") if key["state"] == "active")
    kids = {jws.peek(issuer.token(caller)).kid for _ in range(20)}
    assert kids == {active}


def test_an_empty_list_of_algorithms_means_the_recommended_ones_to_joserfc_and_is_an_error_here() -> None:
    assert joserfc_jwt.decode(FORGE.token(), ECKey.import_key(dict(FORGE.material.public_jwk)), algorithms=[])
