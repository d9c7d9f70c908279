"""The token endpoint (RFC 6749 section 3.2)."""

from collections.abc import Mapping
from typing import Any

import flask

from issuer.client_auth import METHODS_BY_NAME
from issuer.endpoints.endpoint import Endpoint, runtime
from issuer.grants import GRANTS_BY_NAME
from issuer.realms import Addresses, Realm

_SUFFIX = "/access_token"


def _view(realm_path: str) -> flask.Response:
    return runtime().server.create_token_response(realm_path)  # type: ignore[no-any-return]


def _metadata(addresses: Addresses, realm: Realm) -> Mapping[str, Any]:
    return {
        "token_endpoint": addresses.endpoint(_SUFFIX),
        "token_endpoint_auth_methods_supported": list(METHODS_BY_NAME),
        "grant_types_supported": [name for name in GRANTS_BY_NAME if name in realm.grant_types],
        "scopes_supported": list(realm.scopes),
    }


ENDPOINT = Endpoint("token", _SUFFIX, ("POST",), _view, _metadata, private=True)
