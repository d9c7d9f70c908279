"""Guarding Flask routes with a ResourceServer (RFC 6750), and the API's own metadata (RFC 9728)."""

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import flask

from realmint.bearer import TokenError, Unavailable, challenge, parse_authorization
from realmint.protected_resource import METADATA_PATH, metadata_url, resource_of
from realmint.protocol.names import ScopeError, parse_scope
from realmint.resource_server import AccessToken, ResourceServer
from realmint.routes import reaches

P = ParamSpec("P")
R = TypeVar("R")


class Guard:
    """Lets requests with a good token through to the routes that are marked with require().

    guard = Guard(ResourceServer(issuer=..., audience=...))
    guard.init_app(app)

    @app.get("/orders")
    @guard.require("orders:read")
    def orders():
        return list_for(guard.token.client_id)

    resource: the API's own URL (RFC 9728 section 2), where no audience is one. Raises ValueError for what is no
    absolute http or https URL without a fragment.
    """

    def __init__(self, api: ResourceServer, *, resource: str | None = None) -> None:
        self._api = api
        self._resource = resource_of(api.audience, resource)
        self._guarded: list[Callable[..., Any]] = []
        self._scopes: set[str] = set()
        self._apps: list[flask.Flask] = []
        self._open: list[str] | None = None

    def init_app(self, app: flask.Flask) -> None:
        """Answers refusals as RFC 6750 section 3 says, and serves the metadata of RFC 9728.

        From the first request on, a function that is marked with require() and is the view of no route raises
        RuntimeError for every request: its route would be open.
        """
        self._apps.append(app)
        app.before_request(self._check_routes)
        app.register_error_handler(TokenError, self._refuse)
        app.add_url_rule(METADATA_PATH, "realmint_metadata", self._metadata, methods=["GET"])
        if self._resource is not None and (path := self._resource.path):
            app.add_url_rule(METADATA_PATH + path, "realmint_metadata", self._metadata, methods=["GET"])

    def require(self, scope: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R | flask.Response]]:
        """The route needs a token that has every value of `scope` (space-separated); None: any good token.

        Goes directly above the function, below the decorator that makes it a route. Raises TypeError when it is not
        called, and ValueError for what is no scope.
        """
        if callable(scope):
            raise TypeError("@guard.require is called: @guard.require() or @guard.require('orders:read')")
        try:
            values = parse_scope(scope) if scope is not None else ()
        except ScopeError:
            raise ValueError(f"{scope!r} is not a list of scope values separated by single spaces") from None
        self._scopes.update(values)

        def decorate(view: Callable[P, R]) -> Callable[P, R | flask.Response]:
            @wraps(view)
            def guarded(*args: P.args, **kwargs: P.kwargs) -> R | flask.Response:
                try:
                    token = parse_authorization(flask.request.headers.getlist("Authorization"))
                    if token is None:
                        return self._missing(scope)
                    flask.g.realmint_token = self._api.validate(token, scope)
                except TokenError as refused:
                    return self._refuse(refused)
                answer: R = flask.current_app.ensure_sync(view)(*args, **kwargs)
                return answer

            self._guarded.append(guarded)
            self._open = None
            return guarded

        return decorate

    @property
    def token(self) -> AccessToken:
        """The token of this request, inside a route marked with require(). Raises RuntimeError elsewhere."""
        token: AccessToken | None = flask.g.get("realmint_token") if flask.has_app_context() else None
        if token is None:
            raise RuntimeError("guard.token is there only inside a route that is marked with @guard.require(...)")
        return token

    def _missing(self, scope: str | None) -> flask.Response:
        response = _json(401, "unauthorized", "An access token is needed")
        # No error code (RFC 6750 section 3.1); which scope to ask the issuer for, where the route needs one.
        response.headers["WWW-Authenticate"] = challenge(**({"scope": scope} if scope else {}), **self._pointer())
        return response

    def _refuse(self, refused: TokenError) -> flask.Response:
        response = _json(refused.status, refused.error, str(refused))
        if refused.challenge is not None:
            pointer = challenge(**self._pointer()).removeprefix("Bearer").strip()
            response.headers["WWW-Authenticate"] = ", ".join(filter(None, (refused.challenge, pointer)))
        if isinstance(refused, Unavailable):
            response.headers["Retry-After"] = str(refused.retry_after)
        return response

    def _pointer(self) -> dict[str, str]:
        # RFC 9728 section 5.1. It follows from the configuration: a Host header is whatever a caller likes.
        return {"resource_metadata": metadata_url(self._resource)} if self._resource is not None else {}

    def _metadata(self) -> Any:
        document: dict[str, Any] = {
            "resource": self._resource.text if self._resource is not None else self._api.audience[0],
            "authorization_servers": [self._api.issuer],
            "bearer_methods_supported": ["header"],
        }
        if self._scopes:
            document["scopes_supported"] = sorted(self._scopes)
        return flask.jsonify(document)

    def _check_routes(self) -> None:
        if self._open is None:
            entries = [entry for app in self._apps for entry in _entries(app)]
            self._open = [_name(guarded) for guarded in self._guarded if not self._stands_before(guarded, entries)]
        if self._open:
            raise RuntimeError(
                f"guarded, and the view of no route, which may therefore be open: {', '.join(self._open)}. "
                "@guard.require(...) goes below the decorator that makes the route"
            )

    def _stands_before(self, guarded: Callable[..., Any], entries: Sequence[Callable[..., Any]]) -> bool:
        if any(reaches(entry, guarded, through_closures=False) for entry in entries):
            return True
        # A view that only calls the guarded function looks as one that wraps it without functools.wraps does, and the
        # route that is then open is the one that the guarded function leads to.
        leads_to = (entry for entry in entries if reaches(guarded, entry))
        return any(reaches(entry, guarded) for entry in entries) and all(map(self._is_guarded, leads_to))

    def _is_guarded(self, entry: Callable[..., Any]) -> bool:
        return any(reaches(entry, guarded, through_closures=False) for guarded in self._guarded)


def _entries(app: flask.Flask) -> Iterator[Callable[..., Any]]:
    """Every function that a request may enter an application by."""
    yield from app.view_functions.values()
    for functions in app.before_request_funcs.values():
        yield from functions


def _name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _json(status: int, error: str, description: str) -> flask.Response:
    response = flask.jsonify(error=error, error_description=description)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    return response
