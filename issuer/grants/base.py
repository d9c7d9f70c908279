"""TokenGrant: the phases of a token request in their fixed order; a grant adds only what is its own.

A mixin before an Authlib grant: Authlib authenticates the client, asks it about the grant, and calls
validate_requested_scope; then come the audience and the grant's own authorize().
"""

from typing import Any

from authlib.oauth2.rfc6749.grants import BaseGrant, TokenEndpointMixin

from issuer.clients import Client
from issuer.realms import Realm
from issuer.refusals import NO_SCOPE, invalid_client, invalid_scope, unauthorized_client
from issuer.tokens import Authorization, issue, new_token_id
from issuer.tokens.resources import audience
from realmint.protocol.names import BEARER, ScopeError, format_scope, parse_scope


class TokenGrant(BaseGrant, TokenEndpointMixin):
    """A grant of the token endpoint (RFC 6749 section 4)."""

    GRANT_TYPE: str
    PARAMETERS: tuple[str, ...] = ("grant_type", "scope", "resource", "audience")
    """Parameters that this grant reads, client authentication apart; any other is ignored."""
    REPEATABLE: tuple[str, ...] = ("resource", "audience")
    """Parameters that may come more than once (RFC 8707 section 2)."""

    def authenticate_token_endpoint_client(self) -> Client:
        """A disabled realm lets nobody in here; its introspection goes on saying that a token is not active."""
        client: Client = super().authenticate_token_endpoint_client()
        if not self.request.realm.enabled:
            raise invalid_client("realm_disabled")
        return client

    def validate_token_request(self) -> None:
        """Every phase but the signing. Raises an OAuth2Error at the first that refuses."""
        super().validate_token_request()
        realm: Realm = self.request.realm
        given = self.request.payload.datalist
        self.request.audience = audience(given.get("resource", ()), given.get("audience", ()), self.client, realm)
        self.request.authorization = self.authorize(self.request, self.client)

    def validate_requested_scope(self) -> None:
        """The scope values to grant: the request's, else the client's default, else the realm's.

        An unknown or disallowed one refuses the whole request; nothing is dropped silently. Authlib asks once the
        client may use the grant; whether the realm allows it comes before any scope too.
        """
        client: Client = self.client
        if self.GRANT_TYPE not in self.request.realm.grant_types:
            raise unauthorized_client("grant_not_allowed_by_realm")
        asked = self.request.payload.scope
        if asked:
            try:
                values = parse_scope(asked)
            except ScopeError:
                raise invalid_scope("scope_malformed") from None
            if not client.grantable(values):
                raise invalid_scope("scope_not_allowed")
        else:
            realm_defaults = tuple(v for v in self.request.realm.default_scopes if client.grantable((v,)))
            values = client.default_scopes or realm_defaults
            if not values or not client.grantable(values):
                raise invalid_scope("no_default_scope", NO_SCOPE)
        self.request.granted_scope = values

    def authorize(self, request: Any, client: Client) -> Authorization:
        """What this client gets; the grant's own decision."""
        raise NotImplementedError

    def generate_token(self, **_: Any) -> "TokenResponse":
        """The token response (RFC 6749 section 5.1), called by Authlib's create_token_response."""
        issued = issue(self.request.authorization, self.request.keys, self.request.now, new_token_id())
        self.request.issued = issued
        return TokenResponse(
            access_token=issued.token,
            token_type=BEARER,
            expires_in=issued.authorization.lifetime,
            scope=format_scope(issued.authorization.scope),
        )


class TokenResponse(dict[str, Any]):
    """A token response whose repr shows nothing: Authlib writes it to the debug log (#208)."""

    def __repr__(self) -> str:
        return "<token response>"

    __str__ = __repr__
