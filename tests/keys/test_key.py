"""Keys: names, algorithms, and what never shows."""

import json
import traceback
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc import jws as joserfc_jws
from joserfc.jwk import JWKRegistry

from keys.key import ALGORITHMS, generate, signer
from realmint.protocol import jws

CLAIMS: dict[str, Any] = {"sub": "svc", "n": 1, "text": "é"}
SIZES = {"ES256": 64, "ES384": 96, "EdDSA": 64, "RS256": 256, "PS256": 256}
# RFC 7638 section 3.1: the one published example of a thumbprint.
RFC7638_JWK = {
    "kty": "RSA",
    "n": (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
        "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
        "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-"
        "kEgU8awapJzKnqDKgw"
    ),
    "e": "AQAB",
}


@pytest.fixture(scope="module", params=list(ALGORITHMS))
def material(request: pytest.FixtureRequest) -> Any:
    return generate(request.param)


@pytest.mark.rfc("7638", "3.1")
def test_a_kid_is_the_thumbprint_of_the_public_key(material: Any) -> None:
    assert jws.import_public(RFC7638_JWK).thumbprint() == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert material.kid == material.public_jwk["kid"] == jws.import_public(material.public_jwk).thumbprint()


def test_a_public_jwk_says_what_it_is_for_and_holds_no_private_member(material: Any) -> None:
    assert material.public_jwk["use"] == "sig"
    assert material.public_jwk["alg"] == material.alg
    assert not {"d", "p", "q", "dp", "dq", "qi", "oth", "k", "key_ops"} & set(material.public_jwk)


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_what_is_signed_verifies_here_and_with_two_other_libraries(material: Any) -> None:
    token = jws.sign(CLAIMS, signer(material.kid, material.alg, material.pkcs8), "at+jwt")
    assert jws.verify(jws.peek(token), jws.verification_key(dict(material.public_jwk))).claims == CLAIMS
    theirs = joserfc_jws.deserialize_compact(
        token, JWKRegistry.import_key(dict(material.public_jwk)), algorithms=[material.alg]
    )
    assert json.loads(theirs.payload) == CLAIMS
    assert theirs.headers() == {"alg": material.alg, "kid": material.kid, "typ": "at+jwt"}
    key = pyjwt.PyJWK(dict(material.public_jwk))
    assert (
        pyjwt.api_jws.decode(token, key, algorithms=[material.alg])
        == json.dumps(CLAIMS, separators=(",", ":"), ensure_ascii=False).encode()
    )


@pytest.mark.rfc("7518", "3.4")
def test_a_signature_has_the_fixed_length_of_jose_and_is_not_der(material: Any) -> None:
    made = [signer(material.kid, material.alg, material.pkcs8).sign(str(n).encode()) for n in range(50)]
    assert {len(signature) for signature in made} == {SIZES[material.alg]}
    if material.alg.startswith("ES"):
        with pytest.raises(ValueError):
            decode_dss_signature(made[0])


def test_189_no_private_byte_shows_in_a_repr_or_a_traceback(material: Any) -> None:
    shown = repr(material) + repr(signer(material.kid, material.alg, material.pkcs8))
    try:
        signer(material.kid, material.alg, material.pkcs8).sign("not bytes")  # type: ignore[arg-type]
    except TypeError:
        shown += traceback.format_exc()
    assert material.pkcs8.hex()[:40] not in shown
    assert repr(material.pkcs8)[2:40] not in shown


def test_rsa_keys_come_in_the_size_asked_for() -> None:
    key = jws.import_public(generate("RS256", 3072).public_jwk)
    assert key.public_key.key_size == 3072
