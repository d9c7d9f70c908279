"""The door on which tokens come back: from a text to the claims of a live token, or NotActive with the reason.

In two steps, cheap first: verify() needs what this process holds, but for an opaque token, whose claims are in the
store; live() what the store says now. Who may see a token is for the caller to say, in between.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from issuer import opaque, slots
from issuer.opaque import OpaqueToken
from keys.key import IN_JWKS
from realmint.protocol import jws
from realmint.protocol.claims import ClaimError, audience, check_issuer, check_times, numeric_date, string
from realmint.protocol.jws import VerificationKey
from realmint.protocol.names import ACCESS_TOKEN_TYP, JWT_TYP


class NotActive(Exception):
    """A text is no token that counts now; `reason` is for the log alone (RFC 7662 section 2.2)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class VerifiedToken:
    """A token that we issued and that is within its life; whether it was cut off since is not known yet.

    kid: of the key that signed it; None for an opaque one.
    """

    claims: Mapping[str, Any]
    kid: str | None

    @property
    def client_id(self) -> str:
        """The client it was issued to."""
        return str(self.claims["client_id"])

    @property
    def token_id(self) -> str:
        """Its `jti`."""
        return str(self.claims["jti"])

    @property
    def index(self) -> int:
        """The index that its `jti` carries, which names its range. Raises NotActive."""
        try:
            return slots.index_of(self.token_id)
        except slots.NotATokenId:
            raise NotActive("no_index") from None

    @property
    def audience(self) -> tuple[str, ...]:
        """The APIs it is addressed to."""
        return tuple(audience(self.claims))


class LiveToken(VerifiedToken):
    """A token that is active: nothing that would cut it off is in the store."""


class TokenState(Protocol):
    """What the store says now about the realm, the range, the client and the key behind a token."""

    @property
    def realm_enabled(self) -> bool: ...

    @property
    def range_found(self) -> bool:
        """Whether the token's index is at or above the realm's floor and lies in a range."""
        ...

    @property
    def range_ended(self) -> bool: ...

    @property
    def revoked(self) -> bool:
        """Whether exactly this token was."""
        ...

    @property
    def client_id(self) -> str | None:
        """What the client of that range is called; None unless it is live and enabled."""
        ...

    @property
    def key_state(self) -> str | None: ...


Find = Callable[[bytes], OpaqueToken | None]
"""The opaque token of the realm that has this digest, dead or alive; raises when the store cannot say."""


def verify(
    text: str, published: Mapping[str, VerificationKey], issuer: str, now: int, leeway: int, find: Find, *,
    grace: int = 0,
) -> VerifiedToken:  # fmt: skip
    """The token that `text` is, if its time has not passed and `issuer` issued it.

    Then it signed it with one of its `published` keys, or `find` knows it, which is asked about a text of the shape of
    an opaque token alone. leeway: seconds by which the clocks of nodes differ, so that a token just issued elsewhere is
    not "not yet valid"; expiry has none. grace: seconds for which an expired one still counts, for who asks what an API
    may yet accept. Raises NotActive, and what `find` raises.
    """
    try:
        claims, kid = _stored(text, find) if opaque.is_opaque(text) else _signed(text, published)
        check_issuer(claims, issuer)
        check_times(claims, now, max(leeway, grace))
        _check_members(claims)
    except jws.JWSError as error:
        raise NotActive(error.reason) from None
    except ClaimError as error:
        raise NotActive(f"{error.reason}:{error.claim}") from None
    if claims["exp"] <= now - grace:
        raise NotActive("expired")
    return VerifiedToken(claims, kid)


def _signed(text: str, published: Mapping[str, VerificationKey]) -> tuple[Mapping[str, Any], str]:
    """What a token says and which of our keys signed it. Raises NotActive, JWSError."""
    unverified = jws.peek(text)
    key = published.get(unverified.kid or "")
    if key is None or unverified.header.get("typ") not in (ACCESS_TOKEN_TYP, JWT_TYP):
        raise NotActive("unknown_key_or_type")
    verified = jws.verify(unverified, key)
    return verified.claims, verified.kid


def _stored(text: str, find: Find) -> tuple[Mapping[str, Any], None]:
    """What an opaque token says. Raises NotActive, JWSError for a spoilt row (#187), and what `find` raises."""
    row = find(opaque.digest(text))
    if row is None:
        raise NotActive("unknown_opaque_token")
    return jws.parse_object(row.claims.encode()), None


def live(token: VerifiedToken, state: TokenState | None) -> LiveToken:
    """The token, if it is active by the one rule of what kills tokens (design 3.1). Raises NotActive.

    Its realm is enabled, its index at or above the realm's floor, its range has not ended, it is not revoked, the
    client of that range is live, enabled and the token's own, and the key that signed it, if one did, may still be in
    use. No clock is compared.
    state: read afresh for this token; None when its realm ended.
    """
    if state is None or not state.realm_enabled:
        raise NotActive("realm_ended")
    if token.kid is not None and state.key_state not in IN_JWKS:
        raise NotActive("key_ended")
    if not state.range_found:
        raise NotActive("no_range")
    if state.range_ended:
        raise NotActive("range_ended")
    if state.revoked:
        raise NotActive("revoked")
    if state.client_id != token.client_id:
        raise NotActive("client_ended" if state.client_id is None else "other_client")
    return LiveToken(token.claims, token.kid)


def _check_members(claims: Mapping[str, Any]) -> None:
    """What is answered of a token is there and of its type, should another version have signed it."""
    for name in ("jti", "client_id", "sub", "realm"):
        string(claims, name)
    numeric_date(claims, "nbf")
    audience(claims)
    scope = claims.get("scope")
    if not isinstance(scope, str) and not (isinstance(scope, list) and all(isinstance(part, str) for part in scope)):
        raise ClaimError("claim_type", "scope")
