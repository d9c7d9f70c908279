"""Guarding FastAPI routes with a ResourceServer (RFC 6750), and saying so in its OpenAPI; the metadata of RFC 9728."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request, Response, Security, WebSocket
from fastapi.openapi.models import HTTPBearer
from fastapi.requests import HTTPConnection
from fastapi.security.base import SecurityBase

from realmint.access_token import AccessToken
from realmint.answers import Answer
from realmint.arrivals import OfScope
from realmint.asgi import Protected, carry, held_in, with_held
from realmint.bearer import TokenError
from realmint.gate import Gate, Url, take_paths
from realmint.open_paths import OpenPaths
from realmint.resource_server import ResourceServer

Requirement = Callable[..., Awaitable[AccessToken]]


class Guard:
    """Lets requests with a good token through to the routes that depend on it, `def` and `async def`, websockets too.

    guard = Guard(ResourceServer(issuer=..., audience=...))
    guard.init_app(app)

    @app.get("/orders")
    async def orders(token: Annotated[AccessToken, Depends(guard.require("orders:read"))]):
        return list_for(token.client_id)

    resource: the API's own URL (RFC 9728 section 2), where no audience is one. url: where clients reach it, for their
    proofs (RFC 9449), where that is not the origin of that URL: what stands before the path of a request, or a function
    of the path as it was sent. Raises ValueError for what is no absolute http or https URL without query and fragment.
    """

    def __init__(self, api: ResourceServer, *, resource: str | None = None, url: Url | None = None) -> None:
        self._gate = Gate(api, resource, url)
        self._scheme = _Bearer(f"An access token (RFC 9068) of {', '.join(api.issuers)} for {', '.join(api.audience)}")
        self._apps: list[FastAPI] = []

    def init_app(self, app: FastAPI) -> None:
        """Serves the metadata of RFC 9728, and answers a TokenError that a route raises itself.

        An application may have several guards. The first one answers such an error; and its metadata answers at the
        root path, unless its resource has a path and another guard's has none. A second call for the same application
        does nothing.
        """
        if app in self._apps:
            return
        self._apps.append(app)
        state = app.state._state  # noqa: SLF001 - what is not there is an AttributeError otherwise
        documents: dict[str, Gate] = state.setdefault("realmint_documents", {})
        if not documents:
            app.add_exception_handler(TokenError, self._answer)
        for path in take_paths(documents, self._gate):
            document = partial(_document, documents, path)
            app.add_api_route(path, document, methods=["GET", "HEAD"], include_in_schema=False, response_model=None)

    def protect(self, app: FastAPI, *, open_paths: Iterable[str] = ()) -> None:
        """Every request and websocket needs a good token, to whatever path and by whatever method; with init_app().

        Middleware that is added later stands before it. A refusal is the same for paths that are there and paths that
        are not, and so names no scope; a scope is what require() asks for. open_paths need no token: `/healthz`
        exactly, `/static/*` what is below (see OpenPaths), compared with the path below `root_path`; `/docs` and
        `/openapi.json` need one, too, unless they are named. GET and HEAD of the API's metadata (RFC 9728) are open.
        """
        self.init_app(app)
        app.add_middleware(Protected, self._gate, OpenPaths(open_paths), app.state.realmint_documents)

    def require(self, scope: str | None = None, *, live: bool = False) -> Requirement:
        """A dependency: a token that has every value of `scope` (space-separated); None: any good token.

        live: the issuer is asked about it as well. The OpenAPI document says that the route needs a bearer token, and
        with which scope values. Raises ValueError for what is no scope.
        """
        need = self._gate.need(scope, live=live)
        self._scheme.names(need.values)
        described = Security(self._scheme, scopes=list(need.values))

        async def token(connection: HTTPConnection, _described: Annotated[None, described]) -> AccessToken:
            held = held_in(connection.scope, self._gate)
            try:
                held = await self._gate.aadmit(OfScope(connection.scope), need, held)
            except TokenError as refused:
                raise _refused(connection, self._gate.refusal(refused)) from refused
            connection.scope.update(with_held(connection.scope, self._gate, held))
            return held.token

        return token

    async def _answer(self, connection: Any, refused: Exception) -> Any:
        assert isinstance(refused, TokenError)
        return await _carry(connection, _Refused(self._gate.refusal(refused)))


class _Bearer(SecurityBase):
    """What OpenAPI says of the token; it looks at nothing."""

    def __init__(self, description: str) -> None:
        self.model: HTTPBearer = HTTPBearer(bearerFormat="at+jwt", description=description)
        self.scheme_name = "AccessToken"
        self._description = description
        self._scopes: set[str] = set()

    def names(self, scopes: Iterable[str]) -> None:
        """Lists scope values, which OpenAPI has no place for in a scheme of the type http."""
        self._scopes.update(scopes)
        listed = ", ".join(f"`{scope}`" for scope in sorted(self._scopes))
        self.model.description = f"{self._description}; scope values: {listed}" if listed else self._description

    async def __call__(self) -> None:
        """Asked by FastAPI in front of what really looks."""


class _Refused(Exception):
    """Ends a request that is not let in; `answer` is what it is answered."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer.status))
        self.answer = answer


def _refused(connection: HTTPConnection, answer: Answer) -> Exception:
    # Raised is all that a dependency can do. What answers is found here and not in init_app() alone, so that a route
    # of an application that was not initialized says the same.
    handlers = connection.scope.get("starlette.exception_handlers")
    if handlers is None:
        return HTTPException(answer.status, headers=dict(answer.headers))
    handlers[0].setdefault(_Refused, _carry)
    return _Refused(answer)


async def _carry(connection: HTTPConnection, refused: Exception) -> Response | None:
    assert isinstance(refused, _Refused)
    answer = refused.answer
    if isinstance(connection, WebSocket):
        await carry(answer, connection.scope, connection.receive, connection.send)
        return None
    return _response(answer, connection.scope["method"])


def _response(answer: Answer, method: str) -> Response:
    return Response(answer.body_for(method), answer.status, dict(answer.headers))


def _document(documents: dict[str, Gate], path: str, request: Request) -> Any:
    return _response(documents[path].metadata(), request.method)
