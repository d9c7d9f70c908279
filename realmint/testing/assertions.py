"""A client of an issuer that is none, which authenticates with a key alone (`private_key_jwt`)."""

from collections.abc import Mapping
from typing import Any

from realmint.messages import Request
from realmint.protocol.claims import ClaimError, numeric_date, string
from realmint.protocol.jws import JWSError, peek, verification_key, verify
from realmint.protocol.names import CLIENT_AUTHENTICATION_TYP, JWT_BEARER_ASSERTION

FURTHEST = 300
"""Seconds that an assertion may still count for."""
MAX_ASSERTION = 16384
TYPS = frozenset({CLIENT_AUTHENTICATION_TYP, "jwt", ""})
"""What the header may say it is (rfc7523bis)."""


class KeyClient:
    """Knows the public key of one client, and takes each assertion once. refused: why it took others, in order.

    Raises ValueError for a JWK that is no public key with a `kid`.
    """

    def __init__(self, client_id: str, public_jwk: Mapping[str, Any]) -> None:
        try:
            self._key = verification_key(dict(public_jwk))
        except JWSError:
            raise ValueError("the client's JWK must be a public key with a kid") from None
        self.client_id = client_id
        self.refused: list[str] = []
        self._taken: dict[str, object] = {}

    def takes(self, request: Request, form: Mapping[str, list[str]], issuer: str, now: int) -> bool:
        """Whether the request shows that it is this client's (RFC 7521 section 4.2, RFC 7523 section 3)."""
        why = self._why_not(request, form, issuer, now)
        if why is not None:
            self.refused.append(why)
        return why is None

    def _why_not(self, request: Request, form: Mapping[str, list[str]], issuer: str, now: int) -> str | None:
        if any(name.lower() == "authorization" for name in request.headers) or "client_secret" in form:
            return "several methods"
        if form.get("client_assertion_type") != [JWT_BEARER_ASSERTION]:
            return "client_assertion_type"
        if form.get("client_id", [self.client_id]) != [self.client_id]:
            return "client_id"
        sent = form.get("client_assertion", [])
        try:
            read = peek(sent[0] if len(sent) == 1 else "", MAX_ASSERTION)
            if read.kid != self._key.kid or read.protected.typ not in TYPS:
                return "header"
            return self._said_wrong(verify(read, self._key).claims, issuer, now)
        except (JWSError, ClaimError) as error:
            return error.reason

    def _said_wrong(self, claims: Mapping[str, Any], issuer: str, now: int) -> str | None:
        wanted = {"iss": self.client_id, "sub": self.client_id, "aud": issuer}
        for name, value in wanted.items():
            if claims.get(name) != value:
                return name
        if not now < numeric_date(claims, "exp") <= now + FURTHEST:
            return "exp"
        mine = object()
        # In one step: of two threads that bring the same one, one is refused.
        return None if self._taken.setdefault(string(claims, "jti"), mine) is mine else "jti"
