"""The authorization endpoint (RFC 6749 section 3.1), which there is none of: it is named, and refuses.

Several client libraries refuse metadata without its address, though all they want is a token for themselves. Nobody is
ever redirected: that would be to wherever the request says.
"""

from collections.abc import Mapping
from typing import NoReturn

from authlib.oauth2 import OAuth2Error

from issuer.endpoints.endpoint import Endpoint, Services, known_realm
from issuer.realms import Addresses, Realm
from issuer.refusals import NO_AUTHORIZATION_GRANT, because
from issuer.request import Arrival

_SUFFIX = "/authorize"


def _view(arrival: Arrival, services: Services) -> NoReturn:
    known_realm(arrival, services)
    refusal = OAuth2Error(NO_AUTHORIZATION_GRANT, error="unsupported_response_type")
    raise because(refusal, "no_authorization_endpoint")


def _metadata(addresses: Addresses, _realm: Realm) -> Mapping[str, object]:
    return {
        "authorization_endpoint": addresses.endpoint(_SUFFIX),
        # RFC 8414 section 2 requires the member, and some libraries that it is not empty (design decision 12).
        "response_types_supported": ["none"],
    }


ENDPOINT = Endpoint("authorization", _SUFFIX, ("GET", "POST"), _view, _metadata)
