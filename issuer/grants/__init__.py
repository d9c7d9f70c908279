"""GRANTS lists the grants a token request can name; a new one is a file and a line here.

base: the phases of a token request, and what a grant is. client_credentials: the client acts for itself. jwt_bearer:
so it does, and its identity from outside is the grant. May import tokens, keys,
the issuer's values and realmint.protocol; who the client is is handed in.
"""

from issuer.grants.base import TokenGrant, issue
from issuer.grants.client_credentials import ClientCredentials
from issuer.grants.jwt_bearer import JWTBearer
from issuer.plugins import by_name

GRANTS: tuple[TokenGrant, ...] = (ClientCredentials(), JWTBearer())
GRANTS_BY_NAME = by_name(GRANTS, "GRANT_TYPE")

__all__ = ["GRANTS", "GRANTS_BY_NAME", "TokenGrant", "issue"]
