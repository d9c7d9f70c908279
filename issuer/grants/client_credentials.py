"""The client credentials grant (RFC 6749 section 4.4): the client acts for itself."""

from typing import Any

from authlib.oauth2.rfc6749 import grants

from issuer.clients import Client
from issuer.grants.base import TokenGrant
from issuer.tokens import Authorization


class ClientCredentials(TokenGrant, grants.ClientCredentialsGrant):
    """Whoever authenticates gets what it may have; there is nobody else to ask."""

    GRANT_TYPE = "client_credentials"

    def authorize(self, request: Any, client: Client) -> Authorization:
        """The scope and audience found so far, for the client's lifetime, capped by the realm's."""
        realm = request.realm
        wanted = client.access_token_lifetime or realm.access_token_lifetime
        return Authorization(
            realm=realm,
            addresses=request.addresses,
            client=client,
            grant_type=self.GRANT_TYPE,
            scope=request.granted_scope,
            audience=request.audience,
            lifetime=min(wanted, realm.max_access_token_lifetime),
        )
