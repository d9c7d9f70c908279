"""Token introspection (RFC 7662): who may see a token, and the one constant answer for everything else."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from authlib.oauth2.rfc7662 import IntrospectionEndpoint

from issuer import client_auth, confirmations, log
from issuer.answer import Answer
from issuer.clients import Client
from issuer.endpoints.endpoint import Endpoint, Services, presented_token
from issuer.oauth_server import AuthlibRequest
from issuer.realms import Addresses, Realm
from issuer.request import Arrival, ClientRequest, Request
from issuer.storage import tokens as token_store
from issuer.tokens import read
from issuer.tokens.read import LiveToken, NotActive, VerifiedToken
from realmint.protocol.names import format_scope

_SUFFIX = "/introspect"
_COPIED = ("client_id", "exp", "iat", "nbf", "sub", "aud", "iss", "jti", "realm", "expires_in")
_COPIED_FOR_AM = ("subname", "auditTrackingId", "authGrantId")
INACTIVE: Mapping[str, Any] = {"active": False}


class Introspection(IntrospectionEndpoint):
    """Authlib's endpoint with our caller rules, our verification and our answer.

    Authlib's own refuses unknown hints and reads tokens from a table (facts L9).
    """

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._database = services.database
        self._leeway = services.policy.clock_error
        self._opaque = services.registry.opaque

    def authenticate_token(self, request: AuthlibRequest, client: ClientRequest) -> Mapping[str, Any] | None:
        """The claims of an active token that `client` may see, else None; the hint never matters."""
        del request  # the client's says it all
        asked, caller = client.request, client.client
        text = presented_token(client)
        try:
            claims = self._read(text, asked, caller).claims
        except NotActive as answer:
            _log(asked, caller, active=False, reason=answer.reason)
            return None
        _log(asked, caller, active=True, jti=claims["jti"])
        # The request's own instant: a second look at the clock could give an active token a negative rest.
        return {**claims, "expires_in": claims["exp"] - asked.now}

    def create_introspection_payload(self, token: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """The answer of RFC 7662 section 2.2."""
        if token is None:
            return INACTIVE
        scope, bound = token["scope"], confirmations.of_claims(token)
        assert bound is not None  # or it were not told of
        answer = {name: token[name] for name in _COPIED} | {
            "active": True,
            "scope": scope if isinstance(scope, str) else format_scope(scope),
            "token_type": bound.token_type,
        }
        if "cnf" in token:
            answer["cnf"] = token["cnf"]  # RFC 8705 section 3.2, RFC 9449 section 6.2
        if "auditTrackingId" in token:
            # Only here: a framework that finds `username` looks up, or makes, a person of that name.
            person = dict.fromkeys(("username", "user_id"), token["client_id"])
            answer |= {name: token[name] for name in _COPIED_FOR_AM} | person
        return answer

    def _read(self, text: str, asked: Request, caller: Client) -> LiveToken:
        """The live token that `caller` may see. Raises NotActive."""
        find = partial(self._opaque.find, asked.realm.id)
        verified = read.verify(text, asked.keys.published, asked.addresses.issuer, asked.now, self._leeway, find)
        _check_visible(verified, caller)
        _check_bound(verified)
        with self._database.read(once=True) as connection:
            state = token_store.state(connection, asked.realm.id, verified.token_id, verified.index, verified.kid)
        return read.live(verified, state)


def _check_visible(token: VerifiedToken, caller: Client) -> None:
    """Interface section 4: the token's client, an API it is addressed to, or a marked profile. Raises NotActive."""
    mine = token.client_id == caller.client_id
    addressed = not set(token.audience).isdisjoint(caller.resource_identifiers)
    if not (mine or addressed or caller.may_introspect_all):
        raise NotActive("not_visible_to_caller")


def _check_bound(token: VerifiedToken) -> None:
    """A token that another version bound in a way that is not known here: an answer without that would let whoever has
    the token use it. Raises NotActive."""
    if confirmations.of_claims(token.claims) is None:
        raise NotActive("bound_in_an_unknown_way")


def _log(asked: Request, caller: Client, **fields: Any) -> None:
    log.event("introspected", realm=asked.realm.path, client_id=caller.client_id, address=asked.address, **fields)


def _view(arrival: Arrival, services: Services) -> Answer:
    return services.server.at_endpoint(Introspection.ENDPOINT_NAME, arrival)


def _metadata(addresses: Addresses, _realm: Realm) -> Mapping[str, object]:
    return {"introspection_endpoint": addresses.endpoint(_SUFFIX), **client_auth.metadata("introspection")}


ENDPOINT = Endpoint(
    "introspection", _SUFFIX, ("POST",), _view, _metadata, private=True, framed=Introspection, waits=True
)
