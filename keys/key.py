"""Signing keys: the values, the algorithms, and the only code that touches a private key object."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey, OKPKey, RSAKey

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

RSA_BITS = (2048, 3072)
"""Sizes a realm may ask for; 2048 is the floor of RFC 7518 section 3.3."""


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
    allowed while it was active. max_exp_bound: no token it signed lives past this; fixed when it stops signing.
    """

    kid: str
    realm_id: int
    alg: str
    state: State
    public_jwk: Mapping[str, Any]
    kek_id: str | None
    created_at: int
    published_at: int | None = None
    last_absent_at: int | None = None
    activated_at: int | None = None
    retiring_at: int | None = None
    max_lifetime: int = 0
    max_exp_bound: int | None = None
    retired_at: int | None = None
    revoked_at: int | None = None
    reason: str | None = None
    held: bool = False
    sealed: bytes | None = field(default=None, repr=False)


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
    """A freshly made key: its public JWK and its private half in PKCS #8, still to be sealed."""

    kid: str
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
    private = ALGORITHMS[alg].generate(rsa_bits)
    pkcs8 = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public_jwk = _public_jwk(private, alg)
    return Material(public_jwk["kid"], alg, public_jwk, pkcs8)


def signer(kid: str, alg: str, pkcs8: bytes) -> LocalSigner:
    """A signer over a private half that was sealed by us.

    Skips the consistency check of RSA numbers (70 ms): the seal is authenticated, so these are the bytes
    that were checked when the key was made or imported.
    """
    private = serialization.load_der_private_key(pkcs8, password=None, unsafe_skip_rsa_key_validation=True)
    sign = ALGORITHMS[alg].sign
    return LocalSigner(kid, alg, lambda signing_input: sign(private, signing_input))


def _public_jwk(private: PrivateKey, alg: str) -> dict[str, Any]:
    public = private.public_key()
    kind = {rsa.RSAPublicKey: RSAKey, ec.EllipticCurvePublicKey: ECKey}
    wrapper = next((cls for native, cls in kind.items() if isinstance(public, native)), OKPKey)
    key = wrapper(public, public)
    members = {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}
    return {**members, "kid": key.thumbprint(), "use": "sig", "alg": alg}


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


def _generate_rsa(bits: int) -> PrivateKey:
    return rsa.generate_private_key(65537, bits)


ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("ES256", lambda _: ec.generate_private_key(ec.SECP256R1()), _ecdsa(hashes.SHA256(), 32)),
        Algorithm("RS256", _generate_rsa, _rsa(padding.PKCS1v15())),
        Algorithm("PS256", _generate_rsa, _rsa(padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=32))),
        Algorithm("ES384", lambda _: ec.generate_private_key(ec.SECP384R1()), _ecdsa(hashes.SHA384(), 48)),
        Algorithm("EdDSA", lambda _: ed25519.Ed25519PrivateKey.generate(), lambda private, m: bytes(private.sign(m))),
    )
}
