"""A private key of a client's own: read, looked at, and signing (RFC 7518 sections 3 and 6, RFC 8037)."""

from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from realmint.protocol import base64url
from realmint.protocol.jws import MAX_KID, MIN_RSA_BITS, JWSError, import_public
from realmint.protocol.names import OTHER_NAMES
from realmint.protocol.signatures import checks
from realmint.protocol.weak import is_weak_scalar, is_weak_seed

MAX_RSA_BITS = 8192
"""Largest RSA key: what verifies here takes no larger one."""

_CURVES: Mapping[str, tuple[str, str, int, ec.ECDSA]] = {
    "secp256r1": ("P-256", "ES256", 32, ec.ECDSA(SHA256())),
    "secp384r1": ("P-384", "ES384", 48, ec.ECDSA(SHA384())),
}
_NAMED: Mapping[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}
_RSA: Mapping[str, padding.AsymmetricPadding] = {
    "PS256": padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=SHA256.digest_size),
    "RS256": padding.PKCS1v15(),
}
_CRT = ("p", "q", "dp", "dq", "qi")
_GUESSABLE = "the key can be guessed: its numbers were not drawn at random"


class KeyRefused(ValueError):
    """A key cannot be used. The message names the rule, and never the key or a part of it."""


class PrivateKey:
    """A private key in this process, bound to one algorithm. Its repr shows `kid` and `alg` alone.

    public_jwk: the public half (RFC 7517), as an issuer is told of it.
    """

    __slots__ = ("_sign", "alg", "kid", "public_jwk")

    def __init__(self, kid: str, alg: str, public_jwk: Mapping[str, Any], sign: Callable[[bytes], bytes]) -> None:
        self.kid, self.alg, self.public_jwk, self._sign = kid, alg, public_jwk, sign

    def sign(self, signing_input: bytes) -> bytes:
        """The raw JOSE signature: r||s for ECDSA (RFC 7518 section 3.4)."""
        return self._sign(signing_input)

    def __repr__(self) -> str:
        return f"PrivateKey(kid={self.kid!r}, alg={self.alg!r})"


def from_pem(raw: bytes, kid: str | None = None, alg: str | None = None) -> PrivateKey:
    """The one private key of a PEM file (PKCS #8, PKCS #1, SEC 1). Raises KeyRefused.

    kid: its name; without, its thumbprint (RFC 7638). alg: without, by its type: ES256, ES384, EdDSA; PS256 for RSA.
    Checked: size, type and curve, that its numbers belong together and were drawn at random, and what it signs.
    """
    if raw.count(b"PRIVATE KEY-----") > 2:  # a line before it and one after
        raise KeyRefused("the PEM text holds several private keys: give one")
    try:
        private = load_pem_private_key(raw, None)
    except TypeError:
        raise KeyRefused("the key is encrypted, and no passphrase is taken: decrypt it first") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRefused(_no_key(raw)) from None
    return _checked(private, kid, alg)


def from_jwk(jwk: Mapping[str, Any], kid: str | None = None, alg: str | None = None) -> PrivateKey:
    """As from_pem, of a private JWK (RFC 7517), whose own `kid` and `alg` count where none is given."""
    if "d" not in jwk:
        raise KeyRefused("the JWK has no private half: the private key is needed, not the public one")
    named = jwk.get("alg")
    if isinstance(named, str):
        named = OTHER_NAMES.get(named, named)
    if named is not None and (not isinstance(named, str) or alg not in (None, named)):
        raise KeyRefused("the JWK is for another algorithm than alg")
    operations = jwk.get("key_ops", ["sign"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "sign" not in operations:
        raise KeyRefused("the JWK is not for signatures")
    read = {"EC": _ec, "OKP": _okp, "RSA": _rsa}.get(str(jwk.get("kty")))
    if read is None:
        raise KeyRefused("the JWK is not an EC, OKP or RSA key")
    try:
        private = read(jwk)
    except KeyRefused:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, UnsupportedAlgorithm):
        raise KeyRefused("the JWK is malformed, or its numbers do not belong together") from None
    found = _checked(private, kid if kid is not None else jwk.get("kid"), alg or named)
    if any(jwk.get(name) != found.public_jwk.get(name) for name in ("crv", "x", "y", "n", "e")):
        raise KeyRefused("the public members of the JWK are not those of its private key")
    return found


def _no_key(raw: bytes) -> str:
    if b"PUBLIC KEY-----" in raw or b"CERTIFICATE-----" in raw:
        return "there is no private key in it, but a public one: the private key is needed"
    if b"OPENSSH PRIVATE KEY-----" in raw:
        return "the key is in OpenSSH's own format: PEM is needed (PKCS #8, PKCS #1, SEC 1)"
    return "there is no private key in PEM form that can be read"


def _checked(private: Any, kid: object, alg: str | None) -> PrivateKey:
    members, signs = _fitting(private)
    chosen = next(iter(signs)) if alg is None else alg
    if chosen not in signs:
        raise KeyRefused(f"the key does not fit alg; it fits {' or '.join(signs)}")
    try:
        thumbprint = str(import_public(members).thumbprint())
    except JWSError:
        raise KeyRefused(_GUESSABLE) from None
    name = thumbprint if kid is None else kid
    if not isinstance(name, str) or not name.isascii() or not name.isprintable() or not 0 < len(name) <= MAX_KID:
        raise KeyRefused(f"a kid is 1 to {MAX_KID} printable ASCII characters")
    canary = b"canary"
    if not checks(private.public_key())[chosen](signs[chosen](canary), canary):
        raise KeyRefused("what the key signs does not verify: its numbers do not belong together")
    return PrivateKey(name, chosen, {**members, "kid": name, "use": "sig", "alg": chosen}, signs[chosen])


def _fitting(private: Any) -> tuple[dict[str, str], Mapping[str, Callable[[bytes], bytes]]]:
    """The members of its public JWK, and how it signs by algorithm, the one for want of a wish first."""
    if isinstance(private, rsa.RSAPrivateKey):
        return _fitting_rsa(private)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return _fitting_curve(private)
    if isinstance(private, Ed25519PrivateKey):
        if is_weak_seed(private.private_bytes_raw()):
            raise KeyRefused(_GUESSABLE)
        public: Ed25519PublicKey = private.public_key()
        return {"kty": "OKP", "crv": "Ed25519", "x": _text(public.public_bytes_raw())}, {"EdDSA": private.sign}
    raise KeyRefused("the key is not RSA, EC or Ed25519")


def _fitting_rsa(private: rsa.RSAPrivateKey) -> tuple[dict[str, str], Mapping[str, Callable[[bytes], bytes]]]:
    if not MIN_RSA_BITS <= private.key_size <= MAX_RSA_BITS:
        raise KeyRefused(f"an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits (RFC 7518 section 3.3)")
    public = private.public_key().public_numbers()
    if public.e < 65537:
        raise KeyRefused("an RSA key has an exponent of 65537 or more")

    def signing(how: padding.AsymmetricPadding) -> Callable[[bytes], bytes]:
        return lambda signing_input: private.sign(signing_input, how, SHA256())

    members = {"kty": "RSA", "n": _number_text(public.n), "e": _number_text(public.e)}
    return members, {alg: signing(how) for alg, how in _RSA.items()}


def _fitting_curve(
    private: ec.EllipticCurvePrivateKey,
) -> tuple[dict[str, str], Mapping[str, Callable[[bytes], bytes]]]:
    if private.curve.name not in _CURVES:
        raise KeyRefused("an EC key is on P-256 or P-384")
    curve, alg, size, how = _CURVES[private.curve.name]
    if is_weak_scalar(private.private_numbers().private_value, private.curve.group_order):
        raise KeyRefused(_GUESSABLE)

    def sign(signing_input: bytes) -> bytes:
        # JOSE wants r||s of fixed length where the library gives DER (RFC 7518 section 3.4).
        r, s = decode_dss_signature(private.sign(signing_input, how))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    public = private.public_key().public_numbers()
    x, y = (_text(number.to_bytes(size, "big")) for number in (public.x, public.y))
    return {"kty": "EC", "crv": curve, "x": x, "y": y}, {alg: sign}


def _ec(jwk: Mapping[str, Any]) -> ec.EllipticCurvePrivateKey:
    curve = _NAMED.get(str(jwk.get("crv")))
    if curve is None:
        raise KeyRefused("an EC key is on P-256 or P-384")
    return ec.derive_private_key(_number(jwk, "d"), curve)


def _okp(jwk: Mapping[str, Any]) -> Ed25519PrivateKey:
    if jwk.get("crv") != "Ed25519":
        raise KeyRefused("an OKP key is on Ed25519")
    return Ed25519PrivateKey.from_private_bytes(base64url.decode(jwk["d"].encode("ascii")))


def _rsa(jwk: Mapping[str, Any]) -> rsa.RSAPrivateKey:
    n, e, d = (_number(jwk, name) for name in ("n", "e", "d"))
    if not MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS:  # before work that grows with it
        raise KeyRefused(f"an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits (RFC 7518 section 3.3)")
    if "oth" in jwk:
        raise KeyRefused("an RSA key has two primes")
    if not any(name in jwk for name in _CRT):  # with them or without (RFC 7518 section 6.3.2)
        p, q = rsa.rsa_recover_prime_factors(n, e, d)
        crt = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    else:
        p, q, *rest = (_number(jwk, name) for name in _CRT)
        crt = (rest[0], rest[1], rest[2])
    return rsa.RSAPrivateNumbers(p, q, d, *crt, rsa.RSAPublicNumbers(e, n)).private_key()


def _number(jwk: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(base64url.decode(jwk[name].encode("ascii")), "big")


def _number_text(number: int) -> str:
    return _text(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _text(raw: bytes) -> str:
    return base64url.encode(raw).decode("ascii")
