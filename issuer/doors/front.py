"""The short way to an endpoint: a WSGI application in front of Flask's, which answers what it is sure of.

Everything else it hands on. The answers are the same to the byte: both doors read and write through edge.py, and a test
asks both. Where an address leads is for Flask's routes to say, once for each that was answered.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

import flask
from flask import signals
from werkzeug.exceptions import HTTPException

from issuer.answer import JSON, Answer
from issuer.doors.edge import NOSNIFF, NOT_STORED, WSGI, arrival, encoded, response, whole_path
from issuer.doors.translation import Translation
from issuer.endpoints.endpoint import Endpoint, Services
from issuer.runtime import Runtime
from issuer.waiting import about_to_wait

REMEMBERED = 20_000
"""Addresses whose way is known, each of a realm or a list that there is: a few for each realm in use."""
_SIGNALS = (
    signals.request_started, signals.request_finished, signals.request_tearing_down, signals.got_request_exception,
    signals.appcontext_pushed, signals.appcontext_popped, signals.appcontext_tearing_down,
)  # fmt: skip

_OK = 200
_JSON = ("Content-Type", JSON)

StartResponse = Callable[..., Any]


class _Way(NamedTuple):
    """Where an address leads."""

    endpoint: Endpoint
    realm_path: str
    variables: dict[str, str]


class Front:
    """Stands before `behind`, which is `app` as Flask serves it.

    An application that somebody gave a hook, a handler of errors, another view or a listener to Flask's signals, before
    its first request, is served by Flask alone: none of these is passed by. After that Flask takes no more of them.
    """

    def __init__(self, app: flask.Flask, runtime: Runtime, services: Services, most: int = REMEMBERED) -> None:
        """most: of how many addresses the way is known."""
        self._most = most
        self.behind: WSGI = app.wsgi_app
        self._app = app
        self._views = dict(app.view_functions)
        self._services = services
        self._boot = runtime.boot
        self._proxies = runtime.proxies
        self._translation = Translation(services.endpoints, self._proxies, runtime.happened.refusals)
        self._endpoints = {endpoint.name: endpoint for endpoint in services.endpoints}
        # Any name does: WholePath has Flask see one host, whatever is asked for.
        self._routes = app.url_map.bind("issuer.invalid")
        self._known: dict[tuple[str, str], _Way] = {}
        self._open = False
        self._asked = False

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], whole_path(environ)
        way = self._known.get((method, path)) or self._way(method, path)
        # An upgrade is for Werkzeug to refuse.
        if way is None or encoded(environ) or "HTTP_UPGRADE" in environ:
            return self._hand_on(environ, start_response)
        endpoint, realm_path, variables = way
        if endpoint.waits:
            about_to_wait()
        private = endpoint.private
        conditional: WSGI | None = None
        try:
            self._boot()
            answer = endpoint.view(arrival(environ, method, realm_path, variables, self._proxies), self._services)
            if answer.etag is not None:
                conditional = response(answer, environ, private=private)
            self._known[method, path] = way
        except Exception as error:  # noqa: BLE001 - as Flask's handler of errors, which answers each
            answer, private = self._translation(error, environ, f"/{path.lstrip('/')}", endpoint.name, realm_path)
        if conditional is not None:
            return conditional(environ, start_response)
        if private and answer.status == _OK and not answer.headers and answer.content_type == JSON:
            start_response("200 OK", [_JSON, ("Content-Length", str(len(answer.body))), NOSNIFF, *NOT_STORED])
        else:
            start_response(_status(answer.status), _headers(answer, private=private))
        return [] if method == "HEAD" else [answer.body]

    @property
    def remembered(self) -> int:
        """Of how many addresses the way is known now."""
        return len(self._known)

    def _way(self, method: str, path: str) -> _Way | None:
        """Where Flask would go; None where it would not reach an endpoint, or would look at the path otherwise.

        What was answered is remembered, and nothing else, so that paths which are made up drive none out.
        """
        # Slashes in front lead to the same place, however many there are, and each number would be an address.
        if not (self._open and path.isascii() and method == method.upper()) or path.startswith("//"):
            return None
        try:
            name, found = self._routes.match(path.lstrip("/"), method)
        except HTTPException:
            return None
        if name not in self._endpoints:
            return None
        if len(self._known) >= self._most:
            self._known = {}
        variables = {variable: value for variable, value in found.items() if variable != "realm_path"}
        return _Way(self._endpoints[name], found["realm_path"], variables)

    def _hand_on(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """The first request too, whatever it is: with it Flask is set up, and what it was given is known."""
        about_to_wait()
        answered = self.behind(environ, start_response)
        if not self._asked:
            self._open = self._as_made()
            self._asked = True
        return answered

    def _as_made(self) -> bool:
        app = self._app
        hooks = (
            app.before_request_funcs, app.after_request_funcs, app.teardown_request_funcs,
            app.teardown_appcontext_funcs, app.url_value_preprocessors, *(signal.receivers for signal in _SIGNALS),
        )  # fmt: skip
        handlers = [
            handler for by_code in app.error_handler_spec.values() for each in by_code.values() for handler in each
        ]
        return not any(hooks) and handlers == [Exception] and app.view_functions == self._views


def stand_in_front(app: flask.Flask, runtime: Runtime, services: Services) -> None:
    """Puts a Front before everything that the application has so far."""
    app.wsgi_app = Front(app, runtime, services)  # type: ignore[method-assign]


@cache
def _status(code: int) -> str:
    return flask.Response(status=code).status


def _headers(answer: Answer, *, private: bool) -> list[tuple[str, str]]:
    """As Werkzeug would write them, in its order: what is set again keeps its place."""
    length = str(len(answer.body))
    headers = {"Content-Type": answer.content_type, "Content-Length": length, **answer.headers}
    headers.update((NOSNIFF, *NOT_STORED) if private else (NOSNIFF,))
    return list(headers.items())
