"""A request before the application sees it: its head checked, its body there whole, both within a time.

No thread waits for a client. granian's WSGI interface would have one wait for each body, without end, and takes a body
that broke off for a whole one; so this speaks its RSGI interface, whose futures say when a body is there or will never
be. They belong to no event loop here: what waits for one is called in the thread that brings the result.
"""

import io
import threading
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, Protocol

from issuer import log
from issuer.answer import document
from issuer.request import MAX_BODY
from issuer.serving.environ import Environs, Refused, Scope
from issuer.serving.limits import Limits
from issuer.serving.looks import look_until
from realmint.protocol import Monotonic, monotonic
from realmint.protocol.threads import StartThread, start_daemon

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Headers = list[tuple[str, str]]

_PERIOD = 0.5
_CLOSE = ("Connection", "close")
_REFUSAL = [
    ("Content-Type", "application/json"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Pragma", "no-cache"),
    _CLOSE,
]
_LATE = Refused(408, "body_late", "The body did not come in time")
_FAULT = Refused(500, "server_fault", "The server could not handle the request")


class Exchange(Protocol):
    """A request's body and answer as granian hands them over."""

    def __call__(self) -> Any: ...
    def __aiter__(self) -> Any: ...
    def __anext__(self) -> Any: ...
    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None: ...


class NoLoop:
    """In the place of the event loop that granian's futures call: the thread that brings a result goes on with it."""

    @staticmethod
    def call_soon(callback: Callable[..., None], *arguments: Any, context: Any = None) -> None:  # noqa: ARG004 - asyncio's
        """Calls it."""
        callback(*arguments)

    call_soon_threadsafe = call_soon


class _BrokenOff(io.RawIOBase):
    """A body that ended before its end, or was not framed as HTTP frames one."""

    def readable(self) -> bool:
        return True

    def readinto(self, _: Any) -> int:
        raise OSError("the body broke off")


class _Body:
    """A body on its way. `ended` is called once, in some thread, with all of it, or None where it broke off.

    The future and the exchange are let go of as soon as they have said everything: nobody collects a circle of which
    one is a part, and while the exchange is held the server goes on reading what nobody wants.
    """

    __slots__ = ("_ended", "_exchange", "_future", "_held", "_pieces", "cut_at", "late")

    def __init__(self, exchange: Exchange, cut_at: float, ended: Callable[["_Body", bytes | None], None]) -> None:
        self._exchange: Exchange | None = exchange
        self._ended: Callable[[_Body, bytes | None], None] | None = ended
        self._future: Any = None
        self._pieces: list[bytes] = []
        self._held = 0
        self.cut_at = cut_at
        self.late = False

    def read(self) -> None:
        """All at once: its length is known, and none too much."""
        assert self._exchange is not None
        self._wait(self._exchange(), self._whole)

    def read_chunks(self) -> None:
        """Piece by piece, so that no more than MAX_BODY and one piece is ever held."""
        assert self._exchange is not None
        self._exchange.__aiter__()
        self._wait(self._exchange.__anext__(), self._piece)

    def cut(self) -> None:
        """Too late: whatever comes now is not waited for."""
        self.late = True
        future = self._future
        if future is not None:  # else it is there just now
            future.cancel()

    def _whole(self, future: Any) -> None:
        self._future = None
        self._end(_result(future))

    def _piece(self, future: Any) -> None:
        self._future = None
        piece, exchange = _result(future), self._exchange
        if piece is None or exchange is None:
            self._end(None)
        elif not piece:
            self._end(b"".join(self._pieces) if _is_over(exchange) else None)
        else:
            self._pieces.append(piece)
            self._held += len(piece)
            if self._held > MAX_BODY:
                self._end(b"".join(self._pieces)[: MAX_BODY + 1])
            else:
                self._wait(exchange.__anext__(), self._piece)

    def _wait(self, future: Any, then: Callable[[Any], None]) -> None:
        self._future = future
        future.add_done_callback(then)
        if self.late:  # cut between two pieces
            future.cancel()

    def _end(self, whole: bytes | None) -> None:
        ended, self._ended, self._exchange = self._ended, None, None
        if ended is not None:
            ended(self, whole)


def _is_over(exchange: Exchange) -> bool:
    """An empty piece ends a body, and stands for what is wrong with one; only an end has nothing behind it."""
    try:
        exchange.__anext__().cancel()
    except StopAsyncIteration:
        return True
    return False


def _result(future: Any) -> bytes | None:
    if future.cancelled() or future.exception() is not None:
        return None
    result: bytes = future.result()
    return result


class Stage:
    """Hands whole requests to `application`, in the thread that called or in the one that brought the rest.

    Whatever happens, each request is answered, and nothing is raised: there is nobody to raise it to.
    """

    def __init__(self, application: WSGI, limits: Limits, environs: Environs, clock: Monotonic = monotonic) -> None:
        self._application = application
        self._environs = environs
        self._seconds = limits.body_seconds
        self._clock = clock
        self._number = count()
        self._waiting: dict[int, _Body] = {}

    def start(self, stop: threading.Event, start_thread: StartThread = start_daemon) -> None:
        """Cuts bodies that are late, from a thread of its own, until `stop` is set."""
        look_until(stop, _PERIOD, self.cut_late, "realmint-late-bodies", start_thread)

    def cut_late(self) -> int:
        """Looks once; how many were cut."""
        now = self._clock()
        late = []
        for number, body in list(self._waiting.items()):  # the oldest first: each has the same time
            if body.cut_at > now:
                break
            late.append((number, body))
        for number, body in late:
            self._waiting.pop(number, None)
            body.cut()
        return len(late)

    def __call__(self, watcher: Any) -> None:
        """What granian calls when the head of a request is there."""
        scope, exchange = watcher.scope, watcher.proto
        try:
            self._arrived(scope, exchange)
        except Refused as refused:
            self._refuse(exchange, refused, scope)
        except BaseException as error:  # noqa: BLE001 - it would be lost
            self._failed(exchange, error)

    def _arrived(self, scope: Scope, exchange: Exchange) -> None:
        environ = self._environs.of(scope)
        chunked = environ.pop("HTTP_TRANSFER_ENCODING", None) is not None
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if not chunked and length == 0:
            self._answer(environ, exchange, io.BytesIO(), close=False)
            return
        if not chunked and length > MAX_BODY:
            # Nothing of it is read: any that is too long is as good for the application to refuse.
            environ["CONTENT_LENGTH"] = str(MAX_BODY + 1)
            self._answer(environ, exchange, io.BytesIO(bytes(MAX_BODY + 1)), close=True)
            return
        number = next(self._number)

        def ended(body: _Body, whole: bytes | None) -> None:
            self._waiting.pop(number, None)
            try:
                if body.late:
                    self._refuse(exchange, _LATE, scope)
                elif whole is None:
                    self._answer(environ, exchange, _BrokenOff(), close=True)
                else:
                    environ["CONTENT_LENGTH"] = str(len(whole))
                    # RFC 9112 section 6.1: whatever a smuggled length would make of what follows is not read.
                    self._answer(environ, exchange, io.BytesIO(whole), close=chunked)
            except BaseException as error:  # noqa: BLE001 - it would be lost
                self._failed(exchange, error)

        body = _Body(exchange, self._clock() + self._seconds, ended)
        self._waiting[number] = body
        if chunked:
            body.read_chunks()
        else:
            body.read()

    def _answer(self, environ: dict[str, Any], exchange: Exchange, body: Any, *, close: bool) -> None:
        environ["wsgi.input"] = body
        said: list[Any] = []

        def start_response(status: str, headers: Headers, exc_info: Any = None) -> None:  # noqa: ARG001 - PEP 3333's
            said[:] = [int(status[:3]), headers]

        parts = self._application(environ, start_response)
        try:
            whole = b"".join(parts)
        finally:
            ending = getattr(parts, "close", None)
            if ending is not None:
                ending()
        status, headers = said
        exchange.response_bytes(status, [*headers, _CLOSE] if close else headers, whole)

    @staticmethod
    def _refuse(exchange: Exchange, refused: Refused, scope: Scope) -> None:
        said = document(refused.status, {"error": "invalid_request", "error_description": refused.text})
        # The line first, as behind every other answer: who was refused finds it.
        address = scope.client.rpartition(":")[0].strip("[]")
        log.event("refused", address=address, error="invalid_request", reason=refused.reason)
        exchange.response_bytes(said.status, [*_REFUSAL, ("Content-Length", str(len(said.body)))], said.body)

    @staticmethod
    def _failed(exchange: Exchange, error: BaseException) -> None:
        log.LOGGER.error("server_error", exc_info=error)
        said = document(_FAULT.status, {"error": "server_error", "error_description": _FAULT.text})
        exchange.response_bytes(said.status, [*_REFUSAL, ("Content-Length", str(len(said.body)))], said.body)
