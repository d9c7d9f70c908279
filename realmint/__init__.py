"""Realmint for resource servers: checks access tokens (RFC 9068) from the issuer's keys alone.

from realmint import ResourceServer, TokenError

api = ResourceServer(issuer="https://issuer.example/oauth2/realms/root", audience="https://orders.example")

try:
    token = api.validate(access_token, scope="orders:read")
except TokenError as refused:
    answer(refused.status, {"WWW-Authenticate": refused.challenge})
else:
    print(token.client_id, token.scopes, token.expires_at, token.realm)
"""

from realmint.bearer import InsufficientScope, InvalidRequest, InvalidToken, TokenError, Unavailable
from realmint.introspection import Introspection
from realmint.key_source import KeyPolicy
from realmint.resource_server import AccessToken, ResourceServer
from realmint.version import __version__

__all__ = [
    "AccessToken",
    "InsufficientScope",
    "Introspection",
    "InvalidRequest",
    "InvalidToken",
    "KeyPolicy",
    "ResourceServer",
    "TokenError",
    "Unavailable",
    "__version__",
]
