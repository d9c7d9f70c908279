"""RFC 6750 and RFC 9449 section 7: reading the Authorization header, and the ways of saying no.

TokenError
├── InvalidRequest      400  the request itself is malformed
├── InvalidToken        401  the token was checked and is not good
├── InvalidProof        401  the DPoP proof beside it is not good
│   └── NonceNeeded     401  it would be, with the nonce that the answer brings
├── InsufficientScope   403  the token is good and not enough
└── Unavailable         503  nobody could check: neither yes nor no
"""

import re
from collections.abc import Mapping, Sequence

from realmint.protocol.names import BEARER, DPOP

MAX_TOKEN = 8192
"""Longest token in characters, of any kind."""
MAX_HEADER = MAX_TOKEN + len("Bearer ")
"""Longest Authorization header in characters that is looked at."""

REASONS: Mapping[str, str] = {
    "malformed": "The token is malformed",
    "too_large": "The token is too large",
    "alg": "The token's algorithm is not accepted",
    "header": "The token's header is not accepted",
    "typ": "The token's type is not accepted",
    "issuer": "The token is from another issuer",
    "audience": "The token is for another audience",
    "expired": "The token has expired",
    "not_yet_valid": "The token is not valid yet",
    "lifetime": "The token's lifetime is not accepted",
    "key_unknown": "The token's key is not known",
    "signature": "The token's signature is not right",
    "claim_missing": "The token lacks a required claim",
    "claim_type": "A claim of the token is malformed",
    "cnf": "The token is bound to a key that was not proven",
    "unbound": "The token is not bound to a key",
    "inactive": "The token is not active",
    "revoked": "The token was revoked",
    "status": "The token's status is not accepted",
}
"""The closed list of reasons for InvalidToken, each with its fixed phrase for the caller."""
PROOF_REASONS: Mapping[str, str] = {
    "proof_missing": "There is no DPoP proof",
    "proof_several": "There is more than one DPoP proof",
    "proof_malformed": "The DPoP proof is malformed",
    "proof_too_large": "The DPoP proof is too large",
    "proof_header": "The DPoP proof's header is not accepted",
    "proof_typ": "The DPoP proof's type is not accepted",
    "proof_alg": "The DPoP proof's algorithm is not accepted",
    "proof_jwk": "The DPoP proof's key is not accepted",
    "proof_signature": "The DPoP proof's signature is not right",
    "proof_htm": "The DPoP proof is for another method",
    "proof_htu": "The DPoP proof is for another address",
    "proof_iat": "The DPoP proof was not made just now",
    "proof_jti": "The DPoP proof has no usable name",
    "proof_ath": "The DPoP proof is for another token",
    "proof_nonce": "The DPoP proof needs a nonce of this API",
    "proof_replayed": "The DPoP proof was used before",
}
"""The same for InvalidProof."""

# RFC 6750 section 2.1, b64token; one space, nothing behind it.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_BEARER = re.compile(rf"[Bb][Ee][Aa][Rr][Ee][Rr] +({_TOKEN.pattern})")
_DPOP = re.compile(rf"[Dd][Pp][Oo][Pp] +({_TOKEN.pattern})")
_QUOTABLE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")


class TokenError(Exception):
    """A token was not accepted. `status` is the HTTP status, `challenge` the WWW-Authenticate value or None.

    said: what its challenge says, None where there is none; scheme: how the token came. The message is a fixed phrase:
    never part of a token, never the text of another exception.
    """

    status = 401
    error = "invalid_token"
    scheme = BEARER

    def __init__(self, reason: str, message: str, said: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.said = said
        self.challenge = None if said is None else challenge(self.scheme, **said)


class InvalidRequest(TokenError):
    """400: no single well-formed bearer token could be found (RFC 6750 section 3.1)."""

    status = 400
    error = "invalid_request"

    def __init__(self, reason: str = "authorization_header") -> None:
        message = "The Authorization header is malformed"
        super().__init__(reason, message, {"error": self.error, "error_description": message})


class InvalidToken(TokenError):
    """401: the token was checked and refused; `reason` is one of REASONS (RFC 6750 section 3.1)."""

    def __init__(self, reason: str) -> None:
        message = REASONS[reason]
        super().__init__(reason, message, {"error": self.error, "error_description": message})


class InvalidProof(TokenError):
    """401: the DPoP proof was refused; `reason` is one of PROOF_REASONS (RFC 9449 section 7.1)."""

    error = "invalid_dpop_proof"
    scheme = DPOP

    def __init__(self, reason: str) -> None:
        message = PROOF_REASONS[reason]
        super().__init__(reason, message, {"error": self.error, "error_description": message})


class NonceNeeded(InvalidProof):
    """401: the proof lacks a fresh nonce of this API; `nonce` is one, sent as DPoP-Nonce (RFC 9449 section 9)."""

    error = "use_dpop_nonce"

    def __init__(self, nonce: str) -> None:
        super().__init__("proof_nonce")
        self.nonce = nonce


class InsufficientScope(TokenError):
    """403: the token is good and lacks a scope value; `required` says what the route needs."""

    status = 403
    error = "insufficient_scope"

    def __init__(self, required: Sequence[str]) -> None:
        message = "The token lacks a required scope"
        self.required = tuple(required)
        said = {"error": self.error, "error_description": message, "scope": " ".join(required)}
        super().__init__("scope", message, said)


class Unavailable(TokenError):
    """503: it could not be decided; `retry_after` in seconds. No challenge: the token may be perfectly good."""

    status = 503
    error = "temporarily_unavailable"

    def __init__(self, reason: str, retry_after: int = 1) -> None:
        super().__init__(reason, "The token cannot be checked at the moment")
        self.retry_after = retry_after


def challenge(scheme: str = BEARER, /, **parameters: str) -> str:
    """A challenge (RFC 6750 section 3) with quoted parameters, limited to the characters it allows."""
    quoted = ", ".join(f'{name}="{_QUOTABLE.sub("", value)}"' for name, value in parameters.items())
    return f"{scheme} {quoted}" if quoted else scheme


def parse_authorization(values: Sequence[str]) -> str | None:
    """The bearer token of a request's Authorization headers, or None when there is no such header.

    Raises InvalidRequest for several headers, another scheme, and anything but one well-formed token.
    """
    if not values:
        return None
    match = _BEARER.fullmatch(values[0]) if len(values) == 1 and len(values[0]) <= MAX_HEADER else None
    if match is None:
        raise InvalidRequest
    return match[1]


def parse_proven(values: Sequence[str]) -> str | None:
    """The token of the one Authorization header, where its scheme is DPoP (RFC 9449 section 7.1); else None."""
    match = _DPOP.fullmatch(values[0]) if len(values) == 1 and len(values[0]) <= MAX_HEADER else None
    return match[1] if match is not None else None


def check_token(token: object) -> str:
    """`token` as text that can be an access token of any kind (RFC 6750 section 2.1). Raises InvalidToken."""
    if not isinstance(token, str):
        raise InvalidToken("malformed")
    if len(token) > MAX_TOKEN:
        raise InvalidToken("too_large")
    if not _TOKEN.fullmatch(token):
        raise InvalidToken("malformed")
    return token
