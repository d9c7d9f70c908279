"""What a grant is, and the phases of every token request, in order."""

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import NamedTuple, Protocol

from issuer.confirmations import Around, confirm
from issuer.opaque import OpaqueToken
from issuer.refusals import NO_SCOPE, Refusal, claimed_by, invalid_client, invalid_scope, unauthorized_client
from issuer.request import ClientRequest, Request
from issuer.tokens import Authorization, Confirmation, Issued, mint
from issuer.tokens.resources import audience
from realmint.protocol.names import ScopeError, parse_scope

# The same few, request after request.
_parse_scope = lru_cache(maxsize=1024)(parse_scope)


class Server(Around, Protocol):
    """What a token request is held against."""

    def authenticate(self, request: Request) -> ClientRequest:
        """The request of the client that proved who it is; raises invalid_request, invalid_client."""
        ...

    def keep(self, token: OpaqueToken, now: int) -> None:
        """Puts a token that is not signed into the store, or raises."""
        ...


class Wanted(NamedTuple):
    """What a client may have of what it asked for; whether it gets that is the grant's own decision."""

    confirmation: Confirmation
    scope: tuple[str, ...]
    audience: tuple[str, ...]


class TokenGrant(ABC):
    """A grant of the token endpoint (RFC 6749 section 4): it adds only what is its own."""

    GRANT_TYPE: str
    REPEATABLE: tuple[str, ...] = ("resource", "audience")
    """Parameters that may come more than once (RFC 8707 section 2)."""

    @abstractmethod
    def authorize(self, request: ClientRequest, wanted: Wanted) -> Authorization:
        """What this client gets. Raises an OAuth2Error to refuse."""


def issue(grant: TokenGrant, request: Request, server: Server) -> Issued:
    """One token request, from what arrived to a token; each phase takes what those before it returned.

    Raises the OAuth2Error of the first that refuses; in this order they do.
    """
    client_request = server.authenticate(request)  # invalid_request, invalid_client
    try:
        entitled = may_use(grant, client_request)  # invalid_client, unauthorized_client
        confirmation = confirm(entitled, server)  # invalid_request, invalid_dpop_proof
        scope = granted_scope(entitled)  # invalid_scope
        wanted = Wanted(confirmation, scope, granted_audience(entitled))  # invalid_target
        authorization = grant.authorize(entitled, wanted)
        issued = mint(authorization, request.keys, request.now, request.set_indexes)  # temporarily_unavailable
        if issued.stored is not None:
            server.keep(issued.stored, request.now)  # temporarily_unavailable
    except Refusal as refused:
        claimed_by(refused, client_request.client.client_id)
        raise
    return issued


def may_use(grant: TokenGrant, request: ClientRequest) -> ClientRequest:
    """The request, if its realm lets anybody in, and its client and its realm allow the grant.

    Introspection has no such phase: at a disabled realm it goes on saying that a token is not active.
    """
    realm = request.request.realm
    if not realm.enabled:
        raise invalid_client("realm_disabled")
    if not request.client.check_grant_type(grant.GRANT_TYPE):
        raise unauthorized_client("grant_not_allowed")
    if grant.GRANT_TYPE not in realm.grant_types:
        raise unauthorized_client("grant_not_allowed_by_realm")
    return request


def granted_scope(request: ClientRequest) -> tuple[str, ...]:
    """The scope values to grant: the request's, else the client's default, else the realm's.

    An unknown or disallowed one refuses the whole request; nothing is dropped silently.
    """
    client = request.client
    asked = request.request.one("scope")
    if asked:
        try:
            values = _parse_scope(asked)
        except ScopeError:
            raise invalid_scope("scope_malformed") from None
        if not client.grantable(values):
            raise invalid_scope("scope_not_allowed")
        return values
    values = client.default_scopes or tuple(
        value for value in request.request.realm.default_scopes if client.grantable((value,))
    )
    if not values or not client.grantable(values):
        raise invalid_scope("no_default_scope", NO_SCOPE)
    return values


def granted_audience(request: ClientRequest) -> tuple[str, ...]:
    """The APIs that the token will be for (RFC 8707 section 2); empty when nobody named one."""
    asked = request.request
    return audience(asked.every("resource"), asked.every("audience"), request.client, asked.realm)
