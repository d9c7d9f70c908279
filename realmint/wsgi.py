"""Guarding any WSGI application (PEP 3333) with a ResourceServer."""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from realmint.access_token import AccessToken
from realmint.answers import Answer
from realmint.arrivals import OfEnviron, target_of
from realmint.bearer import TokenError
from realmint.gate import ANY, Gate, Held, Need, Url, only_there, take_paths
from realmint.open_paths import OpenPaths
from realmint.resource_server import ResourceServer

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

_HELD = "realmint.held"
"""Where in an environ a request's tokens are; no header of a caller gets a name with a dot."""


class Guard:
    """Lets requests with a good token through to an application.

    guard = Guard(ResourceServer(issuer=..., audience=...))
    application = guard.protect(application, open_paths=["/healthz"])

    resource: the API's own URL (RFC 9728 section 2), where no audience is one. url: where clients reach it, for their
    proofs (RFC 9449), where that is not the origin of that URL: what stands before the path of a request, or a function
    of the path as it was sent. Raises ValueError for what is no absolute http or https URL without query and fragment.
    """

    def __init__(self, api: ResourceServer, *, resource: str | None = None, url: Url | None = None) -> None:
        self._gate = Gate(api, resource, url)

    def protect(self, app: Application, *, open_paths: Iterable[str] = ()) -> Application:
        """An application that refuses every request without a good token, to whatever path and by whatever method.

        A refusal is the same for paths that are there and paths that are not. open_paths need no token: `/healthz`
        exactly, `/static/*` what is below (see OpenPaths), compared with PATH_INFO. GET and HEAD of the API's metadata
        (RFC 9728) are answered.
        """
        paths, documents = OpenPaths(open_paths), frozenset(take_paths({}, self._gate))

        def protected(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            path = path_of(environ)
            if path in documents and environ["REQUEST_METHOD"] in {"GET", "HEAD"}:
                return _carry(self._gate.metadata(), environ, start_response)
            if paths.is_open(path, target_of(environ)):
                _hold(environ, self._gate, None)
                return app(environ, start_response)
            return self._let(app, ANY, environ, start_response)

        return protected

    def require(self, scope: str | None = None, *, live: bool = False) -> Callable[[Application], Application]:
        """Makes of an application one that needs a token with every value of `scope` (space-separated).

        None: any good token. live: the issuer is asked about it as well. Raises TypeError when it is not called, and
        ValueError for what is no scope.
        """
        need = self._gate.need(scope, live=live)

        def decorate(app: Application) -> Application:
            def guarded(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
                return self._let(app, need, environ, start_response)

            return guarded

        return decorate

    def token(self, environ: Environ) -> AccessToken:
        """The token of this request, inside what is guarded. Raises RuntimeError elsewhere."""
        return only_there(environ.get(_HELD, {}).get(self._gate))

    def _let(self, app: Application, need: Need, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        held = environ.get(_HELD, {}).get(self._gate)
        try:
            held = self._gate.admit(OfEnviron(environ), need, held)
        except TokenError as refused:
            return _carry(self._gate.refusal(refused), environ, start_response)
        _hold(environ, self._gate, held)
        return app(environ, start_response)


def path_of(environ: Mapping[str, Any]) -> str:
    """The path below the application, decoded, as it came; empty for what is no UTF-8."""
    try:
        path: str = environ.get("PATH_INFO", "").encode("latin-1").decode()
    except UnicodeError:
        return ""
    return path


def _hold(environ: Environ, gate: Gate, held: Held | None) -> None:
    # A new dict each time: what was made for a request inside this one is none of the outer one's.
    others = {other: one for other, one in environ.get(_HELD, {}).items() if other is not gate}
    environ[_HELD] = others if held is None else {**others, gate: held}


def _carry(answer: Answer, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(answer.headers))
    return [answer.body_for(environ["REQUEST_METHOD"])]
