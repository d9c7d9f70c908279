"""Authorization server metadata (RFC 8414), derived from what the endpoints declare."""

import hashlib
from collections.abc import Mapping

from issuer.answer import JSON, Answer
from issuer.encoding import answered
from issuer.endpoints.endpoint import Endpoint, Services, known_realm, published
from issuer.registry.view import RealmView
from issuer.request import Arrival

MTLS_ENDPOINTS = ("token_endpoint", "introspection_endpoint", "revocation_endpoint")
"""Where clients authenticate, and so may show a certificate."""


def _view(arrival: Arrival, services: Services) -> Answer:
    return _published(_document(known_realm(arrival, services), services), services)


def _openid_view(arrival: Arrival, services: Services) -> Answer:
    view = known_realm(arrival, services)
    # Spring's discovery fails without these two, though there are no ID tokens (design decision 12).
    openid = {
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(view.realm.signing_algs),
    }
    return _published(_document(view, services) | openid, services)


def _document(view: RealmView, services: Services) -> dict[str, object]:
    members: dict[str, object] = {"issuer": view.addresses.issuer}
    for endpoint in services.endpoints:
        members |= endpoint.metadata(view.addresses, view.realm)
    aliases = {name: view.addresses.mtls_endpoint(str(members[name])) for name in MTLS_ENDPOINTS if name in members}
    if all(aliases.values()):
        members["mtls_endpoint_aliases"] = aliases  # RFC 8705 section 5
    # RFC 8414 section 3.2: a member without a value is left out.
    return {name: value for name, value in members.items() if value}


def _published(members: Mapping[str, object], services: Services) -> Answer:
    body = answered(members)
    return published(body, JSON, hashlib.sha1(body, usedforsecurity=False).hexdigest(), services)


OAUTH = Endpoint("metadata", "/.well-known/oauth-authorization-server", ("GET",), _view, at_origin=True)
OPENID = Endpoint("openid_metadata", "/.well-known/openid-configuration", ("GET",), _openid_view, at_origin=True)
