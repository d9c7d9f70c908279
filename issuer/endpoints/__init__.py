"""ENDPOINTS lists what lives under a realm; a new one is a file and a line here.

Each is a function from what arrived to an Answer; the doors, issuer/doors, put them at their addresses.

endpoint: what one declares. authorization, token, introspection, revocation, jwks, status, discovery: those there are.
health: what is asked of the process, not of a realm. May import all of issuer but the doors and the commands, and no
Flask.
"""

from collections.abc import Callable

from issuer.counts import Counts
from issuer.endpoints import authorization, discovery, introspection, jwks, revocation, status, token
from issuer.endpoints.endpoint import Endpoint, Services
from issuer.oauth_server import IssuerServer
from issuer.plugins import by_name
from issuer.registry.view import Registry
from issuer.revocation_limit import RevocationLimit
from issuer.storage.engine import Database
from keys.policy import RotationPolicy
from realmint.protocol import Clock

ENDPOINTS: tuple[Endpoint, ...] = (
    authorization.ENDPOINT,
    token.ENDPOINT,
    introspection.ENDPOINT,
    revocation.ENDPOINT,
    jwks.ENDPOINT,
    jwks.WELL_KNOWN,
    status.LIST,
    status.AGGREGATION,
    discovery.OAUTH,
    discovery.OPENID,
)
by_name(ENDPOINTS, "name")  # refuses a repeated one


def services(
    registry: Registry, database: Database, policy: RotationPolicy, clock: Clock, tokens: Counts,
    revocations: RevocationLimit, nonce_secret: Callable[[], bytes],
) -> Services:  # fmt: skip
    """What the endpoints work with, for every door of this process. `tokens`: where each token is counted.

    nonce_secret: what all nodes make nonces from.
    """
    server = IssuerServer(registry, clock, tokens, nonce_secret)
    made = Services(registry, database, policy, server, revocations, ENDPOINTS)
    for endpoint in ENDPOINTS:
        if endpoint.framed is not None:
            made.server.register_endpoint(endpoint.framed(made))
    return made
