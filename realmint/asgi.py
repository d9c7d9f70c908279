"""Guarding any ASGI application (http and websocket) with a ResourceServer."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from realmint.access_token import AccessToken
from realmint.answers import Answer
from realmint.arrivals import OfScope
from realmint.bearer import TokenError
from realmint.gate import ANY, Gate, Held, Need, Url, only_there, take_paths
from realmint.open_paths import OpenPaths
from realmint.resource_server import ResourceServer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_HELD = "realmint.held"
_POLICY_VIOLATION = 1008  # RFC 6455 section 7.4.1


class Guard:
    """Lets requests with a good token through to an application.

    guard = Guard(ResourceServer(issuer=..., audience=...))
    app = guard.protect(app, open_paths=["/healthz"])

    resource: the API's own URL (RFC 9728 section 2), where no audience is one. url: where clients reach it, for their
    proofs (RFC 9449), where that is not the origin of that URL: what stands before the path of a request, or a function
    of the path as it was sent. Raises ValueError for what is no absolute http or https URL without query and fragment.
    """

    def __init__(self, api: ResourceServer, *, resource: str | None = None, url: Url | None = None) -> None:
        self._gate = Gate(api, resource, url)

    def protect(self, app: Application, *, open_paths: Iterable[str] = ()) -> Application:
        """An application that refuses every request and websocket without a good token, to whatever path.

        A refusal is the same for paths that are there and paths that are not. open_paths need no token: `/healthz`
        exactly, `/static/*` what is below (see OpenPaths), compared with the path below `root_path`. GET and HEAD of
        the API's metadata (RFC 9728) are answered. Raises RuntimeError for a kind of connection that it does not know.
        """
        documents: dict[str, Gate] = {}
        take_paths(documents, self._gate)
        return Protected(app, self._gate, OpenPaths(open_paths), documents)

    def require(self, scope: str | None = None, *, live: bool = False) -> Callable[[Application], Application]:
        """Makes of an application one that needs a token with every value of `scope` (space-separated).

        None: any good token. live: the issuer is asked about it as well. Raises TypeError when it is not called, and
        ValueError for what is no scope.
        """
        need = self._gate.need(scope, live=live)
        return lambda app: Protected(app, self._gate, OpenPaths(), {}, need)

    def token(self, scope: Scope) -> AccessToken:
        """The token of this request, inside what is guarded. Raises RuntimeError elsewhere."""
        return only_there(held_in(scope, self._gate))


class Protected:
    """An application with a gate before it. documents: whose metadata is answered at which path."""

    def __init__(
        self, app: Application, gate: Gate, paths: OpenPaths, documents: Mapping[str, Gate], need: Need = ANY
    ) -> None:
        self._app = app
        self._gate = gate
        self._paths = paths
        self._documents = documents
        self._need = need

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets it through, or answers."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] not in {"http", "websocket"}:
            raise RuntimeError(f"nobody can tell whether a connection of type {scope['type']!r} has a token")
        path = path_of(scope)
        if path in self._documents and scope.get("method") in {"GET", "HEAD"}:
            await carry(self._documents[path].metadata(), scope, receive, send)
            return
        held = None
        if not self._paths.is_open(path, target_of(scope)):
            try:
                held = await self._gate.aadmit(OfScope(scope), self._need, held_in(scope, self._gate))
            except TokenError as refused:
                await carry(self._gate.refusal(refused), scope, receive, send)
                return
        await self._app(with_held(scope, self._gate, held), receive, send)


def path_of(scope: Scope) -> str:
    """The path below where the application is mounted, decoded; a server may have left `root_path` out of it."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and (path == root or path.startswith(root + "/")) else path


def target_of(scope: Scope) -> str | None:
    """The path as it was sent, where the server says so."""
    raw = scope.get("raw_path")
    return raw.decode("latin-1") if isinstance(raw, bytes) else None


def held_in(scope: Scope, gate: Gate) -> Held | None:
    """What this request was let in with by a gate."""
    held: Held | None = scope.get(_HELD, {}).get(gate)
    return held


def with_held(scope: Scope, gate: Gate, held: Held | None) -> Scope:
    """The scope for those behind the gate; that of those before it stays as it is."""
    others = {other: one for other, one in scope.get(_HELD, {}).items() if other is not gate}
    return {**scope, _HELD: others if held is None else {**others, gate: held}}


async def carry(answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    """Sends an answer; to a websocket in place of its opening, where the server can, else 403 by closing it."""
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers]
    kind = scope["type"]
    if kind == "websocket":
        await receive()  # websocket.connect
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        kind = "websocket.http"
    await send({"type": f"{kind}.response.start", "status": answer.status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": answer.body_for(scope.get("method", "GET"))})
