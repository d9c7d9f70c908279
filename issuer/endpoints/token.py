"""The token endpoint (RFC 6749 section 3.2)."""

from collections.abc import Mapping

from issuer import client_auth, confirmations
from issuer.answer import Answer
from issuer.endpoints.endpoint import Endpoint, Services
from issuer.grants import GRANTS_BY_NAME
from issuer.realms import Addresses, Realm
from issuer.request import Arrival

_SUFFIX = "/access_token"


def _view(arrival: Arrival, services: Services) -> Answer:
    return services.server.token(arrival)


def _metadata(addresses: Addresses, realm: Realm) -> Mapping[str, object]:
    return {
        "token_endpoint": addresses.endpoint(_SUFFIX),
        **client_auth.metadata("token"),
        **confirmations.metadata(realm),
        "grant_types_supported": [name for name in GRANTS_BY_NAME if name in realm.grant_types],
        "scopes_supported": list(realm.scopes),
    }


ENDPOINT = Endpoint("token", _SUFFIX, ("POST",), _view, _metadata, private=True)
