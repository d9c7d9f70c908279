"""Registered strings, and the grammar of `scope` (RFC 6749 section 3.3)."""

import re
from collections.abc import Iterable

ACCESS_TOKEN_TYP = "at+jwt"  # noqa: S105 - a media type; RFC 9068 section 2.1
JWT_TYP = "JWT"  # RFC 7519 section 5.1
STATUS_LIST_TYP = "statuslist+jwt"  # Token Status List, draft 21, section 5.1
STATUS_LIST_MEDIA_TYPE = "application/statuslist+jwt"  # the same, section 14.7
CLIENT_AUTHENTICATION_TYP = "client-authentication+jwt"  # rfc7523bis section 3
JWT_BEARER_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523 section 2.2
JWT_SPIFFE_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"  # OAuth SPIFFE, draft 02, section 3
JWT_BEARER_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523 section 2.1
BEARER = "Bearer"  # RFC 6750 section 4
DPOP_NONCE = "DPoP-Nonce"  # a header, RFC 9449 section 8.1
DPOP = "DPoP"  # RFC 9449 section 7.1: the scheme, the token type and the header
DPOP_TYP = "dpop+jwt"  # RFC 9449 section 4.2
FORM_MEDIA_TYPE = "application/x-www-form-urlencoded"  # RFC 6749 appendix B
JWK_SET_MEDIA_TYPE = "application/jwk-set+json"  # RFC 7517 section 8.5.2

SIGNING_ALGORITHMS = ("ES256", "RS256", "PS256", "ES384", "EdDSA")
"""Algorithms of RFC 7518 and RFC 8037 that Realmint signs and verifies with; never `none` or HMAC."""
OTHER_NAMES = {"Ed25519": "EdDSA"}
"""What RFC 9864 section 2.2 calls an algorithm of those, which newer libraries sign under: taken as the one it is."""

MAX_SCOPE = 4096
"""Longest scope string in characters; a longer one could not travel in an HTTP header."""

# One or more of %x21 / %x23-5B / %x5D-7E, joined by single spaces.
_SCOPE = re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*")


class ScopeError(ValueError):
    """The text is not a scope by the grammar of RFC 6749 section 3.3."""


def parse_scope(text: str) -> tuple[str, ...]:
    """The scope values of `text`, each once, in the order they first appear.

    Values are compared exactly. Raises ScopeError for anything outside the grammar: an empty string,
    leading, trailing or double spaces, other white space, quotes, backslashes, non-ASCII.
    """
    if len(text) > MAX_SCOPE or not _SCOPE.fullmatch(text):
        raise ScopeError("not a scope (RFC 6749 section 3.3)")
    return tuple(dict.fromkeys(text.split(" ")))


def format_scope(values: Iterable[str]) -> str:
    """The wire form of a set of scope values, in the order given."""
    return " ".join(values)
