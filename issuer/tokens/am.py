"""The token with the claim names and types of ForgeRock AM's client-side access tokens, and `client_id`."""

import uuid
from typing import Any

from issuer.refusals import invalid_target
from issuer.tokens.authorization import Authorization, new_token_id, one_or_many
from issuer.tokens.resources import is_resource
from realmint.protocol import jws
from realmint.protocol.names import BEARER, JWT_TYP


class AM:
    """For APIs that were written against AM: scope is an array, `aud` the client unless something else is set."""

    NAME = "am"

    def serialize(self, authorization: Authorization, signer: jws.Signer, now: int, token_id: str) -> str:
        """The signed token. Raises invalid_target for a client named like an API without an audience of its own."""
        if not authorization.audience and is_resource(authorization.client.client_id):
            # Nobody named an audience, and the client's own name would be that of an API (#56).
            raise invalid_target("client_named_like_an_api")
        return jws.sign(_claims(authorization, now, token_id), signer, JWT_TYP)


def _claims(authorization: Authorization, now: int, token_id: str) -> dict[str, Any]:
    client_id = authorization.client.client_id
    return {
        "sub": f"(age!{client_id})" if authorization.realm.am_sub_prefix else client_id,
        "cts": "OAUTH2_STATELESS_GRANT",
        "auditTrackingId": f"{uuid.uuid4()}-{now}",
        "subname": client_id,
        "iss": authorization.addresses.issuer,
        "tokenName": "access_token",
        "token_type": BEARER,
        "authGrantId": new_token_id(),
        "client_id": client_id,
        "aud": one_or_many(authorization.audience or (client_id,)),
        "nbf": now,
        "grant_type": authorization.grant_type,
        "scope": list(authorization.scope),
        "auth_time": now,
        "realm": authorization.realm.path,
        "exp": now + authorization.lifetime,
        "iat": now,
        "expires_in": authorization.lifetime,
        "jti": token_id,
    }
