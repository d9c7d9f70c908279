"""The one door to JOSE: sign, peek and verify a compact JWS (RFC 7515, RFC 7518, RFC 8037, RFC 8725).

Nothing is handed to a JOSE library before the strict parser here has bounded its size, its alphabet
and its nesting, because the libraries accept duplicate members, other encodings, padding and floods
of dots. Only the compact form exists: no JSON serialization, no JWE, no detached payload.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey

from realmint.protocol import base64url, strict_json
from realmint.protocol.base64url import encode as _b64encode
from realmint.protocol.names import OTHER_NAMES, SIGNING_ALGORITHMS
from realmint.protocol.signatures import Check, checks
from realmint.protocol.weak import is_weak_modulus

MAX_TOKEN = 8192
"""Longest compact JWS in characters."""
MAX_HEADER = 2048
"""Longest protected header in characters, encoded."""
MAX_PROOF_HEADER = 4096
"""The same for a proof, whose header holds a whole public key: one of RSA beside what its maker says of it."""
MAX_KID = 128
"""Longest `kid` in characters."""
MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
_MODULUS_CHARS = (342, 1366)  # base64url of 2048 to 8192 bits

_USES = ("sig", "jwt-svid")
"""`use` of a key that verifies tokens: the second in a SPIFFE bundle (SPIFFE Trust Domain and Bundle, 4.2.2)."""
_CURVES = {"P-256": "ES256", "P-384": "ES384", "Ed25519": "EdDSA"}
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Members of a JWK that nobody but its owner may see (RFC 7518 section 6)."""
# RFC 8725 section 3.10: a key or a place to fetch one is never taken from the token itself. `crit`
# and `b64` change how a token is read, and we understand no extension (RFC 7515 section 4.1.11).
_REFUSED_HEADERS = frozenset({"crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc"})
# But by a DPoP proof, which says with which key it was made (RFC 9449 section 4.2).
_REFUSED_IN_PROOFS = _REFUSED_HEADERS - {"jwk"}


class JWSError(Exception):
    """A token or a key was refused. `reason` is a code from a closed list and never holds input."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Signer(Protocol):
    """What can sign: a local private key, an HSM or a remote service."""

    @property
    def kid(self) -> str: ...

    @property
    def alg(self) -> str: ...

    def sign(self, signing_input: bytes) -> bytes:
        """The raw JOSE signature: r||s for ECDSA (RFC 7518 section 3.4)."""
        ...


class Header(NamedTuple):
    """A protected header whose members may be looked at further (RFC 7515 section 4.1).

    alg: by the one name that we know it under, whatever the member says (OTHER_NAMES).
    typ: in lower case, without `application/` (section 4.1.9); empty where there is none.
    """

    members: Mapping[str, Any]
    alg: str
    kid: str | None
    typ: str


class Unverified(NamedTuple):
    """What a compact JWS says before anybody checked its signature. Its token text is never shown.

    A tuple, as one is made for each token that is looked at: a frozen dataclass takes five times as long.
    """

    protected: Header
    claims: Mapping[str, Any]
    signing_input: bytes
    signature: bytes

    def __repr__(self) -> str:
        return f"<unverified token, {self.alg}>"

    @property
    def header(self) -> Mapping[str, Any]:
        return self.protected.members

    @property
    def alg(self) -> str:
        return self.protected.alg

    @property
    def kid(self) -> str | None:
        return self.protected.kid


class Verified(NamedTuple):
    """Header and claims whose signature was checked under the key with this `kid`."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    kid: str


@dataclass(frozen=True)
class VerificationKey:
    """A public key with its name and the algorithms it may verify."""

    kid: str
    algorithms: frozenset[str]
    thumbprint: str
    checks: Mapping[str, Check] = field(repr=False, compare=False)


def sign(claims: Mapping[str, Any], signer: Signer, typ: str) -> str:
    """A compact JWS over `claims` with a header of exactly `alg`, `kid` and `typ`.

    Header and signature come from the same signer, so a `kid` can never belong to another key.
    """
    return sign_payload(_compact_json.encode(claims).encode(), signer, typ)


def sign_payload(payload: bytes, signer: Signer, typ: str) -> str:
    """What sign() makes, over claims that were written down already."""
    signing_input = _encoded_header(signer.alg, signer.kid, typ) + b"." + _b64encode(payload)
    return (signing_input + b"." + _b64encode(signer.sign(signing_input))).decode("ascii")


def sign_with_header(claims: Mapping[str, Any], signer: Signer, header: Mapping[str, Any]) -> str:
    """A compact JWS with this very header, for what says more in it than which key signed (RFC 9449 section 4.2)."""
    encoded = (_b64encode(_compact_json.encode(each).encode()) for each in (dict(header), dict(claims)))
    signing_input = b".".join(encoded)
    return (signing_input + b"." + _b64encode(signer.sign(signing_input))).decode("ascii")


def peek(token: str, longest: int = MAX_TOKEN, *, proof: bool = False) -> Unverified:
    """The header and claims of `token`, of at most `longest` characters, strictly parsed and not verified.

    proof: the text is a DPoP proof and nothing else; only then may its header hold `jwk`, and be longer.
    Raises JWSError with one of `malformed`, `too_large`, `alg`, `header`. Not checked: the signature,
    the `typ`, the `jwk`, and every claim.
    """
    if len(token) > longest:
        raise JWSError("too_large")
    try:
        raw = token.encode("ascii")
    except UnicodeEncodeError:
        raise JWSError("malformed") from None
    if raw.count(b".") != 2:  # counted before anything is split (CVE-2025-30204)
        raise JWSError("malformed")
    signing_input, _, signature = raw.rpartition(b".")
    head, _, body = signing_input.partition(b".")
    if len(head) > (MAX_PROOF_HEADER if proof else MAX_HEADER):
        raise JWSError("too_large")
    try:
        header = _proof_header(head) if proof else _header(head)
        return Unverified(header, parse_object(base64url.decode(body)), signing_input, base64url.decode(signature))
    except ValueError:
        raise JWSError("malformed") from None


def check_signature(token: Unverified, key: VerificationKey) -> None:
    """Raises JWSError with `alg` or `signature` for what verify() refuses."""
    alg = token.protected.alg
    if alg not in key.algorithms:  # each key is bound to its algorithms (RFC 8725 section 3.1)
        raise JWSError("alg")
    if not key.checks[alg](token.signature, token.signing_input):
        raise JWSError("signature")


def signed_by(token: Unverified, key: VerificationKey) -> bool:
    """Whether verify() takes the token under this key."""
    try:
        check_signature(token, key)
    except JWSError:
        return False
    return True


def verify(token: Unverified, key: VerificationKey) -> Verified:
    """`token` as verified data, if `key` may verify its algorithm and its signature is right.

    Raises JWSError with `alg` or `signature`. Not checked: which issuer the key belongs to, and every
    claim.
    """
    check_signature(token, key)
    return Verified(token.header, token.claims, key.kid)


def verification_key(jwk: object) -> VerificationKey:
    """A public JWK (RFC 7517) as a key that can verify.

    Raises JWSError("key") for a key without a `kid`, of a type, curve, size, use or algorithm we do not
    verify with, with private members, or malformed. An RSA key without `alg` may verify RS256 and PS256.
    """
    if not isinstance(jwk, dict) or PRIVATE_MEMBERS & jwk.keys():
        raise JWSError("key")
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise JWSError("key")
    if jwk.get("use", "sig") not in _USES or "verify" not in _key_ops(jwk):
        raise JWSError("key")
    key = import_public(jwk)
    fitting = _fitting_algorithms(key)
    if "alg" in jwk:
        alg = jwk["alg"]
        fitting &= {OTHER_NAMES.get(alg, alg)} if isinstance(alg, str) else set()
    if not fitting:
        raise JWSError("key")
    return VerificationKey(kid, frozenset(fitting), key.thumbprint(), checks(key.public_key))


def import_public(jwk: Mapping[str, Any]) -> Key:
    """The key object of a public JWK of a type and size we use. Raises JWSError("key")."""
    members = {name: value for name, value in jwk.items() if name in ("kty", "crv", "x", "y", "n", "e")}
    if not all(isinstance(value, str) for value in members.values()):
        raise JWSError("key")
    if members.get("kty") not in ("RSA", "EC", "OKP"):
        raise JWSError("key")
    if members["kty"] == "RSA" and not _MODULUS_CHARS[0] <= len(members.get("n", "")) <= _MODULUS_CHARS[1]:
        raise JWSError("key")
    try:
        # The library raises whatever its parts raise on a bad member, bare KeyError among it.
        key = JWKRegistry.import_key(members)
        if not _fitting_algorithms(key):
            raise JWSError("key")
        if isinstance(key, RSAKey):
            numbers = key.public_key.public_numbers()
            if key.public_key.key_size < MIN_RSA_BITS or numbers.e < 65537 or numbers.e % 2 == 0:
                raise JWSError("key")
            if is_weak_modulus(numbers.n):
                raise JWSError("key")
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise JWSError("key") from None
    return key


def parse_object(raw: bytes) -> dict[str, Any]:
    """A JSON object, read strictly; raises JWSError("malformed").

    Refused: what strict_json refuses, and anything that is not an object.
    """
    try:
        value = strict_json.read(raw)
    except ValueError:
        raise JWSError("malformed") from None
    if not isinstance(value, dict):
        raise JWSError("malformed")
    return value


@lru_cache(maxsize=256)
def _header(head: bytes) -> Header:
    """A header that may be looked at further. Those of one key are the same, byte for byte, token after token."""
    return _checked(head, _REFUSED_HEADERS)


@lru_cache(maxsize=256)
def _proof_header(head: bytes) -> Header:
    """That of a proof, held apart: anybody makes as many of them as he likes, and drives no token's out."""
    return _checked(head, _REFUSED_IN_PROOFS)


def _checked(head: bytes, refused: frozenset[str]) -> Header:
    members = MappingProxyType(parse_object(base64url.decode(head)))
    alg, kid, typ = members.get("alg"), members.get("kid"), members.get("typ", "")
    alg = OTHER_NAMES.get(alg, alg) if isinstance(alg, str) else None
    if alg not in SIGNING_ALGORITHMS:
        raise JWSError("alg")
    if refused & members.keys():
        raise JWSError("header")
    if "kid" in members and (not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID):
        raise JWSError("header")
    if not isinstance(typ, str):
        raise JWSError("header")
    return Header(members, alg, kid, typ.lower().removeprefix("application/"))


def _fitting_algorithms(key: Key) -> set[str]:
    if isinstance(key, RSAKey):
        return {"RS256", "PS256"}
    if isinstance(key, ECKey | OKPKey):
        alg = _CURVES.get(key.curve_name)
        return {alg} if alg else set()
    return set()


def _key_ops(jwk: Mapping[str, Any]) -> Sequence[object]:
    operations = jwk.get("key_ops", ["verify"])
    return operations if isinstance(operations, list) else ()


_compact_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False)


@lru_cache(maxsize=4096)
def _encoded_header(alg: str, kid: str, typ: str) -> bytes:
    return _b64encode(json.dumps({"alg": alg, "kid": kid, "typ": typ}, separators=(",", ":")).encode())
