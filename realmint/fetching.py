"""The words between a cache that decides and whoever does what it says: values alone, no I/O, no clock.

A cache is asked what to do and answers with a step: Have, Fetch, Wait or Refuse. Who drives it, with threads, an event
loop or none, does that, tells the cache what came of a Fetch, and asks again with what the step said was `tried`.
"""

from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from realmint.bearer import InvalidToken, Unavailable
from realmint.messages import Request, Response, TransportError

Value = TypeVar("Value")
Cache = TypeVar("Cache")

Answer = Response | TransportError
"""What came of a request."""


class FetchError(Exception):
    """An answer was no use. The message is a short kind, never content."""


class Event(NamedTuple):
    """What happened, for those who watch: a name such as keys.refreshed, and its fields."""

    name: str
    fields: Mapping[str, Any]


class Flight(NamedTuple):
    """One fetch, of one request or several, that others may wait for. `number` never comes twice for the same `of`."""

    of: str
    number: int


class Tried(NamedTuple):
    """What was done already for one caller, who therefore gets an answer and not the same step for ever.

    fetched: a fetch was made or waited for. since: how many good answers there were before it looked for something
    new; None where it did not.
    """

    fetched: bool = False
    since: int | None = None


class Fetch(NamedTuple):
    """Send `request`, hand what comes of it to absorb() together with this; then ask again, after `seconds` at most.

    part: what it is for. events: what to tell of.
    """

    request: Request
    flight: Flight
    part: str
    tried: Tried
    seconds: float
    events: tuple[Event, ...] = ()


class Have(Generic[Value]):  # no tuple: a checker takes a generic one, once it was asked for by isinstance(), for any
    """The answer is at hand. meanwhile: what to send as well, which nobody who has the answer waits for."""

    __slots__ = ("meanwhile", "value")

    def __init__(self, value: Value, meanwhile: Fetch | None = None) -> None:
        self.value = value
        self.meanwhile = meanwhile


class Wait(NamedTuple):
    """Somebody is at it: wait until that flight has landed, at most `seconds`; then ask again."""

    flight: Flight
    seconds: float
    tried: Tried


class Refuse(NamedTuple):
    """It cannot be had (InvalidToken) or nobody can tell (Unavailable): raise `error`, tell of `events`."""

    error: InvalidToken | Unavailable
    events: tuple[Event, ...] = ()


Step: TypeAlias = Have[Value] | Fetch | Wait | Refuse


class Absorbed(NamedTuple, Generic[Cache]):
    """A cache after an answer. `fetch`: what the same flight sends next; None when it has landed."""

    cache: Cache
    fetch: Fetch | None = None
    events: tuple[Event, ...] = ()


class Fetching(NamedTuple):
    """The fetches of one thing: whether one is under way, how they ended, when another may be made.

    back_off: pause in seconds after a failed one, after `steady` of them doubling up to max_back_off. patience: how
    many seconds a caller waits for another's.
    """

    of: str
    back_off: float
    max_back_off: float
    patience: float
    steady: int = 0
    begun: int = 0
    good: int = 0
    failures: int = 0
    """How many failed since the last that did not."""
    retry_at: float = float("-inf")
    under_way: Flight | None = None
    begun_at: float = float("-inf")
    """When the newest flight set out, where that was said."""

    def due(self, now: float) -> bool:
        """Whether the pause after the last failure is over."""
        return now >= self.retry_at

    def retry_after(self, now: float) -> int:
        """Whole seconds, from 1 to 60, until another fetch may succeed."""
        return max(1, min(int(self.retry_at - now) + 1, 60)) if self.failures else 1

    def wait(self, tried: Tried) -> Wait:
        """For the flight under way."""
        assert self.under_way is not None
        return Wait(self.under_way, self.patience, tried)

    def waited_out(self, now: float) -> bool:
        """Whether the flight under way has had its time: whoever can do without it does."""
        return self.under_way is not None and now - self.begun_at >= self.patience

    def begin(self, now: float = float("-inf")) -> tuple["Fetching", Flight]:
        """With a flight under way; there must be none yet."""
        flight = Flight(self.of, self.begun)
        return self._replace(begun=self.begun + 1, under_way=flight, begun_at=now), flight

    def succeeded(self) -> "Fetching":
        return self._replace(under_way=None, good=self.good + 1, failures=0, retry_at=float("-inf"))

    def failed(self, now: float) -> "Fetching":
        failures = self.failures + 1
        pause = min(self.back_off * 2 ** min(max(failures - 1 - self.steady, 0), 16), self.max_back_off)
        return self._replace(under_way=None, failures=failures, retry_at=now + pause)

    def abandoned(self, flight: Flight) -> "Fetching":
        """That flight will have no answer, and says nothing of the next one's chances."""
        return self._replace(under_way=None) if self.under_way == flight else self

    def forked(self) -> "Fetching":
        """For a child: neither what is under way in its parent nor what failed there is any of its business."""
        return self._replace(under_way=None, failures=0, retry_at=float("-inf"))
