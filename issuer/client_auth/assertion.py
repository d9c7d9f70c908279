"""A client assertion as it arrives (RFC 7521 section 4.2, RFC 7523 section 2.2), and what is done with any of them.

Whose it is says its `iss`: a client that signed for itself is its own issuer (private_key_jwt); of any other, the
client is trusted by a rule (workload_identity).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import NoReturn

from issuer.client_auth.method import Directory
from issuer.client_auth.nobodys import NOBODYS
from issuer.outside.key_sources import KeysAt, KeysOutOfReach
from issuer.refusals import (
    ASSERTION_MISSING,
    ASSERTION_TYPE,
    OTHER_ASSERTION_CLIENT_ID,
    ClaimedBy,
    TemporarilyUnavailableError,
    because,
    invalid_client,
    invalid_request,
    too_many_attempts,
)
from issuer.request import Request
from issuer.secrets import TooManyAttempts
from realmint.protocol.jws import JWSError, Unverified, VerificationKey, peek, signed_by, verification_key
from realmint.protocol.names import JWT_BEARER_ASSERTION, JWT_BEARER_GRANT, JWT_SPIFFE_ASSERTION

PARAMETERS = frozenset({"client_assertion", "client_assertion_type"})
GRANT_PARAMETER = "assertion"
Keys = Sequence[VerificationKey]


class NotProven(Exception):
    """An assertion proves nothing. `reason` is for the log, from a closed list."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


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


def signed_by_any(token: Unverified, keys: Keys) -> bool:
    """Whether one of these keys signed it. Where none could have, as much is done as for one that did not (#28)."""
    if any(map(partial(signed_by, token), keys)):
        return True
    if not any(token.alg in key.algorithms for key in keys):
        work_for_nothing(token)
    return False


def find_keys(directory: Directory, at: KeysAt, token: Unverified) -> Keys:
    """The keys at an address outside that may have signed it. Raises temporarily_unavailable when nobody can tell."""
    try:
        return directory.find_keys(at, token)
    except KeysOutOfReach as error:
        raise because(TemporarilyUnavailableError(retry_after=error.retry_after), error.reason) from None


def find_keys_alike(directory: Directory, at: KeysAt, thumbprint: str, alg: str) -> Keys:
    """The keys at an address outside that one of this thumbprint may be among. Raises as find_keys() does."""
    try:
        return directory.find_keys_alike(at, thumbprint, alg)
    except KeysOutOfReach as error:
        raise because(TemporarilyUnavailableError(retry_after=error.retry_after), error.reason) from None


def work_for_nothing(token: Unverified) -> None:
    """The work of one signature, whose outcome means nothing: whether a client is known is not to be timed."""
    signed_by(token, _nobodys_key(token.alg))


def refuse(directory: Directory, client_id: str | None, reason: str, now: int) -> NoReturn:
    """The one refusal of every assertion that proves nothing. Raises invalid_client, or that there were too many."""
    if client_id is None:
        raise invalid_client(reason)
    with ClaimedBy(client_id):
        try:
            directory.note_failure(client_id, now)
        except TooManyAttempts as over:
            raise too_many_attempts(over.reason, over.retry_after) from None
        raise invalid_client(reason)


@lru_cache(maxsize=len(NOBODYS))
def _nobodys_key(alg: str) -> VerificationKey:
    return verification_key(NOBODYS[alg] | {"kid": "nobody's"})
