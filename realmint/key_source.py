"""The keys of one issuer: what the cache decides, done by threads or an event loop, with clocks and forks around it."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from realmint.key_cache import KeyCache, cold_cache
from realmint.key_policy import KeyPolicy
from realmint.messages import Request, Response, Transport
from realmint.protocol import Clock, Monotonic, system_clock
from realmint.protocol.fork import in_forked_child
from realmint.protocol.jws import VerificationKey
from realmint.reach import Reach
from realmint.single_flight import Ask, Listener, SingleFlight, Start, beside


class KeySource:
    """The keys of one issuer. Safe to use from several threads and event loops, and across a fork.

    clock: the wall clock, which the issuer's is compared with. leeway: tolerated clock difference in seconds. start:
    how a fetch is made. landed: called after each, as there may be more for upkeep() to do.
    """

    def __init__(
        self,
        reach: Reach,
        transport: Transport,
        policy: KeyPolicy,
        monotonic: Monotonic,
        listener: Listener,
        *,
        clock: Clock = system_clock,
        leeway: float = 30,
        start: Start = beside,
        landed: Callable[[], None] = lambda: None,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._monotonic = monotonic
        self._landed = landed
        cold = cold_cache(reach, policy, leeway)
        self._flight = SingleFlight(cold, self._send, monotonic, listener, start=start, landed=landed)
        self._spread()
        in_forked_child(self._spread)  # after the flight's own: each child asks at another moment

    def at_hand(self, kid: str) -> VerificationKey | None:
        """The key of this name, where it may be used as it is; nothing is done for it. Until it changes, the same."""
        held = self._flight.cache.at_hand(self._monotonic())
        return held.by_kid.get(kid) if held is not None else None

    def key(self, kid: str, issued_at: float | None = None) -> VerificationKey:
        """The one key of this name; issued_at: the `iat` of the token that names it, which need not be verified.

        Raises InvalidToken("key_unknown") when the issuer has no such key, Unavailable when that cannot be told.
        """
        return self.at_hand(kid) or self._flight.get(_key(kid, issued_at))

    async def akey(self, kid: str, issued_at: float | None = None) -> VerificationKey:
        """As key(), on an event loop."""
        found = self.at_hand(kid)
        return found if found is not None else await self._flight.aget(_key(kid, issued_at))

    def fitting(self, alg: str) -> tuple[VerificationKey, ...]:
        """The keys, one to four, that may verify `alg`: for a token that names none. Raises as key() does.

        More than four are InvalidToken("key_unknown"), as none are.
        """
        return self._flight.get(lambda cache, now, tried: cache.fitting(alg, now, tried))

    async def afitting(self, alg: str) -> tuple[VerificationKey, ...]:
        """As fitting(), on an event loop."""
        return await self._flight.aget(lambda cache, now, tried: cache.fitting(alg, now, tried))

    def endpoint(self, name: str) -> str:
        """An address from the metadata, on the issuer's own host. Raises Unavailable."""
        return self._flight.get(lambda cache, now, tried: cache.endpoint(name, now, tried))

    async def aendpoint(self, name: str) -> str:
        """As endpoint(), on an event loop."""
        return await self._flight.aget(lambda cache, now, tried: cache.endpoint(name, now, tried))

    def doubt_endpoint(self) -> None:
        """What endpoint() said did not answer as it should: it may have moved."""
        self._flight.change(KeyCache.doubt_endpoint)

    def refresh(self) -> None:
        """Fetches metadata and keys now, whatever the age of what is held. Raises Unavailable when that fails."""
        self._flight.get(KeyCache.refresh)

    async def arefresh(self) -> None:
        """As refresh(), on an event loop."""
        await self._flight.aget(KeyCache.refresh)

    def told_kids(self, kids: frozenset[str]) -> None:
        """The issuer said elsewhere, and signed, that it publishes just these keys. Waits for nothing.

        Where they are not those held, they are fetched at once: whatever unknown names have spent, once for each such
        set and once more ten seconds later where it still is another one, and never twice within a second.
        """
        self._flight.change(lambda cache, now: cache.told_kids(kids, now))
        self.upkeep()
        self._landed()

    def upkeep(self) -> float:
        """Sets out what is due before anybody needs it. Answers with the seconds until the next look."""
        return self._flight.upkeep(KeyCache.upkeep)

    def health(self) -> Mapping[str, Any]:
        """state (cold, fresh, soft, stale, dead), age of the keys in seconds, how many there are, and more.

        clock_offset: by how many seconds our clock is ahead of the issuer's, None where its answers do not tell. fault:
        why the last fetch failed, None where it did not.
        """
        cache, now = self._flight.cache, self._monotonic()
        held = cache.held
        return {
            "state": cache.state(now),
            "age": now - held.confirmed_at if held is not None else None,
            "keys": len(held.by_kid) if held is not None else 0,
            "clock_offset": cache.clock_offset,
            "fault": cache.fault,
        }

    def _send(self, request: Request) -> Response:
        return self._transport(request)._replace(received_at=self._clock())

    def _spread(self) -> None:
        spread = int.from_bytes(os.urandom(2)) / 32767.5 - 1
        self._flight.change(lambda cache, _: cache._replace(spread=spread))


def _key(kid: str, issued_at: float | None) -> Ask[KeyCache, VerificationKey]:
    return lambda cache, now, tried: cache.key(kid, now, tried, issued_at)
