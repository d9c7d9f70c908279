"""RFC 6750: reading the Authorization header, and the four ways of saying no.

TokenError
├── InvalidRequest      400  the request itself is malformed
├── InvalidToken        401  the token was checked and is not good
├── InsufficientScope   403  the token is good and not enough
└── Unavailable         503  nobody could check: neither yes nor no
"""

import re
from collections.abc import Mapping, Sequence

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
    "inactive": "The token is not active",
    "revoked": "The token was revoked",
    "status": "The token's status is not accepted",
}
"""The closed list of reasons for InvalidToken, each with its fixed phrase for the caller."""

# RFC 6750 section 2.1, b64token; one space, nothing behind it.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_BEARER = re.compile(rf"[Bb][Ee][Aa][Rr][Ee][Rr] +({_TOKEN.pattern})")
_QUOTABLE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")


class TokenError(Exception):
    """A token was not accepted. `status` is the HTTP status, `challenge` the WWW-Authenticate value or None.

    The message is a fixed phrase: never part of a token, never the text of another exception.
    """

    status = 401
    error = "invalid_token"

    def __init__(self, reason: str, message: str, challenge: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.challenge = challenge


class InvalidRequest(TokenError):
    """400: no single well-formed bearer token could be found (RFC 6750 section 3.1)."""

    status = 400
    error = "invalid_request"

    def __init__(self, reason: str = "authorization_header") -> None:
        message = "The Authorization header is malformed"
        super().__init__(reason, message, challenge(error=self.error, error_description=message))


class InvalidToken(TokenError):
    """401: the token was checked and refused; `reason` is one of REASONS (RFC 6750 section 3.1)."""

    def __init__(self, reason: str) -> None:
        message = REASONS[reason]
        super().__init__(reason, message, challenge(error=self.error, error_description=message))


class InsufficientScope(TokenError):
    """403: the token is good and lacks a scope value; `required` says what the route needs."""

    status = 403
    error = "insufficient_scope"

    def __init__(self, required: Sequence[str]) -> None:
        message = "The token lacks a required scope"
        self.required = tuple(required)
        value = challenge(error=self.error, error_description=message, scope=" ".join(required))
        super().__init__("scope", message, value)


class Unavailable(TokenError):
    """503: it could not be decided; `retry_after` in seconds. No challenge: the token may be perfectly good."""

    status = 503
    error = "temporarily_unavailable"

    def __init__(self, reason: str, retry_after: int = 1) -> None:
        super().__init__(reason, "The token cannot be checked at the moment")
        self.retry_after = retry_after


def challenge(**parameters: str) -> str:
    """A Bearer challenge (RFC 6750 section 3) with quoted parameters, limited to the characters it allows."""
    quoted = ", ".join(f'{name}="{_QUOTABLE.sub("", value)}"' for name, value in parameters.items())
    return f"Bearer {quoted}" if quoted else "Bearer"


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


def check_token(token: object) -> str:
    """`token` as text that can be an access token of any kind (RFC 6750 section 2.1). Raises InvalidToken."""
    if not isinstance(token, str):
        raise InvalidToken("malformed")
    if len(token) > MAX_TOKEN:
        raise InvalidToken("too_large")
    if not _TOKEN.fullmatch(token):
        raise InvalidToken("malformed")
    return token
