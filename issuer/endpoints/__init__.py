"""ENDPOINTS lists what lives under a realm; a new one is a file and a line here.

Routes in every address form, the method rule and the metadata document follow from the list.
"""

from collections.abc import Callable

import flask
from werkzeug.routing import BaseConverter, ValidationError

from issuer.endpoints import authorization, discovery, health, introspection, jwks, token
from issuer.endpoints.edge import WholePath, private_headers
from issuer.endpoints.endpoint import Endpoint, runtime
from issuer.plugins import by_name
from issuer.realms import RealmPathError, path_of_address

ENDPOINTS: tuple[Endpoint, ...] = (
    authorization.ENDPOINT,
    token.ENDPOINT,
    introspection.ENDPOINT,
    jwks.ENDPOINT,
    jwks.WELL_KNOWN,
    discovery.OAUTH,
    discovery.OPENID,
)
ENDPOINTS_BY_NAME = by_name(ENDPOINTS, "name")
_PRIVATE = frozenset(endpoint.name for endpoint in ENDPOINTS if endpoint.private)
_PRIVATE_SUFFIXES = tuple(endpoint.suffix for endpoint in ENDPOINTS if endpoint.private)


class RealmConverter(BaseConverter):
    """The part of an address that names a realm, in the full or the older form."""

    regex = "[A-Za-z0-9_./-]{1,1024}?"
    part_isolating = False

    def to_python(self, value: str) -> str:
        try:
            return path_of_address(value)
        except RealmPathError:
            raise ValidationError from None


def register(app: flask.Flask, base_path: str) -> None:
    """Routes every endpoint at its canonical and its alias addresses, under the base path."""
    app.url_map.converters["realm"] = RealmConverter
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    discovery.ENDPOINTS = ENDPOINTS
    for endpoint in ENDPOINTS:
        _add(app, f"{base_path}/oauth2{endpoint.suffix}", endpoint, {"realm_path": "/"})
        _add(app, f"{base_path}/oauth2/<realm:realm_path>{endpoint.suffix}", endpoint)
    # RFC 8414 section 3.1: between the origin and the path of the issuer, so outside the base path too.
    for endpoint in (discovery.OAUTH, discovery.OPENID):
        at_origin = f"{endpoint.suffix}{base_path}/oauth2"
        _add(app, at_origin, endpoint, {"realm_path": "/"})
        _add(app, f"{at_origin}/<realm:realm_path>", endpoint)
    for name, check in (("healthz", health.healthz), ("readyz", health.readyz)):
        app.add_url_rule(f"{base_path}/{name}", name, check, methods=["GET"], provide_automatic_options=False)
    app.after_request(_finish)
    app.wsgi_app = WholePath(app.wsgi_app)  # type: ignore[method-assign]


def _finish(response: flask.Response) -> flask.Response:
    # A refused method has no endpoint, so the address says whose answer it is.
    private = flask.request.endpoint in _PRIVATE or flask.request.path.endswith(_PRIVATE_SUFFIXES)
    return private_headers(response, private=private)


def _booted(endpoint: Endpoint) -> Callable[[str], flask.Response]:
    """The view; the first request under another server than `flask run` finds or makes the database."""

    def view(realm_path: str) -> flask.Response:
        runtime().boot()
        return endpoint.view(realm_path)

    return view


def _add(app: flask.Flask, rule: str, endpoint: Endpoint, defaults: dict[str, str] | None = None) -> None:
    app.add_url_rule(
        rule,
        endpoint.name,
        app.view_functions.get(endpoint.name) or _booted(endpoint),
        methods=list(endpoint.methods),
        defaults=defaults,
        provide_automatic_options=False,
    )
