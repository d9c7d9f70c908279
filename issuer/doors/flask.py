"""The endpoints as a Flask application: routes in every address form, conditional answers, one handler of errors."""

from collections.abc import Callable
from functools import partial

import flask
from werkzeug.routing import BaseConverter, ValidationError

from issuer.answer import Answer
from issuer.doors.edge import WholePath, arrival, response
from issuer.doors.translation import Translation
from issuer.endpoints import health
from issuer.endpoints.endpoint import VARIABLE, Endpoint, Services
from issuer.proxies import Proxies
from issuer.realms import RealmPathError, path_of_address
from issuer.request import MAX_BODY
from issuer.runtime import Runtime


class RealmConverter(BaseConverter):
    """The part of an address that names a realm, in the full or the older form."""

    regex = "[A-Za-z0-9_./-]{1,1024}?"
    part_isolating = False

    def to_python(self, value: str) -> str:
        try:
            return path_of_address(value)
        except RealmPathError:
            raise ValidationError from None


def open_door(app: flask.Flask, runtime: Runtime, services: Services) -> None:
    """Puts every endpoint at its canonical and its alias addresses, under the base path, and the translation of errors
    in front of everything the application answers."""
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.url_map.converters["realm"] = RealmConverter
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    base_path = runtime.settings.base_path
    for endpoint in services.endpoints:
        view = _view(endpoint, services, runtime.boot, runtime.proxies)
        rule = VARIABLE.sub(r"<\1>", endpoint.suffix)
        below = [(f"{base_path}/oauth2", rule)]
        if endpoint.at_origin:
            below.append((f"{rule}{base_path}/oauth2", ""))
        for before, after in below:
            _add(app, f"{before}{after}", endpoint, view, {"realm_path": "/"})
            _add(app, f"{before}/<realm:realm_path>{after}", endpoint, view)
    for name, check in (("healthz", health.healthz), ("readyz", partial(health.readyz, runtime))):
        app.add_url_rule(
            f"{base_path}/{name}", name, partial(_health, check), methods=["GET"], provide_automatic_options=False
        )
    translation = Translation(services.endpoints, runtime.proxies, runtime.happened.refusals)
    app.register_error_handler(Exception, partial(_translate, translation))
    app.wsgi_app = WholePath(app.wsgi_app)  # type: ignore[method-assign]


def _add(
    app: flask.Flask,
    rule: str,
    endpoint: Endpoint,
    view: Callable[..., flask.Response],
    defaults: dict[str, str] | None = None,
) -> None:
    app.add_url_rule(
        rule, endpoint.name, view, methods=list(endpoint.methods), defaults=defaults, provide_automatic_options=False
    )


def _view(
    endpoint: Endpoint, services: Services, boot: Callable[[], None], proxies: Proxies
) -> Callable[..., flask.Response]:
    """The first request under another server than `flask run` finds or makes the database: `boot` does."""
    answer, private = endpoint.view, endpoint.private

    def view(realm_path: str, **variables: str) -> flask.Response:
        boot()
        # The request itself: through the proxy, each look-up costs a microsecond.
        request: flask.Request = flask.request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
        answered = answer(arrival(request.environ, request.method, realm_path, variables, proxies), services)
        return response(answered, request.environ, private=private)

    return view


def _health(check: Callable[[], Answer]) -> flask.Response:
    return response(check(), flask.request.environ, private=False)


def _translate(translation: Translation, error: Exception) -> flask.Response:
    """Whatever was raised, by the router too."""
    request = flask.request
    realm_path = (request.view_args or {}).get("realm_path")
    answered, private = translation(error, request.environ, request.path, request.endpoint, realm_path)
    return response(answered, request.environ, private=private)
