"""The realm's public keys (RFC 7517 section 5): rendered once per key set, served from memory.

At AM's address, which the metadata names, and where some libraries look without asking.
"""

from collections.abc import Mapping
from typing import Any

import flask
from werkzeug.exceptions import NotFound

from issuer.endpoints.endpoint import Endpoint, published, runtime
from issuer.realms import Addresses, Realm
from realmint.protocol.names import JWK_SET_MEDIA_TYPE

_SUFFIX = "/connect/jwk_uri"


def _view(realm_path: str) -> flask.Response:
    view = runtime().registry.realm(realm_path, for_signing=False)
    if view is None:
        raise NotFound
    response = flask.Response(view.keys.document, content_type=JWK_SET_MEDIA_TYPE)
    response.set_etag(view.keys.etag)
    return published(response)


def _metadata(addresses: Addresses, _realm: Realm) -> Mapping[str, Any]:
    return {"jwks_uri": addresses.endpoint(_SUFFIX)}


ENDPOINT = Endpoint("jwks", _SUFFIX, ("GET",), _view, _metadata)
WELL_KNOWN = Endpoint("jwks_well_known", "/.well-known/jwks.json", ("GET",), _view)
