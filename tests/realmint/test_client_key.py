"""A client's own key and its assertions, verified by others than us; and assertions that somebody else left in a file."""

import copy
import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from joserfc import jwk as joserfc_jwk
from joserfc import jws as joserfc_jws

from realmint import ClientKey
from realmint.protocol import jws
from tests.support.client_keys import (
    ALGORITHMS,
    BY_TYPE,
    CURVED,
    DER,
    MADE,
    PKCS8,
    PLAIN,
    RSA,
    TRADITIONAL,
    another,
    pem,
    private_jwk,
)
from tests.support.clock import START
from tests.support.private import shows, spellings

ISSUER = "https://issuer.example/oauth2/realms/root"


def header(assertion: str) -> Mapping[str, Any]:
    return dict(jwt.get_unverified_header(assertion))


@pytest.fixture(params=ALGORITHMS)
def alg(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def key(alg: str) -> ClientKey:
    return ClientKey(pem(MADE[alg]), alg=alg, kid="orders-2026")


@pytest.mark.rfc("7523", "3")
def test_an_assertion_is_verified_by_pyjwt_with_the_issuer_as_its_one_audience(key: ClientKey, alg: str) -> None:
    assertion = key.assertion("orders-api", ISSUER, START)
    said = jwt.decode(
        assertion, MADE[alg].public_key(), algorithms=[alg], audience=ISSUER,
        options={"verify_exp": False, "verify_iat": False, "require": ["iss", "sub", "aud", "iat", "exp", "jti"], "strict_aud": True},
    )  # fmt: skip
    jti = said.pop("jti")
    assert said == {"iss": "orders-api", "sub": "orders-api", "aud": ISSUER, "iat": START, "exp": START + 60}
    assert header(assertion) == {"alg": alg, "kid": "orders-2026", "typ": "client-authentication+jwt"}
    assert len(jti) >= 22  # 128 bits in base64url


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # RFC 9864 has another name for the same
def test_an_assertion_is_verified_by_joserfc_under_the_public_jwk(key: ClientKey, alg: str) -> None:
    published = joserfc_jwk.JWKRegistry.import_key(dict(key.public_jwk))
    assert not published.is_private
    assertion = key.assertion("orders-api", ISSUER, START)
    read = joserfc_jws.deserialize_compact(assertion, published, algorithms=[alg])
    assert json.loads(read.payload)["sub"] == "orders-api"
    with pytest.raises(Exception, match="bad_signature"):
        joserfc_jws.deserialize_compact(assertion, joserfc_jwk.JWKRegistry.import_key(
            dict(ClientKey(pem(another(alg)), alg=alg).public_jwk)), algorithms=[alg])  # fmt: skip


def test_a_thousand_signatures_of_a_curve_are_all_as_long_as_jose_wants_them() -> None:
    for alg, size in (("ES256", 64), ("ES384", 96)):
        key = ClientKey(pem(MADE[alg]))
        for _ in range(500):  # an r or s with a leading zero byte comes once in 128
            read = jws.peek(key.assertion("a", ISSUER, START))
            assert len(read.signature) == size


def test_our_own_issuers_take_the_public_jwk(key: ClientKey, alg: str) -> None:
    found = jws.verification_key(dict(key.public_jwk))
    assert found.algorithms == {alg}
    assert jws.verify(jws.peek(key.assertion("a", ISSUER, START)), found).kid == "orders-2026"
    assert not jws.PRIVATE_MEMBERS & key.public_jwk.keys()


@pytest.mark.parametrize("alg", BY_TYPE)
def test_the_algorithm_follows_the_type_of_the_key_and_the_name_is_its_thumbprint(alg: str) -> None:
    key = ClientKey(pem(MADE[alg]).decode())
    thumbprint = joserfc_jwk.JWKRegistry.import_key(
        {name: value for name, value in key.public_jwk.items() if name not in ("kid", "use", "alg")}
    ).thumbprint()
    assert (key.alg, key.kid) == (alg, thumbprint)


def test_a_jwk_s_own_name_and_algorithm_count_unless_others_are_given() -> None:
    jwk = private_jwk(RSA, kid="mine", alg="RS256", use="sig", key_ops=["sign"])
    for given in (jwk, json.dumps(jwk), json.dumps(jwk).encode()):
        key = ClientKey(given)
        assert (key.kid, key.alg) == ("mine", "RS256")
    assert ClientKey(jwk, kid="other").kid == "other"
    assert ClientKey(private_jwk(MADE["EdDSA"], alg="Ed25519")).alg == "EdDSA"
    with pytest.raises(ValueError, match="another algorithm"):
        ClientKey(jwk, alg="PS256")


@pytest.mark.parametrize("alg", BY_TYPE)
def test_every_spelling_of_a_key_is_the_same_key(alg: str, tmp_path: Path) -> None:
    made = MADE[alg]
    texts: list[Any] = [pem(made), pem(made).decode(), pem(made).replace(b"\n", b"\r\n"), private_jwk(made)]
    texts += [pem(made, TRADITIONAL)] if alg != "EdDSA" else []
    if alg == "PS256":  # RFC 7518 section 6.3.2: with the primes, or without
        texts.append({name: value for name, value in private_jwk(made).items() if name in ("kty", "n", "e", "d")})
    assert len({ClientKey(text).kid for text in texts}) == 1
    for number, text in enumerate([texts[0], json.dumps(private_jwk(made)).encode()]):
        file = tmp_path / str(number)
        file.write_bytes(text)
        assert ClientKey.from_file(file).kid == ClientKey.from_file(str(file)).kid == ClientKey(texts[0]).kid


def test_openssl_s_curve_parameters_in_front_of_a_key_are_passed_over() -> None:
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert ClientKey(parameters + pem(CURVED, TRADITIONAL)).alg == "ES256"


def test_a_key_is_in_no_repr_and_can_be_written_nowhere(key: ClientKey, alg: str) -> None:
    secret = spellings(MADE[alg].private_bytes(DER, PKCS8, PLAIN))
    assert repr(key) == f"ClientKey(kid='orders-2026', alg='{alg}')"
    assert repr(key._signer) == f"PrivateKey(kid='orders-2026', alg='{alg}')"
    assert not hasattr(key, "__dict__")
    assert not shows(f"{key} {key!r} {key._signer!r} {dict(key.public_jwk)} {copy.copy(key)}", secret)
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pickle.dumps(key)


def test_who_changes_the_public_jwk_changes_a_copy() -> None:
    key = ClientKey(pem(CURVED))
    public: Any = key.public_jwk
    public["kid"] = "another"
    assert key.public_jwk["kid"] == key.kid != "another"


def test_no_two_assertions_are_the_same_also_in_a_forked_child() -> None:
    key = ClientKey(pem(CURVED))

    def jti() -> str:
        return str(jws.peek(key.assertion("a", ISSUER, START)).claims["jti"])

    here = {jti() for _ in range(1000)}
    assert len(here) == 1000
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, jti().encode())
        os._exit(0)
    os.waitpid(child, 0)
    ours, theirs = jti(), os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)
    assert len(here | {ours, theirs}) == 1002
