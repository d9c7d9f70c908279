"""The OAuth errors that Authlib lacks, and how a refusal carries its reason to the log.

The text on the wire is a fixed ASCII constant, in AM's wording where it has one; it says which rule was broken and
holds nothing that was sent. The reason is for the log alone.
"""

from types import TracebackType

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import (
    InvalidClientError,
    InvalidRequestError,
    InvalidScopeError,
    UnauthorizedClientError,
)

CLIENT_AUTHENTICATION_FAILED = "Client authentication failed"
GRANT_TYPE_NOT_SET = "Grant type is not set"
GRANT_TYPE_NOT_SUPPORTED = "Grant type is not supported"
GRANT_NOT_ALLOWED = "The authenticated client is not authorized to use this authorization grant type."
INVALID_CONTENT_TYPE = "Invalid Content Type"
QUERY_PARAMETERS = "Parameters in the query are not accepted"
REPEATED_PARAMETER = "A parameter is repeated"
TOO_MANY_PARAMETERS = "The request has too many parameters"
BAD_PERCENT_ENCODING = "The body holds a percent sign without two hexadecimal digits"
NOT_UTF8 = "The body is not UTF-8"
BODY_MALFORMED = "The body is not framed as HTTP frames one"
CONTROL_CHARACTER = "A parameter holds a control character"
SEVERAL_METHODS = "More than one client authentication method is used"
OTHER_CLIENT_ID = "The client_id in the body is not that of the Authorization header"
MISSING_CLIENT_ID = "Missing parameter: client_id"
CLIENT_ID_MALFORMED = "The client_id is malformed"
DPOP_REQUIRED = "This client has to send a DPoP proof"
CERTIFICATE_REQUIRED = "This client has to show a certificate"
INVALID_DPOP_PROOF = "The DPoP proof is invalid"
USE_DPOP_NONCE = "The DPoP proof needs the nonce in the DPoP-Nonce header"
OTHER_ASSERTION_CLIENT_ID = "The client_id in the body is not the subject of the client assertion"
ASSERTION_MISSING = "Missing parameter: client_assertion"
ASSERTION_TYPE = "The client_assertion_type is missing or unknown"
GRANT_ASSERTION_MISSING = "Missing parameter: assertion"
BASIC_TOO_LONG = "The Authorization header is too long"
BASIC_NOT_BASE64 = "The Basic credentials are not in canonical base64"
BASIC_NOT_UTF8 = "The Basic credentials are not UTF-8"
BASIC_CONTROL_CHARACTER = "The Basic credentials hold a control character"
BASIC_NOT_A_PAIR = "The Basic credentials are not a client_id, a colon and a client_secret"
NO_AUTHORIZATION_GRANT = "There is no authorization grant here; ask the token endpoint"
INVALID_SCOPE = "Unknown/invalid scope(s)"
NO_SCOPE = "No scope requested and no default scope configured"
INVALID_TARGET = "The requested resource or audience is invalid, unknown or not allowed"
MISSING_TOKEN = "Missing parameter: token"  # noqa: S105 - a message, not a credential
OTHER_CLIENTS_TOKEN = "The token was issued to another client"  # noqa: S105 - a message, not a credential
TRY_LATER = "The server is temporarily unable to handle the request"
NOT_FOUND = "There is nothing at this address"
METHOD_NOT_ALLOWED = "This address does not take this method"
TOO_LARGE = "The request is too large"
MALFORMED = "The request is malformed"
PRECONDITION_FAILED = "A precondition of the request does not hold"
SERVER_FAULT = "The server failed to handle the request"


Refusal = OAuth2Error
"""What every refusal is, for who knows nothing of Authlib."""


class InvalidTargetError(OAuth2Error):
    """The resource is malformed, unknown or not allowed (RFC 8707 section 2)."""

    error = "invalid_target"


class RequestTooLargeError(InvalidRequestError):
    """The body is longer than is read at all."""

    status_code = 413


class InvalidDPoPProofError(OAuth2Error):
    """The proof is none for this request (RFC 9449 section 5)."""

    error = "invalid_dpop_proof"


class UseDPoPNonceError(OAuth2Error):
    """The proof has no nonce of ours, or an old one (RFC 9449 section 8). `nonce` is one to use."""

    error = "use_dpop_nonce"

    def __init__(self, nonce: str) -> None:
        super().__init__(USE_DPOP_NONCE)
        self.nonce = nonce


class TemporarilyUnavailableError(OAuth2Error):
    """The answer cannot be decided now; never a yes, never a no. `retry_after` in seconds."""

    error = "temporarily_unavailable"
    status_code = 503

    def __init__(self, retry_after: int = 1, status_code: int = 503) -> None:
        super().__init__(TRY_LATER, status_code=status_code)
        self.retry_after = retry_after


class UnknownRealm(Exception):
    """No realm is at this address: 404, whatever was asked of it."""


class UnknownList(Exception):
    """No status list is at this address now: 404, which no cache may keep."""


class ClaimedBy:
    """`with ClaimedBy(client_id):` every refusal inside takes the client along to the log, authenticated or not."""

    __slots__ = ("_client_id",)

    def __init__(self, client_id: str) -> None:
        self._client_id = client_id

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if isinstance(error, OAuth2Error):
            claimed_by(error, self._client_id)


def claimed_by(error: OAuth2Error, client_id: str) -> None:
    """What ClaimedBy does, to one refusal."""
    error.claimed_client_id = client_id


def because(error: OAuth2Error, reason: str) -> OAuth2Error:
    """`error` with a reason for the log: a short fixed code, never anything that was sent."""
    error.reason = reason
    return error


def invalid_request(reason: str, description: str) -> OAuth2Error:
    """400, RFC 6749 section 5.2; `description` is the one text of the rule that was broken."""
    return because(InvalidRequestError(description), reason)


def invalid_client(reason: str) -> OAuth2Error:
    """401 with one body for every cause (RFC 6749 section 5.2): no oracle."""
    return because(InvalidClientError(CLIENT_AUTHENTICATION_FAILED, status_code=401), reason)


def invalid_scope(reason: str, description: str = INVALID_SCOPE) -> OAuth2Error:
    """400, RFC 6749 section 5.2."""
    return because(InvalidScopeError(description), reason)


def invalid_target(reason: str) -> OAuth2Error:
    """400, RFC 8707 section 2."""
    return because(InvalidTargetError(INVALID_TARGET), reason)


def invalid_dpop_proof(reason: str) -> OAuth2Error:
    """400, RFC 9449 section 5."""
    return because(InvalidDPoPProofError(INVALID_DPOP_PROOF), reason)


def use_dpop_nonce(nonce: str) -> OAuth2Error:
    """400, with the nonce that the next proof needs (RFC 9449 section 8)."""
    return because(UseDPoPNonceError(nonce), "dpop_nonce")


def unauthorized_client(reason: str) -> OAuth2Error:
    """400, RFC 6749 section 5.2."""
    return because(UnauthorizedClientError(GRANT_NOT_ALLOWED), reason)


def too_many_attempts(reason: str, retry_after: int) -> OAuth2Error:
    """429: an attempt is not looked at now; `retry_after` in seconds."""
    return because(TemporarilyUnavailableError(retry_after, status_code=429), reason)
