"""The one door to JOSE: sign, peek and verify a compact JWS (RFC 7515, RFC 7518, RFC 8037, RFC 8725).

Nothing is handed to a JOSE library before the strict parser here has bounded its size, its alphabet
and its nesting, because the libraries accept duplicate members, other encodings, padding and floods
of dots. Only the compact form exists: no JSON serialization, no JWE, no detached payload.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from realmint.protocol.names import SIGNING_ALGORITHMS
from realmint.protocol.weak import is_weak_modulus

MAX_TOKEN = 8192
"""Longest compact JWS in characters."""
MAX_HEADER = 2048
"""Longest protected header in characters, encoded."""
MAX_DEPTH = 32
"""Deepest nesting of a header or a payload."""
MAX_KID = 128
"""Longest `kid` in characters."""
MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
_MODULUS_CHARS = (342, 1366)  # base64url of 2048 to 8192 bits

# Looked up once and by name: `get_alg` of the library would apply its own list of recommendations.
_ALGORITHMS = {name: JWSRegistry.algorithms[name] for name in SIGNING_ALGORITHMS}
_CURVES = {"P-256": "ES256", "P-384": "ES384", "Ed25519": "EdDSA"}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
# RFC 8725 section 3.10: a key or a place to fetch one is never taken from the token itself. `crit`
# and `b64` change how a token is read, and we understand no extension (RFC 7515 section 4.1.11).
_REFUSED_HEADERS = frozenset({"crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc"})
_BASE64URL = re.compile(rb"[A-Za-z0-9_-]+")


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


@dataclass(frozen=True)
class Unverified:
    """What a compact JWS says before anybody checked its signature. Its token text is never shown."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def alg(self) -> str:
        return str(self.header["alg"])

    @property
    def kid(self) -> str | None:
        return self.header.get("kid")


@dataclass(frozen=True)
class Verified:
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
    native: Key = field(repr=False, compare=False)


def sign(claims: Mapping[str, Any], signer: Signer, typ: str) -> str:
    """A compact JWS over `claims` with a header of exactly `alg`, `kid` and `typ`.

    Header and signature come from the same signer, so a `kid` can never belong to another key.
    """
    payload = _compact_json.encode(claims).encode()
    signing_input = _encoded_header(signer.alg, signer.kid, typ) + b"." + _b64encode(payload)
    return (signing_input + b"." + _b64encode(signer.sign(signing_input))).decode("ascii")


def peek(token: str) -> Unverified:
    """The header and claims of `token`, strictly parsed and not verified.

    Raises JWSError with one of `malformed`, `too_large`, `alg`, `header`. Not checked: the signature,
    the `typ`, and every claim.
    """
    if len(token) > MAX_TOKEN:
        raise JWSError("too_large")
    try:
        raw = token.encode("ascii")
    except UnicodeEncodeError:
        raise JWSError("malformed") from None
    if raw.count(b".") != 2:  # counted before anything is split (CVE-2025-30204)
        raise JWSError("malformed")
    signing_input, _, signature = raw.rpartition(b".")
    head, _, body = signing_input.partition(b".")
    if len(head) > MAX_HEADER:
        raise JWSError("too_large")
    header = parse_object(_b64decode(head))
    _check_header(header)
    return Unverified(header, parse_object(_b64decode(body)), signing_input, _b64decode(signature))


def verify(token: Unverified, key: VerificationKey) -> Verified:
    """`token` as verified data, if `key` may verify its algorithm and its signature is right.

    Raises JWSError with `alg` or `signature`. Not checked: which issuer the key belongs to, and every
    claim.
    """
    if token.alg not in key.algorithms:  # each key is bound to its algorithms (RFC 8725 section 3.1)
        raise JWSError("alg")
    try:
        good = _ALGORITHMS[token.alg].verify(token.signing_input, token.signature, key.native)
    except (JoseError, ValueError, TypeError):  # a signature of the wrong length or form
        good = False
    if not good:
        raise JWSError("signature")
    return Verified(token.header, token.claims, key.kid)


def verification_key(jwk: object) -> VerificationKey:
    """A public JWK (RFC 7517) as a key that can verify.

    Raises JWSError("key") for a key without a `kid`, of a type, curve, size, use or algorithm we do not
    verify with, with private members, or malformed. An RSA key without `alg` may verify RS256 and PS256.
    """
    if not isinstance(jwk, dict) or _PRIVATE_MEMBERS & jwk.keys():
        raise JWSError("key")
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise JWSError("key")
    if jwk.get("use", "sig") != "sig" or "verify" not in _key_ops(jwk):
        raise JWSError("key")
    key = import_public(jwk)
    fitting = _fitting_algorithms(key)
    if "alg" in jwk:
        # RFC 9864 names EdDSA over Ed25519 "Ed25519"; the key is the same.
        alg = "EdDSA" if jwk["alg"] == "Ed25519" else jwk["alg"]
        fitting &= {alg} if isinstance(alg, str) else set()
    if not fitting:
        raise JWSError("key")
    return VerificationKey(kid, frozenset(fitting), key.thumbprint(), key)


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

    Refused: anything but UTF-8 without a byte order mark (RFC 8725 section 3.7), duplicate members
    (RFC 7515 section 4, RFC 7519 section 4), nesting past MAX_DEPTH, NaN and infinities, numbers of more than
    20 digits, lone surrogates, and anything that is not an object.
    """
    try:
        text = raw.decode("utf-8")
        if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
            raise JWSError("malformed")
        value = _strict_json.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails on a lone surrogate
    except (ValueError, RecursionError):  # UnicodeError and JSONDecodeError are ValueErrors
        raise JWSError("malformed") from None
    if not isinstance(value, dict):
        raise JWSError("malformed")
    return value


def _check_header(header: Mapping[str, Any]) -> None:
    alg = header.get("alg")
    if not isinstance(alg, str) or alg not in _ALGORITHMS:
        raise JWSError("alg")
    if _REFUSED_HEADERS & header.keys():
        raise JWSError("header")
    kid = header.get("kid")
    if "kid" in header and (not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID):
        raise JWSError("header")
    if not isinstance(header.get("typ", ""), str):
        raise JWSError("header")


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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _bounded_int(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("number too long")
    return int(digits)


def _finite_float(digits: str) -> float:
    value = float(digits)
    if len(digits) > 32 or value in (float("inf"), float("-inf")):
        raise ValueError("number out of range")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_compact_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False)
_strict_json = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=_bounded_int,
    parse_float=_finite_float,
    parse_constant=_no_constant,
)


# Possessive, and matching a string that never ends too: each character is looked at once, whatever the text.
_STRING = re.compile(r'"(?:[^"\\]|\\.|\\\Z)*+"?', re.DOTALL)


def _depth(text: str) -> int:
    deepest = depth = 0
    # Brackets inside strings do not nest: cut the strings out first.
    for char in _STRING.sub("", text):
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


@lru_cache(maxsize=4096)
def _encoded_header(alg: str, kid: str, typ: str) -> bytes:
    return _b64encode(json.dumps({"alg": alg, "kid": kid, "typ": typ}, separators=(",", ":")).encode())


def _b64encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _b64decode(segment: bytes) -> bytes:
    """Canonical base64url without padding (RFC 7515 section 2): one text per value and no other."""
    if not _BASE64URL.fullmatch(segment):
        raise JWSError("malformed")
    try:
        raw = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except binascii.Error:
        raise JWSError("malformed") from None
    if _b64encode(raw) != segment:
        raise JWSError("malformed")
    return raw
