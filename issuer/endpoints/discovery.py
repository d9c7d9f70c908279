"""Authorization server metadata (RFC 8414), derived from what the endpoints declare."""

from typing import TYPE_CHECKING, Any

import flask
from werkzeug.exceptions import NotFound

from issuer.endpoints.endpoint import Endpoint, published, runtime

if TYPE_CHECKING:
    from issuer.registry import RealmView

ENDPOINTS: tuple[Endpoint, ...] = ()
"""Filled by issuer.endpoints, which lists this module's own among them."""


def _view(realm_path: str) -> flask.Response:
    return _respond(_document(_realm(realm_path)))


def _openid_view(realm_path: str) -> flask.Response:
    view = _realm(realm_path)
    # Spring's discovery fails without these two, though there are no ID tokens (design decision 12).
    openid = {
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": list(view.realm.signing_algs),
    }
    return _respond(_document(view) | openid)


def _realm(realm_path: str) -> "RealmView":
    view = runtime().registry.realm(realm_path, for_signing=False)
    if view is None:
        raise NotFound
    return view  # type: ignore[no-any-return]


def _document(view: "RealmView") -> dict[str, Any]:
    members: dict[str, Any] = {"issuer": view.addresses.issuer}
    for endpoint in ENDPOINTS:
        members |= endpoint.metadata(view.addresses, view.realm)
    # RFC 8414 section 3.2: a member without a value is left out.
    return {name: value for name, value in members.items() if value}


def _respond(document: dict[str, Any]) -> flask.Response:
    response = flask.jsonify(document)
    response.add_etag()
    return published(response)


OAUTH = Endpoint("metadata", "/.well-known/oauth-authorization-server", ("GET",), _view)
OPENID = Endpoint("openid_metadata", "/.well-known/openid-configuration", ("GET",), _openid_view)
