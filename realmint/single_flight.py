"""Threads and event loops around a cache that decides: one fetches, the others wait, and no lock is held meanwhile.

A fetch belongs to none of those who wait for it: it runs in a thread of its own, and goes on when they give up, when
their time is over, or when their task is cancelled.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent import futures
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from realmint.fetching import Absorbed, Event, Fetch, Flight, Have, Refuse, Step, Tried, Value, Wait
from realmint.messages import Request, TransportError
from realmint.protocol import Monotonic
from realmint.protocol.fork import in_forked_child
from realmint.protocol.threads import NoThread, start_daemon

LOGGER = logging.getLogger("realmint")

Listener = Callable[[str, Mapping[str, Any]], None]
"""Called with the name of what happened and its fields."""
Start = Callable[[Callable[[], None]], None]
"""Has something done: here(), beside()."""


class Decides(Protocol):
    """An immutable cache: what happens to it is said by another one."""

    def absorb(self, fetch: Fetch, answer: Any, now: float, /) -> "Absorbed[Any]": ...
    def abandoned(self, flight: Flight, /) -> Any: ...
    def forked(self) -> Any: ...


Cache = TypeVar("Cache", bound=Decides)
Ask = Callable[[Cache, float, Tried], tuple[Cache, Step[Value]]]
"""A question to a cache: it, the time, and what was tried for this caller -> it afterwards, and what to do."""


def here(run: Callable[[], None]) -> None:
    """Before anything else: whoever needs a fetch makes it."""
    run()


def beside(run: Callable[[], None]) -> None:
    """In a thread of its own; here, where none is to be had."""
    try:
        start_daemon(run, "realmint-fetch")
    except NoThread:
        run()


class SingleFlight(Generic[Cache]):
    """Does what the cache says, for any number of threads and event loops at once.

    transport: what it returns the cache absorbs; raises TransportError. start: how a fetch is made. landed: called
    after each. A forked child goes on with a cache of its own.
    """

    def __init__(
        self,
        cache: Cache,
        transport: Callable[[Request], Any],
        monotonic: Monotonic,
        listener: Listener,
        *,
        start: Start = beside,
        landed: Callable[[], None] = lambda: None,
    ) -> None:
        self.cache = cache
        """What is held now. Read freely; what is read stays true of its moment."""
        self._transport = transport
        self._monotonic = monotonic
        self._listener = listener
        self._start = start
        self._after = landed
        self._begin()
        in_forked_child(self._forked)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._landed: dict[Flight, futures.Future[None]] = {}

    def _forked(self) -> None:
        self.cache = self.cache.forked()
        self._begin()

    def get(self, ask: Ask[Cache, Value]) -> Value:
        """What `ask` of the cache comes to in the end. Raises InvalidToken, Unavailable."""
        step, landing = self._ask(ask, Tried())
        while not isinstance(step, Have):
            if landing is not None:  # else it has landed since
                futures.wait((landing,), step.seconds)
            step, landing = self._ask(ask, step.tried)
        return step.value

    async def aget(self, ask: Ask[Cache, Value]) -> Value:
        """As get(), on an event loop, which goes on meanwhile. A caller that is cancelled cancels no fetch."""
        import asyncio  # whoever is here has it; without an event loop it would be a third of `import realmint`

        step, landing = self._ask(ask, Tried())
        while not isinstance(step, Have):
            if landing is not None:
                await asyncio.wait((asyncio.wrap_future(landing),), timeout=step.seconds)
            step, landing = self._ask(ask, step.tried)
        return step.value

    def upkeep(self, look: Ask[Cache, float]) -> float:
        """Sets out what `look` says is due, and waits for nothing. Answers with the seconds until the next look."""
        with self._lock:
            self.cache, step = look(self.cache, self._monotonic(), Tried())
            if isinstance(step, Fetch):
                self._landed[step.flight] = _landing()
        match step:
            case Have():
                return step.value
            case Fetch():
                self._set_out(step)
            case Refuse():
                self._tell(step.events)
        return 1.0

    def change(self, change: Callable[[Cache, float], Cache]) -> None:
        """Goes on with what `change` makes of the cache."""
        with self._lock:
            self.cache = change(self.cache, self._monotonic())

    def _ask(
        self, ask: Ask[Cache, Value], tried: Tried
    ) -> tuple[Have[Value] | Fetch | Wait, futures.Future[None] | None]:
        landing = None
        with self._lock:
            self.cache, step = ask(self.cache, self._monotonic(), tried)
            fetch = step.meanwhile if isinstance(step, Have) else step
            if isinstance(fetch, Fetch):
                landing = self._landed[fetch.flight] = _landing()
            elif isinstance(fetch, Wait):
                landing = self._landed.get(fetch.flight)
        if isinstance(step, Refuse):
            self._tell(step.events)
            raise step.error
        if isinstance(fetch, Fetch):
            self._set_out(fetch)
        return step, landing

    def _set_out(self, fetch: Fetch) -> None:
        try:
            self._start(partial(self._fly, fetch))
        except BaseException:
            self._over(fetch.flight)  # else everybody would wait for it, and nobody ever fetch again
            raise
        self._tell(fetch.events)

    def _fly(self, first: Fetch) -> None:
        fetch: Fetch | None = first
        events: list[Event] = []
        try:
            while fetch is not None:
                answer = self._send(fetch)
                with self._lock:
                    self.cache, fetch, more = self.cache.absorb(fetch, answer, self._monotonic())
                events += more
        finally:
            self._over(first.flight)
        self._after()
        self._tell(events)

    def _over(self, flight: Flight) -> None:
        """Nothing more comes of it, and nobody waits for it any more; nothing where it is over."""
        with self._lock:
            self.cache = self.cache.abandoned(flight)
            landing = self._landed.pop(flight, None)
        if landing is not None:  # else it set out in the parent of this process
            landing.set_result(None)

    def _send(self, fetch: Fetch) -> Any:
        try:
            return self._transport(fetch.request)
        except TransportError as error:
            return error
        except Exception as error:  # noqa: BLE001 - said in the log, and what comes of it is a failed fetch
            # A transport may be anybody's. Nobody waits here for its exceptions, and what they say may quote a request.
            LOGGER.error("the transport raised %s, which is no TransportError", type(error).__name__)  # noqa: TRY400
            return TransportError(type(error).__name__)

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            tell(self._listener, event.name, event.fields)


def tell(listener: Listener, name: str, fields: Mapping[str, Any]) -> None:
    """Calls the listener; what breaks in it decides nothing and is logged."""
    try:
        listener(name, fields)
    except Exception:
        LOGGER.exception("on_event raised for %s", name)


def _landing() -> "futures.Future[None]":
    """What is done when a flight has landed. It cannot be cancelled by those who wait."""
    landing: futures.Future[None] = futures.Future()
    landing.set_running_or_notify_cancel()
    return landing
