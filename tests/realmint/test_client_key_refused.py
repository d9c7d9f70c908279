"""What is no key of a client's is refused, in a sentence that quotes none of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519

from realmint import ClientKey
from realmint.client_assertion import MAX_KEY
from realmint.protocol import jws
from tests.support.client_keys import (
    CURVED,
    DER,
    LOCKED,
    MADE,
    OPENSSH,
    PEM,
    PKCS8,
    PLAIN,
    RSA,
    SPKI,
    TRADITIONAL,
    another,
    pem,
    private_jwk,
)

ISSUER = "https://issuer.example/oauth2/realms/root"
START = 1_795_400_000
SMALL = rsa.generate_private_key(65537, 2040)


def _small_jwk() -> dict[str, Any]:
    numbers = SMALL.private_numbers()
    named = {"n": numbers.public_numbers.n, "e": 65537, "d": numbers.d}
    return {"kty": "RSA", **{name: jwt.utils.to_base64url_uint(value).decode() for name, value in named.items()}}


REFUSED: list[tuple[str, Callable[[], Any], str]] = [
    ("RSA of 2040 bits", lambda: pem(SMALL), "2048 to 8192 bits"),
    ("RSA of 2040 bits as a JWK", _small_jwk, "2048 to 8192 bits"),
    ("RSA with the exponent 3", lambda: pem(rsa.generate_private_key(3, 2048)), "exponent"),
    ("P-521", lambda: pem(ec.generate_private_key(ec.SECP521R1())), "P-256 or P-384"),
    ("secp256k1", lambda: pem(ec.generate_private_key(ec.SECP256K1())), "P-256 or P-384"),
    ("P-521 as a JWK", lambda: private_jwk(ec.generate_private_key(ec.SECP521R1())), "P-256 or P-384"),
    ("Ed448", lambda: pem(ed448.Ed448PrivateKey.generate()), "not RSA, EC or Ed25519"),
    ("X25519", lambda: pem(x25519.X25519PrivateKey.generate()), "not RSA, EC or Ed25519"),
    ("X25519 as a JWK", lambda: {**private_jwk(MADE["EdDSA"]), "crv": "X25519"}, "Ed25519"),
    ("DSA", lambda: pem(dsa.generate_private_key(2048)), "not RSA, EC or Ed25519"),
    ("a symmetric JWK", lambda: {"kty": "oct", "k": "c2VjcmV0"}, "no private half"),
    ("another kind of JWK", lambda: {"kty": "AKP", "d": "c2VjcmV0"}, "EC, OKP or RSA"),
    ("encrypted", lambda: pem(CURVED, lock=LOCKED), "encrypted, and no passphrase is taken"),
    ("encrypted as OpenSSL once did", lambda: pem(CURVED, TRADITIONAL, LOCKED), "encrypted, and no passphrase is taken"),
    ("OpenSSH's", lambda: pem(CURVED, OPENSSH), "OpenSSH"),
    ("public", lambda: CURVED.public_key().public_bytes(PEM, SPKI), "the private key is needed"),
    ("a public JWK", lambda: dict(ClientKey(pem(CURVED)).public_jwk), "the private key is needed"),
    ("two keys", lambda: pem(CURVED) + pem(MADE["ES384"]), "several private keys"),
    ("DER", lambda: CURVED.private_bytes(DER, PKCS8, PLAIN), "neither PEM text nor a JWK"),
    ("the name of a file", lambda: "client.pem", "ClientKey.from_file"),
    ("nothing", lambda: b"", "neither PEM text nor a JWK"),
    ("a list", lambda: b"[]", "neither PEM text nor a JWK"),
    ("half a PEM text", lambda: pem(CURVED)[:100], "no private key in PEM form"),
    ("None", lambda: None, "PEM text, or a JWK"),
    ("a JWK for encryption", lambda: private_jwk(CURVED, use="enc"), "not for signatures"),
    ("a JWK to verify with", lambda: private_jwk(CURVED, key_ops=["verify"]), "not for signatures"),
    ("a JWK with operations that are no list", lambda: private_jwk(CURVED, key_ops="sign"), "not for signatures"),
    ("a JWK for ES384 on P-256", lambda: private_jwk(CURVED, alg="ES384"), "it fits ES256"),
    ("a JWK for HMAC", lambda: private_jwk(CURVED, alg="HS256"), "it fits ES256"),
    ("a JWK with a list of algorithms", lambda: private_jwk(CURVED, alg=["ES256"]), "another algorithm"),
    ("a JWK whose number is none", lambda: private_jwk(CURVED, d=1), "malformed"),
    ("a JWK whose number is too large", lambda: private_jwk(CURVED, d="_" * 43 + "8"), "malformed"),
    ("a JWK of halves that differ", lambda: {**private_jwk(CURVED), "x": private_jwk(another("ES256"))["x"]}, "public members"),
    ("an RSA JWK of halves that differ", lambda: {**private_jwk(RSA), "n": private_jwk(another("PS256"))["n"]}, "malformed"),
    ("an RSA JWK with one prime", lambda: {name: value for name, value in private_jwk(RSA).items() if name != "q"}, "malformed"),
    ("an RSA JWK of three primes", lambda: private_jwk(RSA, oth=[{}]), "two primes"),
    ("a JWK with a name of no characters", lambda: private_jwk(CURVED, kid=""), "a kid is"),
    ("a JWK with a number for a name", lambda: private_jwk(CURVED, kid=7), "a kid is"),
    ("a guessable curve key", lambda: pem(ec.derive_private_key(12345, ec.SECP256R1())), "can be guessed"),
    ("a guessable Ed25519 key", lambda: pem(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))), "can be guessed"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_no_key_to_use_is_refused_in_a_sentence_that_quotes_none_of_it(
    make: Callable[[], Any], words: str, tmp_path: Path
) -> None:
    given = make()
    with pytest.raises(ValueError) as refused:
        ClientKey(given)
    assert words in str(refused.value)
    assert refused.value.__cause__ is None
    raw = given if isinstance(given, bytes) else json.dumps(given).encode()
    quoted = {raw[start : start + 16] for start in range(0, len(raw), 8)} if len(raw) > 60 else set()
    assert not any(part in str(refused.value).encode() for part in quoted if len(part) == 16)
    if given is not None:
        file = tmp_path / "key"
        file.write_bytes(raw)
        with pytest.raises(ValueError) as refused:
            ClientKey.from_file(file)
        assert str(refused.value).startswith(f"{file}: ")


@pytest.mark.parametrize("bits", [2040, 2048, 2056])
@pytest.mark.rfc("7518", "3.3")
def test_an_rsa_key_has_2048_bits_at_least(bits: int) -> None:
    made = SMALL if bits == 2040 else RSA if bits == 2048 else rsa.generate_private_key(65537, bits)
    if bits < 2048:
        with pytest.raises(ValueError, match="2048 to 8192 bits"):
            ClientKey(pem(made))
    else:
        assert ClientKey(pem(made)).alg == "PS256"


@pytest.mark.parametrize(("length", "good"), [(0, False), (1, True), (128, True), (129, False)])
def test_a_kid_is_as_long_as_a_header_may_have_it(length: int, good: bool) -> None:
    if good:
        assert jws.peek(ClientKey(pem(CURVED), kid="k" * length).assertion("a", ISSUER, START)).kid == "k" * length
    else:
        with pytest.raises(ValueError, match="a kid is"):
            ClientKey(pem(CURVED), kid="k" * length)


@pytest.mark.parametrize("kid", ["a\nb", "schlüssel", "\0"])
def test_a_kid_that_no_log_could_show_is_refused(kid: str) -> None:
    with pytest.raises(ValueError, match="a kid is"):
        ClientKey(pem(CURVED), kid=kid)


@pytest.mark.parametrize("wish", ["HS256", "none", "ES384", "RS256", ""])
def test_a_key_signs_with_no_algorithm_but_its_own(wish: str) -> None:
    with pytest.raises(ValueError, match="it fits ES256"):
        ClientKey(pem(CURVED), alg=wish)


def test_a_file_that_is_not_there_or_too_long_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(ValueError) as refused:
        ClientKey.from_file(missing)
    assert str(refused.value) == f"{missing}: No such file or directory"
    for length, words in (
        (MAX_KEY - 1, "neither PEM"),
        (MAX_KEY, "neither PEM"),
        (MAX_KEY + 1, "longer than 65536 bytes"),
    ):
        missing.write_bytes(b"x" * length)
        with pytest.raises(ValueError, match=words):
            ClientKey.from_file(missing)


@pytest.mark.parametrize(("client_id", "audience"), [("", ISSUER), ("a", ""), (None, ISSUER), ("a", [ISSUER])])
def test_an_assertion_names_one_client_and_one_issuer(client_id: Any, audience: Any) -> None:
    with pytest.raises(ValueError, match="client_id and the issuer identifier"):
        ClientKey(pem(CURVED)).assertion(client_id, audience, START)
