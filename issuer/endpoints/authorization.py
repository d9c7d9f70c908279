"""The authorization endpoint (RFC 6749 section 3.1), which there is none of: it is named, and refuses.

Several client libraries refuse metadata without its address, though all they want is a token for themselves. Nobody is
ever redirected: that would be to wherever the request says.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

import flask
from authlib.oauth2 import OAuth2Error
from werkzeug.exceptions import NotFound

from issuer.endpoints.endpoint import Endpoint, runtime
from issuer.realms import Addresses, Realm
from issuer.refusals import NO_AUTHORIZATION_GRANT, because

_SUFFIX = "/authorize"


def _view(realm_path: str) -> NoReturn:
    if runtime().registry.realm(realm_path, for_signing=False) is None:
        raise NotFound
    flask.g.realm_path = realm_path
    refusal = OAuth2Error(NO_AUTHORIZATION_GRANT, error="unsupported_response_type")
    raise because(refusal, "no_authorization_endpoint")


def _metadata(addresses: Addresses, _realm: Realm) -> Mapping[str, Any]:
    return {
        "authorization_endpoint": addresses.endpoint(_SUFFIX),
        # RFC 8414 section 2 requires the member, and some libraries that it is not empty (design decision 12).
        "response_types_supported": ["none"],
    }


ENDPOINT = Endpoint("authorization", _SUFFIX, ("GET", "POST"), _view, _metadata)
