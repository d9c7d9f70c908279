"""The client credentials grant (RFC 6749 section 4.4): the client acts for itself."""

from issuer.grants.base import TokenGrant, Wanted
from issuer.request import ClientRequest
from issuer.tokens import Authorization


class ClientCredentials(TokenGrant):
    """Whoever authenticates gets what it may have; there is nobody else to ask."""

    GRANT_TYPE = "client_credentials"

    def authorize(self, request: ClientRequest, wanted: Wanted) -> Authorization:
        return authorization(self.GRANT_TYPE, request, wanted)


def authorization(grant_type: str, request: ClientRequest, wanted: Wanted) -> Authorization:
    """What a client that acts for itself gets: what is wanted, for its own lifetime, capped by the realm's."""
    realm, client = request.request.realm, request.client
    lifetime = client.access_token_lifetime or realm.access_token_lifetime
    return Authorization(
        realm=realm,
        addresses=request.request.addresses,
        client=client,
        credential_id=request.authenticated.credential_id,
        grant_type=grant_type,
        scope=wanted.scope,
        audience=wanted.audience,
        lifetime=min(lifetime, realm.max_access_token_lifetime),
        confirmation=wanted.confirmation,
    )
