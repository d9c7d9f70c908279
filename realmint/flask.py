"""Guarding Flask routes with a ResourceServer (RFC 6750), and the API's own metadata (RFC 9728)."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import flask

from realmint.access_token import AccessToken
from realmint.answers import Answer
from realmint.arrivals import OfEnviron, target_of
from realmint.bearer import TokenError
from realmint.gate import ANY, Gate, Held, Need, Url, only_there, take_paths
from realmint.open_paths import OpenPaths
from realmint.open_routes import OpenRoutes
from realmint.resource_server import ResourceServer
from realmint.routes import Marks
from realmint.wsgi import path_of

P = ParamSpec("P")
R = TypeVar("R")

_GUARDED = Marks()
"""What any guard stands before: a route that another guard than one's own stands before is not open."""

_REQUIREMENTS = Marks()
"""What require() of any guard returned, to be found in a class's list of decorators."""


class Guard:
    """Lets requests with a good token through to the routes that are marked with require().

    guard = Guard(ResourceServer(issuer=..., audience=...))
    guard.init_app(app)

    @app.get("/orders")
    @guard.require("orders:read")
    def orders():
        return list_for(guard.token.client_id)

    resource: the API's own URL (RFC 9728 section 2), where no audience is one. url: where clients reach it, for their
    proofs (RFC 9449), where that is not the origin of that URL: what stands before the path of a request, or a function
    of the path as it was sent. Raises ValueError for what is no absolute http or https URL without query and fragment.
    """

    def __init__(self, api: ResourceServer, *, resource: str | None = None, url: Url | None = None) -> None:
        self._gate = Gate(api, resource, url)
        self._guarded: list[Callable[..., Any]] = []
        self._apps: list[flask.Flask] = []
        self._checked: dict[flask.Flask, tuple[int, int]] = {}

    def init_app(self, app: flask.Flask) -> None:
        """Answers refusals as RFC 6750 section 3 says, and serves the metadata of RFC 9728.

        From the first request on, a function that is marked with require() and is the view of no route, or of another
        route or an error handler without the mark, or a method or list of decorators that a subclass overrides without
        it, raises RuntimeError for every request: that route would be open. Nothing is checked in an application that
        is not initialized, and nothing is seen of a view that has an unmarked function called by its name.

        A blueprint that no application of this guard registers looks as one that was forgotten: its functions are
        refused, too. What another program registers gets a Guard of its own, or is imported there only.

        An application may have several guards. The first one answers a TokenError that a view raises itself; and its
        metadata answers at the root path, unless its resource has a path and another guard's has none. A second call
        for the same application does nothing.
        """
        if app in self._apps:
            return
        self._apps.append(app)
        app.before_request(partial(self._check_routes, app))
        documents: dict[str, Gate] = app.extensions.setdefault("realmint.documents", {})
        if not documents:
            app.register_error_handler(TokenError, lambda refused: _carry(self._gate.refusal(refused)))
        for path in take_paths(documents, self._gate):
            endpoint = f"realmint_metadata_{list(documents).index(path)}"
            app.add_url_rule(path, endpoint, partial(_document, documents, path), methods=["GET"])

    def protect(self, app: flask.Flask, *, open_paths: Iterable[str] = ()) -> None:
        """Every request needs a good token, to whatever path and by whatever method; includes init_app().

        Nothing of the application runs for a request that is refused, but what is called after requests. A refusal is
        the same for paths that are there and paths that are not, and so names no scope; a scope is what require() asks
        for. open_paths need no token:
        `/healthz` exactly, `/static/*` what is below (see OpenPaths), compared with PATH_INFO. GET and HEAD of the
        API's metadata (RFC 9728) are open.
        """
        self.init_app(app)
        check = partial(self._protect, app, OpenPaths(open_paths))
        # What looks at the values in an address comes before what is called before a request, and may say that there
        # is no such thing.
        app.url_value_preprocessors.setdefault(None, []).insert(0, check)

    def require(
        self, scope: str | None = None, *, live: bool = False
    ) -> Callable[[Callable[P, R]], Callable[P, R | flask.Response]]:
        """The route needs a token that has every value of `scope` (space-separated); None: any good token.

        live: the issuer is asked about it as well. Goes directly above the function, below the decorator that makes it
        a route. Within a request, as from the `method_decorators` of Flask-RESTful, it guards the call that follows: no
        route is looked for then, and the metadata does not learn the scope. Raises TypeError when it is not called, and
        ValueError for what is no scope.
        """
        need = self._gate.need(scope, live=live, learn=not flask.has_request_context())

        def decorate(view: Callable[P, R]) -> Callable[P, R | flask.Response]:
            @wraps(view)
            def guarded(*args: P.args, **kwargs: P.kwargs) -> R | flask.Response:
                try:
                    self._admit(need)
                except TokenError as refused:
                    return _carry(self._gate.refusal(refused))
                answer: R = flask.current_app.ensure_sync(view)(*args, **kwargs)
                return answer

            if not flask.has_request_context():
                self._guarded.append(guarded)
            _GUARDED.add(guarded)
            return guarded

        _REQUIREMENTS.add(decorate)
        return decorate

    @property
    def token(self) -> AccessToken:
        """The token of this request, inside a route marked with require(). Raises RuntimeError elsewhere."""
        return only_there(_held().get(self._gate) if flask.has_request_context() else None)

    def _admit(self, need: Need) -> None:
        held = _held()
        held[self._gate] = self._gate.admit(OfEnviron(flask.request.environ), need, held.get(self._gate))

    def _protect(self, app: flask.Flask, paths: OpenPaths, *_address: object) -> None:
        self._check_routes(app)
        environ = flask.request.environ
        path = path_of(environ)
        document = path in app.extensions["realmint.documents"] and flask.request.method in {"GET", "HEAD"}
        if document or paths.is_open(path, target_of(environ)):
            return
        try:
            self._admit(ANY)
        except TokenError as refused:
            flask.abort(_carry(self._gate.refusal(refused)))

    def _check_routes(self, app: flask.Flask) -> None:
        # Another thread may decorate meanwhile: what it adds is looked at when the next request comes.
        guarded, apps = list(self._guarded), list(self._apps)
        state = len(guarded), len(apps)
        if self._checked.get(app) == state:
            return
        entries = (entry for app in apps for entry in _entries(app))
        if bare := OpenRoutes(_GUARDED.all(), _REQUIREMENTS.all(), entries).names(guarded):
            raise RuntimeError(
                "guarded, and the view of no route, or of one that the guard does not stand before, which may be open: "
                f"{', '.join(bare)}. @guard.require(...) goes below the decorator that makes the route, on every route "
                "of the function, and on a method, or into a list of decorators, that overrides a guarded one. A "
                "blueprint that this application does not register gets a Guard of its own, or is not imported here"
            )
        self._checked[app] = state


def _entries(app: flask.Flask) -> Iterator[tuple[Callable[..., Any], list[Callable[..., Any]]]]:
    """What a request may enter an application by, and what is called before that."""
    for functions in list(app.before_request_funcs.values()):
        yield from ((function, []) for function in list(functions))
    for endpoint, function in list(app.view_functions.items()):
        yield function, _before(app, endpoint.rpartition(".")[0])
    for blueprint, by_code in list(app.error_handler_spec.items()):
        for handlers in list(by_code.values()):
            yield from ((handler, _before(app, blueprint)) for handler in list(handlers.values()))


def _before(app: flask.Flask, blueprint: str | None) -> list[Callable[..., Any]]:
    before = list(app.before_request_funcs.get(None, ()))
    while blueprint:  # a nested blueprint is named after those around it
        before += app.before_request_funcs.get(blueprint, ())
        blueprint = blueprint.rpartition(".")[0]
    return before


def _held() -> dict[Gate, Held]:
    # Kept with the request object, which goes along to threads and streams. flask.g belongs to the application's
    # context, which requests inside a request share, and so does the environ where it is passed on.
    held: dict[Gate, Held] = vars(flask.request).setdefault("realmint_held", {})
    return held


def _document(documents: dict[str, Gate], path: str) -> flask.Response:
    return _carry(documents[path].metadata())


def _carry(answer: Answer) -> flask.Response:
    return flask.Response(answer.body, answer.status, headers=list(answer.headers))
