"""Guarding Django views with a ResourceServer (RFC 6750), and the API's own metadata (RFC 9728)."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse

from realmint.access_token import AccessToken
from realmint.answers import Answer
from realmint.arrivals import Arrival, OfEnviron, OfScope, target_of
from realmint.bearer import TokenError
from realmint.gate import ANY, Gate, Held, Need, Url, only_there, take_paths
from realmint.open_paths import OpenPaths
from realmint.resource_server import ResourceServer

View = Callable[..., Any]
Middleware = Callable[[View], View]


class Guard:
    """Lets requests with a good token through to views, sync and async.

    guard = Guard(ResourceServer(issuer=..., audience=...))
    middleware = guard.protect(open_paths=["/healthz"])     # its dotted name comes first in MIDDLEWARE

    @guard.require("orders:read")
    def orders(request):
        return JsonResponse(list_for(guard.token(request).client_id))

    resource: the API's own URL (RFC 9728 section 2), where no audience is one. url: where clients reach it, for their
    proofs (RFC 9449), where that is not the origin of that URL: what stands before the path of a request, or a function
    of the path as it was sent. Raises ValueError for what is no absolute http or https URL without query and fragment.
    """

    def __init__(self, api: ResourceServer, *, resource: str | None = None, url: Url | None = None) -> None:
        self._gate = Gate(api, resource, url)

    def protect(self, *, open_paths: Iterable[str] = ()) -> Middleware:
        """The middleware by which every request needs a good token, to whatever path and by whatever method.

        A refusal is the same for paths that are there and paths that are not, and so names no scope; a scope is what
        require() asks for. open_paths need no token: `/healthz` exactly, `/static/*` what is below (see OpenPaths),
        compared with `request.path_info`. GET and HEAD of the API's metadata (RFC 9728) are answered, and so is a
        TokenError that a view raises itself.
        """
        paths, gate = OpenPaths(open_paths), self._gate

        def middleware(get_response: View) -> View:
            kind = _AsyncMiddleware if iscoroutinefunction(get_response) else _Middleware
            return kind(gate, paths, get_response)

        middleware.sync_capable = middleware.async_capable = True  # type: ignore[attr-defined]
        return middleware

    def require(self, scope: str | None = None, *, live: bool = False) -> Callable[[View], View]:
        """The view needs a token that has every value of `scope` (space-separated); None: any good token.

        live: the issuer is asked about it as well. A class of views takes it by
        `@method_decorator(guard.require(...), name="dispatch")`. The view needs no CSRF token: no browser sends an
        access token by itself. Raises TypeError when it is not called, and ValueError for what is no scope.
        """
        need, gate = self._gate.need(scope, live=live), self._gate

        def decorate(view: View) -> View:
            @wraps(view)
            def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                try:
                    _admit(gate, request, need)
                except TokenError as refused:
                    return _carry(gate.refusal(refused), request)
                return view(request, *args, **kwargs)

            @wraps(view)
            async def aguarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                try:
                    await _aadmit(gate, request, need)
                except TokenError as refused:
                    return _carry(gate.refusal(refused), request)
                return await view(request, *args, **kwargs)

            chosen: Any = aguarded if iscoroutinefunction(view) else guarded
            chosen.csrf_exempt = True
            return chosen  # type: ignore[no-any-return]

        return decorate

    def token(self, request: HttpRequest) -> AccessToken:
        """The token of this request, inside what is guarded. Raises RuntimeError elsewhere."""
        return only_there(_held(request).get(self._gate))


class _Middleware:
    """A guard before all views of a project."""

    def __init__(self, gate: Gate, paths: OpenPaths, get_response: View) -> None:
        self._gate = gate
        self._paths = paths
        self._get_response = get_response
        self._documents = frozenset(take_paths({}, gate))

    def __call__(self, request: HttpRequest) -> Any:
        answer = self._open(request)
        if answer is None:
            try:
                _admit(self._gate, request, ANY)
            except TokenError as refused:
                answer = self._gate.refusal(refused)
        return _carry(answer, request) if isinstance(answer, Answer) else self._get_response(request)

    def _open(self, request: HttpRequest) -> Answer | bool | None:
        """What is answered, or True to let it through; None when it needs a token."""
        if request.path_info in self._documents and request.method in {"GET", "HEAD"}:
            return self._gate.metadata()
        return self._paths.is_open(request.path_info, _target(request)) or None

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """The answer to a TokenError that a view raised."""
        return _carry(self._gate.refusal(exception), request) if isinstance(exception, TokenError) else None


class _AsyncMiddleware(_Middleware):
    """The same on an event loop."""

    def __init__(self, gate: Gate, paths: OpenPaths, get_response: View) -> None:
        super().__init__(gate, paths, get_response)
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> Any:
        answer = self._open(request)
        if answer is None:
            try:
                await _aadmit(self._gate, request, ANY)
            except TokenError as refused:
                answer = self._gate.refusal(refused)
        return _carry(answer, request) if isinstance(answer, Answer) else await self._get_response(request)


def _admit(gate: Gate, request: HttpRequest, need: Need) -> None:
    held = _held(request)
    held[gate] = gate.admit(_arrival(request), need, held.get(gate))


async def _aadmit(gate: Gate, request: HttpRequest, need: Need) -> None:
    held = _held(request)
    held[gate] = await gate.aadmit(_arrival(request), need, held.get(gate))


def _arrival(request: HttpRequest) -> Arrival:
    scope = getattr(request, "scope", None)
    # Django writes its own paths over those of PEP 3333.
    return OfEnviron(request.META, "utf-8") if scope is None else OfScope(scope)


def _held(request: HttpRequest) -> dict[Gate, Held]:
    held: dict[Gate, Held] = vars(request).setdefault("_realmint_held", {})
    return held


def _target(request: HttpRequest) -> str | None:
    """The path as it was sent, where the server says so."""
    raw = getattr(request, "scope", {}).get("raw_path")
    return raw.decode("latin-1") if isinstance(raw, bytes) else target_of(request.META)


def _carry(answer: Answer, request: HttpRequest) -> HttpResponse:
    return HttpResponse(answer.body_for(request.method), status=answer.status, headers=dict(answer.headers))
