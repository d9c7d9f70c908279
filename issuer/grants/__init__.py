"""GRANTS lists the grants a token request can name; a new one is a file and a line here."""

from issuer.grants.base import TokenGrant
from issuer.grants.client_credentials import ClientCredentials
from issuer.plugins import by_name

GRANTS: tuple[type[TokenGrant], ...] = (ClientCredentials,)
GRANTS_BY_NAME = by_name(GRANTS, "GRANT_TYPE")

__all__ = ["GRANTS", "GRANTS_BY_NAME", "TokenGrant"]
