"""The JWT profile for access tokens (RFC 9068 section 2), and the same under the header type JWT."""

from typing import Any

from issuer.tokens.authorization import Authorization, one_or_many
from realmint.protocol import jws
from realmint.protocol.names import ACCESS_TOKEN_TYP, JWT_TYP, format_scope


class RFC9068:
    """`at+jwt`: what a verifier of today expects."""

    NAME = "rfc9068"
    TYP = ACCESS_TOKEN_TYP

    def serialize(self, authorization: Authorization, signer: jws.Signer, now: int, token_id: str) -> str:
        """The signed token."""
        return jws.sign(_claims(authorization, now, token_id), signer, self.TYP)


class JWT(RFC9068):
    """The same claims for verifiers that refuse `at+jwt`, such as Spring's and Nimbus's defaults."""

    NAME = "jwt"
    TYP = JWT_TYP


def _claims(authorization: Authorization, now: int, token_id: str) -> dict[str, Any]:
    client_id = authorization.client.client_id
    issuer = authorization.addresses.issuer
    return {
        "iss": issuer,
        "sub": client_id,
        # An API must be able to check it: never the client's own name (RFC 9068 section 3).
        "aud": one_or_many(authorization.audience or (issuer,)),
        "client_id": client_id,
        "iat": now,
        "nbf": now,
        "exp": now + authorization.lifetime,
        "jti": token_id,
        "scope": format_scope(authorization.scope),
        "realm": authorization.realm.path,
    }
