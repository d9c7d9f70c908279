"""The JWT profile for access tokens (RFC 9068 section 2), and the same under the header type JWT."""

from typing import Any

from issuer.tokens.claims import MintedClaims, one_or_many
from realmint.protocol.names import ACCESS_TOKEN_TYP, JWT_TYP, format_scope


class RFC9068:
    """`at+jwt`: what a verifier of today expects."""

    NAME = "rfc9068"
    TYP: str | None = ACCESS_TOKEN_TYP

    def shape(self, minted: MintedClaims) -> dict[str, Any]:
        """The claims."""
        return {
            "iss": minted.issuer,
            "sub": minted.client_id,
            # An API must be able to check it: never the client's own name (RFC 9068 section 3).
            "aud": one_or_many(minted.audience or (minted.issuer,)),
            "client_id": minted.client_id,
            "iat": minted.issued_at,
            "nbf": minted.issued_at,
            "exp": minted.expires_at,
            "jti": minted.token_id,
            "scope": format_scope(minted.scope),
            "realm": minted.realm.path,
            "status": minted.status,
        }


class JWT(RFC9068):
    """The same claims for verifiers that refuse `at+jwt`, such as Spring's and Nimbus's defaults."""

    NAME = "jwt"
    TYP: str | None = JWT_TYP
