"""What an endpoint under a realm declares, and what it works with."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from authlib.oauth2.rfc6749 import TokenEndpoint

from issuer.answer import Answer
from issuer.oauth_server import IssuerServer
from issuer.realms import Addresses, Realm
from issuer.refusals import MISSING_TOKEN, ClaimedBy, UnknownRealm, invalid_request
from issuer.registry.view import RealmView, Registry
from issuer.request import Arrival, ClientRequest
from issuer.revocation_limit import RevocationLimit
from issuer.storage.engine import Database
from keys.policy import RotationPolicy

Metadata = Callable[[Addresses, Realm], Mapping[str, object]]
VARIABLE = re.compile(r"\{([a-z_]+)\}")
"""A variable in the suffix of an endpoint."""


@dataclass(frozen=True)
class Services:
    """What endpoints work with, wired once. `endpoints`: all there are, themselves among them."""

    registry: Registry
    database: Database
    policy: RotationPolicy
    server: IssuerServer
    revocations: RevocationLimit
    endpoints: tuple["Endpoint", ...]


View = Callable[[Arrival, Services], Answer]


def _nothing(_addresses: Addresses, _realm: Realm) -> Mapping[str, object]:
    return {}


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: its address under the issuer, its methods, its view and its members of the metadata.

    `suffix` may name variables, as in `/status/{list}`: whatever stands there, up to the next slash, is the view's to
    check. `private`: its answers, good or bad, are stored nowhere (RFC 6749 section 5.1). `at_origin`: it is also found
    between the origin and the path of the issuer (RFC 8414 section 3.1). `framed`: makes the class of Authlib's that
    answers it, under its own ENDPOINT_NAME. `waits`: it never answers well without the store, so that nothing of it is
    begun where nobody may wait.
    """

    name: str
    suffix: str
    methods: tuple[str, ...]
    view: View
    metadata: Metadata = _nothing
    private: bool = False
    at_origin: bool = False
    framed: Callable[[Services], TokenEndpoint] | None = None
    waits: bool = False


def presented_token(asked: ClientRequest) -> str:
    """The token that a client asks about (RFC 7009 section 2.1, RFC 7662 section 2.1). Raises invalid_request.

    No hint at its type matters: there is one type.
    """
    text = asked.request.one("token")
    if text is None:
        with ClaimedBy(asked.client.client_id):
            raise invalid_request("no_token", MISSING_TOKEN)
    return text


def known_realm(arrival: Arrival, services: Services) -> RealmView:
    """The realm that was asked, as last known, for what anybody may read. Raises UnknownRealm."""
    view = services.registry.realm(arrival.realm_path, for_signing=False)
    if view is None:
        raise UnknownRealm
    return view


def published(body: bytes, content_type: str, etag: str, services: Services) -> Answer:
    """A document that anybody may read and keep for JWKS_MAX_AGE."""
    headers = {
        "Cache-Control": f"public, max-age={services.policy.jwks_max_age}",
        "Access-Control-Allow-Origin": "*",
    }
    return Answer(200, body, content_type, headers, etag)
