"""Token introspection (RFC 7662): who may see a token, and the one constant answer for everything else."""

from collections.abc import Mapping
from typing import Any

import flask
from authlib.oauth2.rfc7662 import IntrospectionEndpoint

from issuer import log, stores
from issuer.client_auth import METHODS_BY_NAME
from issuer.clients import Client
from issuer.endpoints.endpoint import Endpoint, runtime
from issuer.realms import Addresses, Realm
from issuer.refusals import MISSING_TOKEN, invalid_request
from keys.key import IN_JWKS
from realmint.protocol import jws
from realmint.protocol.claims import ClaimError, audience, check_issuer, check_times, numeric_date, string
from realmint.protocol.names import ACCESS_TOKEN_TYP, BEARER, JWT_TYP, format_scope

_SUFFIX = "/introspect"
_COPIED = ("client_id", "exp", "iat", "nbf", "sub", "aud", "iss", "jti", "realm", "expires_in")
_COPIED_FOR_AM = ("subname", "auditTrackingId", "authGrantId")
INACTIVE: Mapping[str, Any] = {"active": False}


class TokenNotActive(Exception):
    """Why a token is answered as inactive, for the log alone."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Introspection(IntrospectionEndpoint):
    """Authlib's endpoint with our caller rules, our verification and our answer.

    Authlib's own refuses unknown hints and reads tokens from a table (facts L9).
    """

    def authenticate_token(self, request: Any, client: Client) -> Mapping[str, Any] | None:
        """The claims of an active token that `client` may see, else None; the hint never matters."""
        token = request.form.get("token")
        if token is None:
            raise invalid_request("no_token", MISSING_TOKEN)
        try:
            claims = _verify(token, request)
            _check_visible(claims, client)
            _check_live(claims, request)
        except TokenNotActive as answer:
            self._log(request, client, active=False, reason=answer.reason)
            return None
        self._log(request, client, active=True, jti=claims["jti"])
        # The request's own instant: a second look at the clock could give an active token a negative rest.
        return {**claims, "expires_in": claims["exp"] - request.now}

    def create_introspection_payload(self, token: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """The answer of RFC 7662 section 2.2."""
        if token is None:
            return INACTIVE
        scope = token["scope"]
        answer = {name: token[name] for name in _COPIED} | {
            "active": True,
            "scope": scope if isinstance(scope, str) else format_scope(scope),
            "token_type": BEARER,
        }
        if "auditTrackingId" in token:
            # Only here: a framework that finds `username` looks up, or makes, a person of that name.
            person = dict.fromkeys(("username", "user_id"), token["client_id"])
            answer |= {name: token[name] for name in _COPIED_FOR_AM} | person
        return answer

    def _log(self, request: Any, client: Client, **fields: Any) -> None:
        log.event(
            "introspected", realm=request.realm.path, client_id=client.client_id, address=request.address, **fields
        )


def _verify(token: str, request: Any) -> Mapping[str, Any]:
    """The claims of a token of this realm that is within its life."""
    leeway = runtime().settings.rotation.clock_error
    try:
        unverified = jws.peek(token)
        key = request.keys.published.get(unverified.kid)
        if key is None or unverified.header.get("typ") not in (ACCESS_TOKEN_TYP, JWT_TYP):
            raise TokenNotActive("unknown_key_or_type")
        verified = jws.verify(unverified, key)
        claims = verified.claims
        check_issuer(claims, request.addresses.issuer)
        # Nodes' clocks differ, so a token just issued elsewhere is not "not yet valid"; expiry has no leeway.
        check_times(claims, request.now, leeway)
        _check_members(claims)
    except jws.JWSError as error:
        raise TokenNotActive(error.reason) from None
    except ClaimError as error:
        raise TokenNotActive(f"{error.reason}:{error.claim}") from None
    if claims["exp"] <= request.now:
        raise TokenNotActive("expired")
    return {**claims, "kid": verified.kid}


def _check_members(claims: Mapping[str, Any]) -> None:
    """What the answer is made of is there and of its type, should another version have signed it."""
    for name in ("jti", "client_id", "sub", "realm"):
        string(claims, name)
    numeric_date(claims, "nbf")
    audience(claims)
    scope = claims.get("scope")
    if not isinstance(scope, str) and not (isinstance(scope, list) and all(isinstance(part, str) for part in scope)):
        raise ClaimError("claim_type", "scope")


def _check_visible(claims: Mapping[str, Any], client: Client) -> None:
    """Interface section 4: the token's client, an API it is addressed to, or a marked profile."""
    mine = claims["client_id"] == client.client_id
    addressed = bool(set(audience(claims)) & set(client.resource_identifiers))
    if not (mine or addressed or client.may_introspect_all):
        raise TokenNotActive("not_visible_to_caller")


def _check_live(claims: Mapping[str, Any], request: Any) -> None:
    """Realm, client and key are still there, and no cut-off covers the token; read afresh."""
    with runtime().database.read() as connection:
        state = stores.token_state(connection, request.realm.id, claims["client_id"], claims["kid"])
    if state is None or not state.enabled:
        raise TokenNotActive("client_or_realm_ended")
    if state.key_state not in IN_JWKS:
        raise TokenNotActive("key_ended")
    if claims["iat"] <= state.not_before:
        raise TokenNotActive("cut_off")


def _view(realm_path: str) -> flask.Response:
    return runtime().server.create_endpoint_response(Introspection.ENDPOINT_NAME, realm_path)  # type: ignore[no-any-return]


def _metadata(addresses: Addresses, _realm: Realm) -> Mapping[str, Any]:
    return {
        "introspection_endpoint": addresses.endpoint(_SUFFIX),
        "introspection_endpoint_auth_methods_supported": list(METHODS_BY_NAME),
    }


ENDPOINT = Endpoint("introspection", _SUFFIX, ("POST",), _view, _metadata, private=True)
