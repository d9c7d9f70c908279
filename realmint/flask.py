"""Guarding Flask routes with a ResourceServer (RFC 6750), and the API's own metadata (RFC 9728)."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import flask

from realmint.bearer import TokenError, Unavailable, challenge, parse_authorization
from realmint.resource_server import AccessToken, ResourceServer

P = ParamSpec("P")
R = TypeVar("R")

METADATA_PATH = "/.well-known/oauth-protected-resource"


class Guard:
    """Lets requests with a good token through to the routes that are marked with require().

    guard = Guard(ResourceServer(issuer=..., audience=...))
    guard.init_app(app)

    @app.get("/orders")
    @guard.require("orders:read")
    def orders():
        return list_for(guard.token.client_id)
    """

    def __init__(self, api: ResourceServer) -> None:
        self._api = api

    def init_app(self, app: flask.Flask) -> None:
        """Answers refusals as RFC 6750 section 3 says, and serves the metadata of RFC 9728."""
        app.register_error_handler(TokenError, self._refuse)
        app.add_url_rule(METADATA_PATH, "realmint_metadata", self._metadata, methods=["GET"])

    def require(self, scope: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R | flask.Response]]:
        """The route needs a token that has every value of `scope` (space-separated); None: any good token."""

        def decorate(view: Callable[P, R]) -> Callable[P, R | flask.Response]:
            @wraps(view)
            def guarded(*args: P.args, **kwargs: P.kwargs) -> R | flask.Response:
                try:
                    token = parse_authorization(flask.request.headers.getlist("Authorization"))
                    if token is None:
                        return self._missing()
                    flask.g.realmint_token = self._api.validate(token, scope)
                except TokenError as refused:
                    return self._refuse(refused)
                answer: R = flask.current_app.ensure_sync(view)(*args, **kwargs)
                return answer

            return guarded

        return decorate

    @property
    def token(self) -> AccessToken:
        """The token of this request, inside a route marked with require()."""
        token: AccessToken = flask.g.realmint_token
        return token

    def _missing(self) -> flask.Response:
        response = _json(401, "unauthorized", "An access token is needed")
        response.headers["WWW-Authenticate"] = self._api.challenge_missing() + f" {self._pointer()}"
        return response

    def _refuse(self, refused: TokenError) -> flask.Response:
        response = _json(refused.status, refused.error, str(refused))
        if refused.challenge is not None:
            response.headers["WWW-Authenticate"] = f"{refused.challenge}, {self._pointer()}"
        if isinstance(refused, Unavailable):
            response.headers["Retry-After"] = str(refused.retry_after)
        return response

    def _pointer(self) -> str:
        # RFC 9728 section 5.1.
        return challenge(resource_metadata=flask.request.host_url.rstrip("/") + METADATA_PATH).removeprefix("Bearer ")

    def _metadata(self) -> Any:
        return flask.jsonify(
            resource=self._api.audience[0],
            authorization_servers=[self._api.issuer],
            bearer_methods_supported=["header"],
        )


def _json(status: int, error: str, description: str) -> flask.Response:
    response = flask.jsonify(error=error, error_description=description)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    return response
