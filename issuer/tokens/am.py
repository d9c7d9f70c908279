"""The token with the claim names and types of ForgeRock AM's client-side access tokens, and `client_id`."""

import uuid
from typing import Any

from issuer.refusals import invalid_target
from issuer.tokens.claims import MintedClaims, new_grant_id, one_or_many
from issuer.tokens.resources import is_resource
from realmint.protocol.names import JWT_TYP


class AM:
    """For APIs that were written against AM: scope is an array, `aud` the client unless something else is set."""

    NAME = "am"
    TYP: str | None = JWT_TYP

    def shape(self, minted: MintedClaims) -> dict[str, Any]:
        """The claims. Raises invalid_target for a client named like an API without an audience of its own."""
        client_id = minted.client_id
        if not minted.audience and is_resource(client_id):
            # Nobody named an audience, and the client's own name would be that of an API (#56).
            raise invalid_target("client_named_like_an_api")
        return {
            "sub": f"(age!{client_id})" if minted.realm.am_sub_prefix else client_id,
            "cts": "OAUTH2_STATELESS_GRANT",
            "auditTrackingId": f"{uuid.uuid4()}-{minted.issued_at}",
            "subname": client_id,
            "iss": minted.issuer,
            "tokenName": "access_token",
            "token_type": minted.token_type,
            "authGrantId": new_grant_id(),
            "client_id": client_id,
            "aud": one_or_many(minted.audience or (client_id,)),
            "nbf": minted.issued_at,
            "grant_type": minted.grant_type,
            "scope": list(minted.scope),
            "auth_time": minted.issued_at,
            "realm": minted.realm.path,
            "exp": minted.expires_at,
            "iat": minted.issued_at,
            "expires_in": minted.expires_at - minted.issued_at,
            "jti": minted.token_id,
            "status": minted.status,
        }
