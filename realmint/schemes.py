"""How tokens may be sent to an API, and how a refusal tells callers of it (RFC 9110 section 11.6.1). Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from realmint.bearer import TokenError, challenge
from realmint.protocol.names import BEARER, DPOP


class TokenMissing(TokenError):
    """401: there is no Authorization header. No error code (RFC 6750 section 3.1); which scope the route needs."""

    error = "unauthorized"

    def __init__(self, scope: str | None = None) -> None:
        super().__init__("missing", "An access token is needed", {"scope": scope} if scope else {})


class Schemes(NamedTuple):
    """algorithms: of DPoP proofs, the best first; none where none are taken. required: whether nothing else is.

    certificates: whether tokens may be bound to certificates.
    """

    algorithms: tuple[str, ...] = ()
    required: bool = False
    certificates: bool = False

    def challenges(self, refused: TokenError, **pointer: str) -> str | None:
        """The value of WWW-Authenticate: a challenge of the scheme that was used, and beside it the other one.

        pointer: what each of them says. RFC 6750 section 3, RFC 9449 section 7.1.
        """
        if refused.said is None:
            return None
        proven = self.required or (refused.scheme == DPOP and bool(self.algorithms))
        found = {DPOP if proven else BEARER: dict(refused.said)}
        if self.algorithms and not self.required and refused.status != 403:  # there another scheme would mend nothing
            found.setdefault(BEARER if proven else DPOP, {})
        if DPOP in found:
            found[DPOP]["algs"] = " ".join(self.algorithms)
        return ", ".join(challenge(scheme, **said, **pointer) for scheme, said in found.items())

    def tell(self, refused: TokenError, scheme: str) -> None:
        """Has a refusal say so. scheme: how its token came."""
        if self.algorithms:
            refused.scheme = scheme
            refused.challenge = self.challenges(refused)

    def metadata(self) -> Mapping[str, Any]:
        """What the API's metadata says of it (RFC 9728 section 2)."""
        found: dict[str, Any] = {}
        if self.algorithms:
            found["dpop_signing_alg_values_supported"] = list(self.algorithms)
        if self.required:
            found["dpop_bound_access_tokens_required"] = True
        if self.certificates:
            found["tls_client_certificate_bound_access_tokens"] = True
        return found
