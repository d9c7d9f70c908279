"""A client assertion as it arrives (RFC 7521 section 4.2, RFC 7523 section 2.2); nothing of it is believed yet.

Whose it is says its `iss`: a client that signed for itself is its own issuer (private_key_jwt); of any other, the
client is trusted by a rule (workload_identity).
"""

from dataclasses import dataclass, field

from issuer.refusals import (
    ASSERTION_MISSING,
    ASSERTION_TYPE,
    OTHER_ASSERTION_CLIENT_ID,
    ClaimedBy,
    invalid_request,
)
from issuer.request import Request
from realmint.protocol.jws import JWSError, Unverified, peek
from realmint.protocol.names import JWT_BEARER_ASSERTION, JWT_BEARER_GRANT, JWT_SPIFFE_ASSERTION

PARAMETERS = frozenset({"client_assertion", "client_assertion_type"})
GRANT_PARAMETER = "assertion"


@dataclass(frozen=True)
class Assertion:
    """What was presented as one. token: None for what is no JWS, of which `reason` says why."""

    token: Unverified | None = field(repr=False)
    reason: str | None = None
    given: bool = True
    """Whether there is one at all; else only its type came."""

    @property
    def is_own(self) -> bool:
        """Whether the client says that it made it itself; what cannot be read is nobody else's."""
        if self.token is None:
            return True
        claims = self.token.claims
        return isinstance(claims.get("iss"), str) and claims["iss"] == claims.get("sub")

    def claimed_client(self, request: Request) -> str | None:
        """The client whose this is said to be: the body's `client_id`, or else the `sub`; None where neither names one.

        Raises invalid_request where a client that signed for itself names another in the body (#65).
        """
        in_body = request.one("client_id")
        subject = self.token.claims.get("sub") if self.token is not None else None
        if in_body is None:
            return subject if isinstance(subject, str) and subject else None
        if self.is_own and self.token is not None and subject != in_body:
            with ClaimedBy(in_body):  # RFC 7521 section 4.2: it has to name who the subject is
                raise invalid_request("other_client_id_in_body", OTHER_ASSERTION_CLIENT_ID)
        return in_body


def found_in(request: Request) -> Assertion | None:
    """The client assertion of a request, or None where it has none; nothing of it is believed yet."""
    text = request.one("client_assertion")
    if text is None:
        return Assertion(None, given=False) if request.one("client_assertion_type") is not None else None
    return read(text)


def granted_in(request: Request) -> Assertion | None:
    """The assertion that is the authorization grant itself (RFC 7523 section 2.1), or None where there is none."""
    text = request.one(GRANT_PARAMETER) if request.one("grant_type") == JWT_BEARER_GRANT else None
    return read(text) if text is not None else None


def read(text: str) -> Assertion:
    """An assertion, strictly parsed (#80)."""
    try:
        return Assertion(peek(text))
    except JWSError as error:
        return Assertion(None, f"assertion_{error.reason}")


def check_type(request: Request, assertion: Assertion) -> None:
    """Raises invalid_request for a type without an assertion, and for one without a type that we know (#81)."""
    if not assertion.given:
        raise invalid_request("assertion_missing", ASSERTION_MISSING)
    given = request.one("client_assertion_type")
    # The latter is a workload's alone; what cannot be read is looked at no further anyhow.
    workload = assertion.token is None or not assertion.is_own
    if given != JWT_BEARER_ASSERTION and not (workload and given == JWT_SPIFFE_ASSERTION):
        raise invalid_request("assertion_type", ASSERTION_TYPE)
