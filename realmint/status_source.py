"""The status lists of one issuer: what the cache decides, done by threads or an event loop. Lists are verified here."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from realmint.access_token import StatusAt
from realmint.bearer import InvalidToken, TokenError, Unavailable
from realmint.fetching import Step, Tried
from realmint.key_source import KeySource
from realmint.messages import Request, Response, Transport, TransportError
from realmint.protocol import Clock, Monotonic
from realmint.protocol.fork import in_forked_child
from realmint.protocol.status_list import VALID, StatusList, StatusListError
from realmint.reach import Reach
from realmint.rules import Rules
from realmint.single_flight import Listener, SingleFlight, Start, beside
from realmint.status_cache import Listed, StatusCache, StatusPolicy, cold_list
from realmint.status_reading import UNUSABLE, listed_by, read_signed


class StatusSource:
    """The status lists of one issuer (Token Status List). Safe for threads and event loops, and across a fork."""

    def __init__(
        self,
        reach: Reach,
        rules: Rules,
        keys: KeySource,
        transport: Transport,
        policy: StatusPolicy,
        clock: Clock,
        monotonic: Monotonic,
        listener: Listener,
        *,
        start: Start = beside,
        landed: Callable[[], None] = lambda: None,
    ) -> None:
        self._reach = reach
        self._rules = rules
        self._keys = keys
        self._transport = transport
        self._policy = policy
        self._clock = clock
        self._monotonic = monotonic
        self._listener = listener
        self._start = start
        self._after = landed
        self._lists: dict[str, _List] = {}
        self._lock = threading.Lock()
        in_forked_child(self._forget_lock)

    def at_hand(self, at: StatusAt, wall: int) -> int | None:
        """The status, where its list may be used as it is; nothing is done for it."""
        held = self._lists.get(at.uri)
        if held is None:
            return None
        now = held.used_at = self._monotonic()
        statuses = held.flight.cache.at_hand(now, wall)
        return _status(statuses, at.idx) if statuses is not None else None

    def status(self, at: StatusAt) -> int:
        """The status.

        Raises InvalidToken("status") for an address that is none of the issuer's, and an index that its list does not
        have (section 8.3); Unavailable where that cannot be told.
        """
        found = self.at_hand(at, self._clock())
        if found is not None:
            return found
        held = self._list(at.uri)
        try:
            return _status(held.flight.get(self._current), at.idx)
        except Unavailable as error:
            return self._without(held, at.idx, error)

    async def astatus(self, at: StatusAt) -> int:
        """As status(), on an event loop."""
        found = self.at_hand(at, self._clock())
        if found is not None:
            return found
        held = self._list(at.uri)
        try:
            return _status(await held.flight.aget(self._current), at.idx)
        except Unavailable as error:
            return self._without(held, at.idx, error)

    def upkeep(self) -> float:
        """Sets out what is due before anybody needs it. Answers with the seconds until the next look."""
        wall = self._clock()
        return min((held.upkeep(wall) for held in list(self._lists.values())), default=float("inf"))

    def health(self) -> Mapping[str, Any]:
        """How many lists are held, and the greatest age in seconds of those that are in use; None where none is."""
        now = self._monotonic()
        used = [held for held in list(self._lists.values()) if now - held.used_at < self._policy.in_use]
        ages = [now - held.flight.cache.confirmed_at for held in used if held.flight.cache.held is not None]
        return {"lists": len(self._lists), "age": max(ages, default=None)}

    def _current(self, cache: StatusCache, now: float, tried: Tried) -> tuple[StatusCache, Step[StatusList]]:
        return cache.current(now, tried, self._clock())

    def _without(self, held: "_List", index: int, error: Unavailable) -> int:
        """The status by no list that counts. Raises `error` where that is not allowed."""
        if self._policy.unreachable != "allow":
            raise error
        # Whoever keeps us from the next list must gain nothing by it: what the last one refused stays refused.
        last = held.flight.cache.held
        return VALID if last is None else _status(last.statuses, index)

    def _list(self, uri: str) -> "_List":
        """What is known of a list. A token names it whose signature is right, and so whose issuer can be believed."""
        held = self._lists.get(uri)
        if held is None:
            if not self._reach.names(uri):
                raise InvalidToken("status")
            with self._lock:
                held = self._lists.get(uri) or _List(self._flight(uri), self._monotonic())
                self._lists[uri] = held  # used just now: it is another one that goes
                while len(self._lists) > self._policy.lists:
                    del self._lists[min(self._lists, key=lambda one: self._lists[one].used_at)]
        held.used_at = self._monotonic()
        return held

    def _flight(self, uri: str) -> SingleFlight[StatusCache]:
        return SingleFlight(
            cold_list(self._reach, uri, self._policy),
            lambda request: self._fetch(request, uri),
            self._monotonic,
            self._listener,
            start=self._start,
            landed=self._after,
        )

    def _forget_lock(self) -> None:
        self._lock = threading.Lock()

    def _fetch(self, request: Request, uri: str) -> Response | Listed:
        """What is at the address of a list, verified. Raises TransportError."""
        answer = self._transport(request)
        if answer.status != 200:
            return answer
        try:
            signed = read_signed(answer.body, uri, self._rules, self._policy.max_bytes)
            listed = listed_by(signed, self._keys.key(signed.key_name), self._rules, answer.etag, self._clock())
        except UNUSABLE as error:
            raise TransportError(f"status list: {error.reason}") from None
        except TokenError as error:  # of its key
            raise TransportError(f"status list: {error.reason}") from None
        if listed.keys is not None:
            self._keys.told_kids(listed.keys)
        return listed


class _List:
    """One list, and when it was used last."""

    def __init__(self, flight: SingleFlight[StatusCache], used_at: float) -> None:
        self.flight = flight
        self.used_at = used_at

    def upkeep(self, wall: float) -> float:
        return self.flight.upkeep(lambda cache, now, _tried: cache.upkeep(now, wall, self.used_at))


def _status(statuses: StatusList, index: int) -> int:
    try:
        return statuses.status(index)
    except StatusListError:
        raise InvalidToken("status") from None
