"""The realm's public keys (RFC 7517 section 5): rendered once per key set, served from memory.

At AM's address, which the metadata names, and where some libraries look without asking.
"""

from collections.abc import Mapping

from issuer.answer import Answer
from issuer.endpoints.endpoint import Endpoint, Services, known_realm, published
from issuer.realms import Addresses, Realm
from issuer.request import Arrival
from realmint.protocol.names import JWK_SET_MEDIA_TYPE

_SUFFIX = "/connect/jwk_uri"


def _view(arrival: Arrival, services: Services) -> Answer:
    keys = known_realm(arrival, services).keys
    return published(keys.document, JWK_SET_MEDIA_TYPE, keys.etag, services)


def _metadata(addresses: Addresses, _realm: Realm) -> Mapping[str, object]:
    return {"jwks_uri": addresses.endpoint(_SUFFIX)}


ENDPOINT = Endpoint("jwks", _SUFFIX, ("GET",), _view, _metadata)
WELL_KNOWN = Endpoint("jwks_well_known", "/.well-known/jwks.json", ("GET",), _view)
