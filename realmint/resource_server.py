"""ResourceServer: the whole decision about an access token (RFC 9068 section 4), cheapest checks first."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from realmint.bearer import InsufficientScope, InvalidToken, TokenError, Unavailable, challenge, check_token
from realmint.introspection import Introspection, IntrospectionClient
from realmint.key_source import KeyPolicy, KeySource, Listener
from realmint.protocol import Clock, Monotonic, jws, monotonic, system_clock
from realmint.protocol.claims import (
    ClaimError,
    audience,
    check_audience,
    check_issuer,
    check_times,
    numeric_date,
    scope_values,
    string,
)
from realmint.protocol.names import ACCESS_TOKEN_TYP, SIGNING_ALGORITHMS, parse_scope
from realmint.transport import HTTPTransport, Transport, is_secure

MAX_LEEWAY = 300


@dataclass(frozen=True)
class AccessToken:
    """An accepted token. `expires_at` in seconds since the epoch; `claims` cannot be changed.

    `source` says what decided: "local" or "introspection". The token's own text is not kept.
    """

    client_id: str
    subject: str
    scopes: frozenset[str]
    audience: tuple[str, ...]
    jti: str
    expires_at: int
    issuer: str
    realm: str | None
    source: Literal["local", "introspection"]
    claims: Mapping[str, Any] = field(repr=False)


class ResourceServer:
    """Checks access tokens of one issuer for one API.

    issuer: the issuer identifier, compared exactly. audience: this API's own identifier, or several. algorithms:
    what a token may be signed with. leeway: tolerated clock difference in seconds. keys: how keys are cached.
    introspection: when to ask the issuer as well, None for never. on_event: called with a name and fields, such
    as keys.refreshed; never with a token.

    Nothing is fetched before the first token. Raises ValueError for an option that would skip a check.
    Safe to use from several threads.
    """

    def __init__(
        self,
        issuer: str,
        audience: str | Sequence[str],
        *,
        algorithms: Collection[str] = SIGNING_ALGORITHMS,
        leeway: int = 30,
        keys: KeyPolicy | None = None,
        introspection: Introspection | None = None,
        transport: Transport | None = None,
        clock: Clock = system_clock,
        monotonic: Monotonic = monotonic,
        on_event: Listener | None = None,
    ) -> None:
        self.issuer = issuer
        self.audience = (audience,) if isinstance(audience, str) else tuple(audience)
        self._algorithms = frozenset(algorithms)
        self._leeway = leeway
        self._check_options()
        self._clock = clock
        self._listener: Listener = on_event or (lambda _name, _fields: None)
        self._transport = transport or HTTPTransport()
        self._source = KeySource(issuer, self._transport, keys or KeyPolicy(), monotonic, self._listener)
        self._mode = introspection.mode if introspection else None
        self._introspection = (
            IntrospectionClient(introspection, self._source, self._transport) if introspection else None
        )

    def validate(self, access_token: str, scope: str | None = None, *, live: bool = False) -> AccessToken:
        """The accepted token.

        scope: values that are all needed, separated by spaces. live: ask the issuer as well, about this one.
        Raises InvalidToken (401), InsufficientScope (403) or Unavailable (503), all of them TokenError.
        Implements RFC 9068 section 4. Not checked: whether the token was revoked, unless the issuer is asked.
        """
        needed = parse_scope(scope) if scope is not None else ()
        try:
            token = self._decide(access_token, live=live)
            if not token.scopes.issuperset(needed):
                raise InsufficientScope(needed)
        except TokenError as error:
            self._listener("token.denied", {"status": error.status, "reason": error.reason})
            raise
        return token

    async def avalidate(self, access_token: str, scope: str | None = None, *, live: bool = False) -> AccessToken:
        """As validate, in a thread of its own, so that a fetch does not hold up the event loop."""
        return await asyncio.to_thread(self.validate, access_token, scope, live=live)

    def challenge_missing(self) -> str:
        """The WWW-Authenticate value for a request without a token: no error code (RFC 6750 section 3.1)."""
        return challenge()

    def refresh_keys(self) -> None:
        """Fetches the keys now. Raises Unavailable."""
        self._source.refresh()

    def health(self) -> Mapping[str, Any]:
        """`ready`: whether tokens can be decided; and the state of the keys."""
        keys = self._source.health()
        return {"ready": keys["state"] in ("fresh", "stale"), "keys": keys}

    def close(self) -> None:
        """Lets go of connections."""
        if isinstance(self._transport, HTTPTransport):
            self._transport.close()

    def _check_options(self) -> None:
        if not is_secure(self.issuer) or self.issuer.endswith("/") or "?" in self.issuer or "#" in self.issuer:
            raise ValueError(
                "issuer must be an https URL (http on loopback) without a trailing slash, query or fragment"
            )
        if not self.audience or not all(isinstance(value, str) and value for value in self.audience):
            raise ValueError("audience must name this API")
        if not self._algorithms or not self._algorithms <= set(SIGNING_ALGORITHMS):
            raise ValueError(f"algorithms must be some of {', '.join(SIGNING_ALGORITHMS)}")
        if not 0 <= self._leeway <= MAX_LEEWAY:
            raise ValueError(f"leeway must be 0 to {MAX_LEEWAY} seconds")

    def _decide(self, token: str, *, live: bool) -> AccessToken:
        if live and self._introspection is None:
            raise ValueError("live=True needs introspection=Introspection(...)")
        check_token(token)
        if self._introspection is not None and self._mode != "rescue" and token.count(".") != 2:
            return self._ask(token, None)
        unverified = self._read(token)
        try:
            accepted = self._verify(unverified)
        except Unavailable:
            if self._introspection is None:
                raise
            return self._ask(token, unverified.claims)
        # A token that the local checks proved bad is never sent on.
        return self._ask(token, accepted.claims) if live or self._mode == "live" else accepted

    def _read(self, token: str) -> jws.Unverified:
        """What the token says. Cheap claims come before keys: junk must not cause a fetch."""
        try:
            unverified = jws.peek(token)
            self._check_header(unverified)
            self._check_claims(unverified.claims, self._clock())
        except (jws.JWSError, ClaimError) as error:
            raise InvalidToken(error.reason) from None
        return unverified

    def _verify(self, unverified: jws.Unverified) -> AccessToken:
        key = self._source.key(unverified.kid or "")
        try:
            claims = jws.verify(unverified, key).claims
            self._check_claims(claims, self._clock())
            return _accepted(claims, "local")
        except (jws.JWSError, ClaimError) as error:
            raise InvalidToken(error.reason) from None

    def _check_header(self, unverified: jws.Unverified) -> None:
        # RFC 9068 section 4; media types compare without case, and `application/` may be left out.
        typ = str(unverified.header.get("typ", "")).lower().removeprefix("application/")
        if typ != ACCESS_TOKEN_TYP:
            raise InvalidToken("typ")
        if unverified.alg not in self._algorithms:
            raise InvalidToken("alg")
        if unverified.kid is None:
            raise InvalidToken("key_unknown")

    def _check_claims(self, claims: Mapping[str, Any], now: int) -> None:
        check_issuer(claims, self.issuer)
        check_audience(claims, self.audience)
        check_times(claims, now, self._leeway)
        if "cnf" in claims:  # bound to a key: as a plain bearer token it must not pass (RFC 9449 section 7.2)
            raise InvalidToken("cnf")

    def _ask(self, token: str, read: Mapping[str, Any] | None) -> AccessToken:
        assert self._introspection is not None
        claims = self._introspection.ask(token, read)
        now = self._clock()
        try:
            # RFC 7662 section 2.2 makes most members optional; what decides must be there.
            check_issuer(claims, self.issuer)
            check_audience(claims, self.audience)
            if numeric_date(claims, "exp") <= now - self._leeway:
                raise InvalidToken("expired")
            if "nbf" in claims and numeric_date(claims, "nbf") > now + self._leeway:
                raise InvalidToken("not_yet_valid")
            if "cnf" in claims:
                raise InvalidToken("cnf")
            return _accepted(claims, "introspection")
        except ClaimError as error:
            raise InvalidToken(error.reason) from None


def _accepted(claims: Mapping[str, Any], source: Literal["local", "introspection"]) -> AccessToken:
    return AccessToken(
        client_id=string(claims, "client_id"),
        subject=string(claims, "sub"),
        scopes=frozenset(scope_values(claims)),
        audience=audience(claims),
        jti=string(claims, "jti"),
        expires_at=int(numeric_date(claims, "exp")),
        issuer=string(claims, "iss"),
        realm=string(claims, "realm") if "realm" in claims else None,
        source=source,
        claims=MappingProxyType(dict(claims)),
    )
