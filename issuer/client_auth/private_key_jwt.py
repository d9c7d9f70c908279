"""private_key_jwt: a client signs for itself (RFC 7523 section 2.2, as rfc7523bis has it; FAPI 2.0 section 5.3.2.1)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from issuer.client_auth import assertion, proving
from issuer.client_auth.method import Directory, Method
from issuer.client_auth.proving import NotProven
from issuer.clients import Client
from issuer.credentials import Credential, PublicKey, PublicKeySet
from issuer.credentials.public_key import fitting
from issuer.outside.key_sources import KeysAt
from issuer.request import AuthenticatedClient, Request
from issuer.waiting import about_to_wait
from realmint.protocol.claims import ClaimError, check_times, numeric_date
from realmint.protocol.jws import Unverified, signed_by
from realmint.protocol.names import CLIENT_AUTHENTICATION_TYP, JWT_TYP, OTHER_NAMES, SIGNING_ALGORITHMS

LEEWAY = 30
"""Seconds that a client's clock may differ from ours."""
LONGEST_LIFE = 300
"""Seconds that an assertion may have before it, and behind it (FAPI 2.0 section 5.3.2.1)."""
MAX_TOKEN_ID = 256
"""Longest `jti` in characters."""
_TYPES = frozenset({"", JWT_TYP.lower(), CLIENT_AUTHENTICATION_TYP})
USE = "client_assertion"


class PrivateKeyJWT(Method):
    """An assertion under a key that the client registered, for this issuer alone, used once.

    `aud` is the issuer's identifier and nothing else: a list, or the address of an endpoint, some other server could
    have had made for itself. Not checked: what else the assertion says.
    """

    NAME = "private_key_jwt"
    METADATA: Mapping[str, Sequence[str]] = {"auth_signing_alg_values_supported": (*SIGNING_ALGORITHMS, *OTHER_NAMES)}
    PROOFS = (PublicKey, PublicKeySet)

    def presented(self, request: Request) -> bool:
        if assertion.PARAMETERS.isdisjoint(request.parameters):
            return False
        found = assertion.found_in(request)
        return found is not None and found.is_own

    def authenticate(self, request: Request, directory: Directory, now: int) -> AuthenticatedClient:
        """Raises invalid_request where the parameters contradict each other, or one of them is missing."""
        found = assertion.found_in(request)
        assert found is not None
        assertion.check_type(request, found)
        client_id = found.claimed_client(request)
        if found.token is None or client_id is None:
            proving.refuse(directory, client_id, found.reason or "assertion_claims", now)
        try:
            _check(found.token, request.addresses.issuer, now)
            about_to_wait()  # for the mark of its use: from here on nothing is to be computed twice
            client, credential = _signer(found.token, directory.find_client(client_id), directory, now)
            _use(found.token, client, directory)
        except NotProven as failed:
            proving.refuse(directory, client_id, failed.reason, now)
        return AuthenticatedClient(client, self.NAME, credential.credential_id)


def _check(token: Unverified, issuer: str, now: int) -> None:
    """Everything that costs little, before any key is looked for. Raises NotProven."""
    claims = token.claims
    if token.protected.typ not in _TYPES:  # an access token is nobody's assertion (#76, #77)
        raise NotProven("assertion_typ")
    if claims.get("aud") != issuer:
        raise NotProven("assertion_audience")
    token_id = claims.get("jti")
    if not isinstance(token_id, str) or not 0 < len(token_id) <= MAX_TOKEN_ID:
        raise NotProven("assertion_jti")
    try:
        check_times(claims, now, LEEWAY, issued="iat" in claims)
        _check_life(claims, now)
    except ClaimError as error:
        raise NotProven(f"assertion_{error.reason}") from None


def _check_life(claims: Mapping[str, Any], now: int) -> None:
    """Raises NotProven for one that is good for long, and so worth a theft (#67, #68)."""
    if numeric_date(claims, "exp") > now + LONGEST_LIFE + LEEWAY:
        raise NotProven("assertion_lifetime")
    if "iat" in claims and numeric_date(claims, "iat") < now - LONGEST_LIFE - LEEWAY:
        raise NotProven("assertion_old")


def _signer(token: Unverified, client: Client | None, directory: Directory, now: int) -> tuple[Client, Credential]:
    """Who signed it, and with which credential. Raises NotProven, or temporarily_unavailable when nobody can tell."""
    if client is None:
        proving.work_for_nothing(token)
        raise NotProven("unknown_client")
    registered = list(client.proofs(PublicKey, now))
    tried = fitting([proof.key for _, proof in registered], token)
    for key in tried:
        if signed_by(token, key):
            return client, next(one for one, proof in registered if proof.key is key)
    for one, keyset in client.proofs(PublicKeySet, now):
        found = proving.find_keys(directory, KeysAt(None, keyset.jwks_uri), token)
        if any(signed_by(token, key) for key in found):
            return client, one
        tried = [*tried, *found]
    proving.work_for_nothing(token, tried)
    raise NotProven("assertion_signature" if tried else "assertion_key_unknown")


def _use(token: Unverified, client: Client, directory: Directory) -> None:
    """Last of all: a wrong one must not take the name of a right one along (#72). Raises NotProven.

    Of a client that cannot come in nothing is written.
    """
    if not client.enabled or client.auth_method != PrivateKeyJWT.NAME:
        return
    until = math.ceil(numeric_date(token.claims, "exp")) + LEEWAY
    if not directory.use_first(USE, client.id, token.claims["jti"], until):
        raise NotProven("assertion_replayed")
