"""The keys that a client signs its assertions with (RFC 7523 section 2.2): registered one by one, or fetched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from realmint.protocol.addresses import is_secure
from realmint.protocol.jws import (
    PRIVATE_MEMBERS,
    JWSError,
    Unverified,
    VerificationKey,
    import_public,
    verification_key,
)

MAX_KEYS = 20
"""Most keys that are registered at once."""
MAX_URL = 2048
X509_SVID = "x509-svid"
"""`use` of what is no key for tokens in a SPIFFE bundle (Trust Domain and Bundle, section 4.2.2)."""
_KEPT = ("kty", "crv", "x", "y", "n", "e", "kid", "alg", "use")


class KeysRefused(ValueError):
    """Keys may not be registered; the message says why, and quotes nothing of them."""


@dataclass(frozen=True)
class PublicKey:
    """One public key. `jwk` as it was registered, with a `kid`."""

    KIND: ClassVar[str] = "key"
    PREFIX: ClassVar[str] = "key"

    jwk: Mapping[str, Any] = field(repr=False)
    key: VerificationKey

    @property
    def kid(self) -> str:
        """Its name in the header of what it signs."""
        return self.key.kid

    def members(self) -> Mapping[str, Any]:
        return {"jwk": dict(self.jwk)}

    @classmethod
    def from_members(cls, members: Mapping[str, Any]) -> Self:
        jwk = members.get("jwk")
        try:
            return cls(jwk if isinstance(jwk, dict) else {}, verification_key(jwk))
        except JWSError as error:
            raise ValueError(error.reason) from None


@dataclass(frozen=True)
class PublicKeySet:
    """Whatever keys a JWK set has that the client publishes at an address of its own (RFC 7591 section 2, jwks_uri)."""

    KIND: ClassVar[str] = "key_set"
    PREFIX: ClassVar[str] = "jwks"

    jwks_uri: str

    def members(self) -> Mapping[str, Any]:
        return {"jwks_uri": self.jwks_uri}

    @classmethod
    def from_members(cls, members: Mapping[str, Any]) -> Self:
        return cls(checked_url(members.get("jwks_uri")))


MOST_TRIED = 4
"""Keys that are tried for a signature whose header names none."""


def fitting(keys: Sequence[VerificationKey], token: Unverified) -> Sequence[VerificationKey]:
    """The keys of the name in the token's header; where it names none, those that may have signed it, if they are few:
    which of many were tried would be chance."""
    if token.kid is not None:
        return [key for key in keys if key.kid == token.kid]
    able = [key for key in keys if token.alg in key.algorithms]
    return able if len(able) <= MOST_TRIED else ()


def checked_url(text: object) -> str:
    """An address that keys may be fetched from: https, or http to this machine. Raises ValueError, which says why not.

    Not checked: where the name leads, which is looked at with each fetch.
    """
    if not isinstance(text, str) or len(text) > MAX_URL or not is_secure(text):
        raise ValueError("it is no https URL")
    if "@" in text.partition("//")[2].partition("/")[0] or "#" in text:
        raise ValueError("a URL of keys has no user and no fragment")
    return text


def read_jwks(document: Mapping[str, Any]) -> tuple[PublicKey, ...]:
    """The public keys of a JWK, or of a JWK set (RFC 7517 section 5). Raises KeysRefused.

    Every one has to be fit to verify with: a set that is half of use would be half registered. One without `kid` is
    named by its thumbprint (RFC 7638). The X.509 authorities of a SPIFFE bundle are passed over: they sign no tokens.
    """
    entries = document.get("keys", [document])
    if isinstance(entries, list):
        entries = [entry for entry in entries if not isinstance(entry, dict) or entry.get("use") != X509_SVID]
    if not isinstance(entries, list) or not entries:
        raise KeysRefused("the set holds no key")
    if len(entries) > MAX_KEYS:
        raise KeysRefused(f"at most {MAX_KEYS} keys are registered at once")
    keys = tuple(map(_read_jwk, entries))
    check_names([key.kid for key in keys])
    return keys


def svid_keys(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The keys for JWT-SVIDs of a bundle (SPIFFE Trust Domain and Bundle section 4), as a JWK set; any other set as it
    is. Those for X.509-SVIDs sign no token."""
    entries = document.get("keys")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return document
    if not any(entry.get("use") in ("jwt-svid", "x509-svid") for entry in entries):
        return document
    return {"keys": [{**entry, "use": "sig"} for entry in entries if entry.get("use") == "jwt-svid"]}


def check_names(kids: Sequence[str]) -> None:
    """Raises KeysRefused where two keys have one name: which of them is meant nobody could tell."""
    if len(set(kids)) != len(kids):
        raise KeysRefused("two of the keys have the same kid")


def _read_jwk(entry: object) -> PublicKey:
    if not isinstance(entry, dict):
        raise KeysRefused("a key is no JSON object")
    if PRIVATE_MEMBERS & entry.keys():
        raise KeysRefused("that is a private key, which nobody but its owner may have; give the public half")
    named = {**entry}
    try:
        named.setdefault("kid", import_public(entry).thumbprint())
        key = verification_key(named)
    except JWSError:
        raise KeysRefused(
            "a key is not fit to verify with: RSA of 2048 bits or more, P-256, P-384 or Ed25519, for signatures"
        ) from None
    if not key.kid.isprintable():
        raise KeysRefused("a kid is one line of text: people have to name the key")
    return PublicKey({name: named[name] for name in _KEPT if name in named}, key)
