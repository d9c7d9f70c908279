"""Signing keys: the values, the algorithms, and the only code that touches a private key object."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from realmint.protocol.jws import import_public
from realmint.protocol.weak import has_roca_fingerprint, is_weak_modulus, is_weak_scalar, is_weak_seed

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

RSA_BITS = (2048, 3072)
"""Sizes a realm may ask for; 2048 is the floor of RFC 7518 section 3.3."""
IMPORTED_RSA_BITS = (*RSA_BITS, 4096)
"""Sizes that may be imported."""
LOCAL = "local"
"""The backend of a key whose private half is in this database, sealed."""
# Not an option to a command, and no name that a file system takes for a folder or hides.
_KID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class State(StrEnum):
    """The states of a key (keys/__init__.py)."""

    PENDING = "pending"
    PUBLISHED = "published"
    ACTIVE = "active"
    RETIRING = "retiring"
    RETIRED = "retired"
    REVOKED = "revoked"


IN_JWKS = (State.ACTIVE, State.PUBLISHED, State.RETIRING)
"""States whose public half is published, in the order of the JWKS."""


@dataclass(frozen=True)
class Key:
    """One key's public half and history. Instants are absolute, in seconds since the epoch, never recomputed.

    last_absent_at: the last instant at which a JWKS without this key may have been served; None when there
    was none, as for the keys a realm is born with. max_lifetime: the longest token lifetime, in seconds, ever
    allowed while it was active. not_signed_after, max_exp_bound: no signature of it is later, and no token it signed
    lives longer; fixed when it stops signing. backend: where the private half is. proof: that the public one is ours.
    """

    kid: str
    thumbprint: str
    realm_id: int
    alg: str
    state: State
    public_jwk: Mapping[str, Any]
    backend: str
    kek_id: str | None
    created_at: int
    published_at: int | None = None
    last_absent_at: int | None = None
    activated_at: int | None = None
    retiring_at: int | None = None
    max_lifetime: int = 0
    not_signed_after: int | None = None
    max_exp_bound: int | None = None
    retired_at: int | None = None
    revoked_at: int | None = None
    reason: str | None = None
    held: bool = False
    sealed: bytes | None = field(default=None, repr=False)
    proof: bytes | None = field(default=None, repr=False)

    @property
    def public_text(self) -> str:
        """The public half as it is stored and published, and as its proof is bound to it."""
        return canonical(self.public_jwk)


@dataclass(frozen=True)
class LocalSigner:
    """A private key in this process. Its repr shows the name only."""

    kid: str
    alg: str
    _sign: Callable[[bytes], bytes] = field(repr=False, compare=False)

    def sign(self, signing_input: bytes) -> bytes:
        """The raw JOSE signature (RFC 7518 section 3)."""
        return self._sign(signing_input)


@dataclass(frozen=True)
class Material:
    """A key that is not stored yet: its public JWK and its private half in PKCS #8, still to be sealed."""

    kid: str
    thumbprint: str
    alg: str
    public_jwk: Mapping[str, Any]
    pkcs8: bytes = field(repr=False)


@dataclass(frozen=True)
class Algorithm:
    """How to make a key for one algorithm and how to sign with it."""

    name: str
    generate: Callable[[int], PrivateKey]
    sign: Callable[[Any, bytes], bytes]


def generate(alg: str, rsa_bits: int = 2048) -> Material:
    """A new key for `alg`, named by its thumbprint (RFC 7638). `rsa_bits` concerns RSA algorithms only."""
    material = _material(ALGORITHMS[alg].generate(rsa_bits), alg, None)
    # A name that starts like an option could not be typed after a command.
    return material if not material.kid.startswith("-") else generate(alg, rsa_bits)


def signer(kid: str, alg: str, pkcs8: bytes) -> LocalSigner:
    """A signer over a private half that was sealed by us.

    Skips the consistency check of RSA numbers (70 ms): the seal is authenticated, so these are the bytes
    that were checked when the key was made or imported.
    """
    private = serialization.load_der_private_key(pkcs8, password=None, unsafe_skip_rsa_key_validation=True)
    return LocalSigner(kid, alg, partial(ALGORITHMS[alg].sign, private))


ENCRYPTED = "the file is encrypted; give its passphrase with --passphrase-stdin, or at a terminal"


class KeyRefused(ValueError):
    """A key may not be imported. The message names the rule and never the material."""


def from_pem(raw: bytes, alg: str | None, password: bytes | None = None, kid: str | None = None) -> Material:
    """The private key of a PEM file (PKCS #8, PKCS #1, SEC 1), to be used for `alg`. Raises KeyRefused.

    Checked: that its numbers belong together, type, size and curve, and that what it signs verifies.
    """
    try:
        private = serialization.load_pem_private_key(raw, password)
    except TypeError:  # a password that is needed and not given, or given and not needed
        needed = password is None
        raise KeyRefused(ENCRYPTED if needed else "the file is not encrypted") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRefused("the file holds no private key that can be read, or the passphrase is wrong") from None
    return _checked(private, alg, kid)


def from_jwk(jwk: Mapping[str, Any], alg: str | None, kid: str | None = None) -> Material:
    """The private key of a JWK (RFC 7517), to be used for `alg` or what the JWK itself says. Raises KeyRefused.

    Checked as from_pem checks, and that its public members are those of its private ones.
    """
    named = jwk.get("alg")
    if named is not None and alg is not None and named != alg:
        raise KeyRefused(f"the key is for another algorithm than {alg}")
    operations = jwk.get("key_ops", ["sign"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "sign" not in operations:
        raise KeyRefused("the key is not for signatures")
    wrapper: Any = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}.get(str(jwk.get("kty")))
    if wrapper is None or not isinstance(jwk.get("d"), str):
        raise KeyRefused("the JWK is not an RSA, EC or OKP private key")
    modulus = jwk.get("n", "")
    # Measured first: the library warns of small ones where we refuse, and is slow with huge ones.
    if wrapper is RSAKey and not (isinstance(modulus, str) and 340 <= len(modulus) <= 690):
        raise KeyRefused(f"an RSA key has {', '.join(map(str, IMPORTED_RSA_BITS))} bits")
    try:
        private = wrapper.import_key(dict(jwk)).private_key
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, OverflowError, UnsupportedAlgorithm):
        raise KeyRefused("the JWK is malformed, or its halves do not belong together") from None
    material = _checked(private, alg or named, kid)
    for member in ("crv", "x", "y", "n", "e"):
        if jwk.get(member) != material.public_jwk.get(member):
            raise KeyRefused("the public members of the JWK are not those of its private key")
    return material


def public_jwk_of_pem(raw: bytes) -> dict[str, Any]:
    """The public key of a PEM file, or of a certificate in one, as a JWK. Raises KeyRefused, for a private one too.

    Not checked: whether it is of a type and a size that we use, and everything a certificate says besides.
    """
    from cryptography import x509  # of use to one command in a hundred, and slow to load

    if b"PRIVATE KEY-----" in raw:
        raise KeyRefused("that is a private key, which nobody but its owner may have; give the public half")
    try:
        if b"-----BEGIN CERTIFICATE-----" in raw:
            public: Any = x509.load_pem_x509_certificate(raw).public_key()
        else:
            public = serialization.load_pem_public_key(raw)
        return dict(_wrapper(public)(public, public).as_dict(private=False))
    except (JoseError, ValueError, TypeError, AttributeError, UnsupportedAlgorithm):
        raise KeyRefused("the file holds no public key that can be read") from None


def private_jwk(material: Material) -> dict[str, Any]:
    """The whole key as a JWK, private members included. For sealing only; never to be shown."""
    private: Any = serialization.load_der_private_key(material.pkcs8, password=None)
    members = _wrapper(private.public_key())(private, private).as_dict(private=True)
    return {**members, **material.public_jwk}


def public_pem(public_jwk: Mapping[str, Any]) -> bytes:
    """The public half as PEM (SubjectPublicKeyInfo)."""
    key: Any = import_public(public_jwk)
    return bytes(key.as_pem(private=False))


def _checked(private: Any, alg: str | None, kid: str | None) -> Material:
    if kid is not None and not _KID.fullmatch(kid):
        raise KeyRefused("a kid is 1 to 128 of A-Z a-z 0-9 . _ - and begins with none of . -")
    fitting = _fitting(private)
    if alg is None and len(fitting) > 1:
        raise KeyRefused(f"say which algorithm the key is for: {' or '.join(fitting)}")
    if (alg or fitting[0]) not in fitting:
        raise KeyRefused(f"the key does not fit {alg}; it fits {' or '.join(fitting)}")
    chosen = alg or fitting[0]
    material = _material(private, chosen, kid)
    canary = b"canary"
    try:
        _verify(private.public_key(), chosen, signer(material.kid, chosen, material.pkcs8).sign(canary), canary)
    except (InvalidSignature, ValueError):
        raise KeyRefused("what the key signs does not verify: its halves do not belong together") from None
    return material


_NOT_RANDOM = "the key's private number was not drawn at random, and can be guessed"


def _fitting(private: Any) -> tuple[str, ...]:
    """The algorithms that a private key may sign. Raises KeyRefused for one that none has, or that can be guessed."""
    if isinstance(private, rsa.RSAPrivateKey):
        return _fitting_rsa(private)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        alg = {"secp256r1": "ES256", "secp384r1": "ES384"}.get(private.curve.name)
        if alg is None:
            raise KeyRefused("an EC key is on P-256 or P-384")
        if is_weak_scalar(private.private_numbers().private_value, private.curve.group_order):
            raise KeyRefused(_NOT_RANDOM)
        return (alg,)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        if is_weak_seed(private.private_bytes_raw()):
            raise KeyRefused(_NOT_RANDOM)
        return ("EdDSA",)
    raise KeyRefused("the key is not RSA, EC or Ed25519")


def _fitting_rsa(private: rsa.RSAPrivateKey) -> tuple[str, ...]:
    numbers = private.public_key().public_numbers()
    if private.key_size not in IMPORTED_RSA_BITS:
        raise KeyRefused(f"an RSA key has {', '.join(map(str, IMPORTED_RSA_BITS))} bits")
    if numbers.e != 65537:
        raise KeyRefused("an RSA key has the exponent 65537")
    if has_roca_fingerprint(numbers.n):
        raise KeyRefused("the RSA key has the fingerprint of a flawed generator (CVE-2017-15361)")
    if is_weak_modulus(numbers.n):
        raise KeyRefused("the RSA key's primes are so close that its modulus gives them away")
    return ("RS256", "PS256")


def _verify(public: Any, alg: str, signature: bytes, message: bytes) -> None:
    """Raises InvalidSignature unless the raw JOSE signature is right."""
    if isinstance(public, ec.EllipticCurvePublicKey):
        half = len(signature) // 2
        r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
        digest = hashes.SHA384() if alg == "ES384" else hashes.SHA256()
        public.verify(encode_dss_signature(r, s), message, ec.ECDSA(digest))
    elif isinstance(public, rsa.RSAPublicKey):
        public.verify(signature, message, _PSS if alg == "PS256" else padding.PKCS1v15(), hashes.SHA256())
    else:
        public.verify(signature, message)


def _material(private: Any, alg: str, kid: str | None) -> Material:
    pkcs8 = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key()
    key = _wrapper(public)(public, public)
    thumbprint = key.thumbprint()
    members = {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}
    public_jwk = {**members, "kid": kid or thumbprint, "use": "sig", "alg": alg}
    return Material(public_jwk["kid"], thumbprint, alg, public_jwk, pkcs8)


def _wrapper(public: Any) -> Any:
    kinds = {rsa.RSAPublicKey: RSAKey, ec.EllipticCurvePublicKey: ECKey}
    return next((wrapper for native, wrapper in kinds.items() if isinstance(public, native)), OKPKey)


def canonical(public_jwk: Mapping[str, Any]) -> str:
    """The stored and published text of a public JWK: fixed order, no spaces."""
    return json.dumps(public_jwk, sort_keys=True, separators=(",", ":"))


def _ecdsa(hash_algorithm: hashes.HashAlgorithm, size: int) -> Callable[[Any, bytes], bytes]:
    scheme = ec.ECDSA(hash_algorithm)

    def sign(private: ec.EllipticCurvePrivateKey, signing_input: bytes) -> bytes:
        # JOSE wants r||s of fixed length where the library gives DER (RFC 7518 section 3.4).
        r, s = decode_dss_signature(private.sign(signing_input, scheme))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    return sign


def _rsa(scheme: padding.AsymmetricPadding) -> Callable[[Any, bytes], bytes]:
    digest = hashes.SHA256()
    return lambda private, signing_input: private.sign(signing_input, scheme, digest)


_PSS = padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=32)


def _generate_rsa(bits: int) -> PrivateKey:
    return rsa.generate_private_key(65537, bits)


ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("ES256", lambda _: ec.generate_private_key(ec.SECP256R1()), _ecdsa(hashes.SHA256(), 32)),
        Algorithm("RS256", _generate_rsa, _rsa(padding.PKCS1v15())),
        Algorithm("PS256", _generate_rsa, _rsa(_PSS)),
        Algorithm("ES384", lambda _: ec.generate_private_key(ec.SECP384R1()), _ecdsa(hashes.SHA384(), 48)),
        Algorithm("EdDSA", lambda _: ed25519.Ed25519PrivateKey.generate(), lambda private, m: bytes(private.sign(m))),
    )
}
