"""How an issuer's keys are fetched, and what becomes of the answers: all that is held at one moment. Pure."""

from typing import Literal, NamedTuple, Self

from realmint.bearer import Unavailable
from realmint.fetching import Absorbed, Answer, Event, Fetch, FetchError, Fetching, Flight, Tried
from realmint.issuer_clock import clock_offset
from realmint.key_policy import KeyPolicy
from realmint.key_set import HeldKeys, Told, received
from realmint.messages import Response
from realmint.metadata import Metadata
from realmint.probing import Probing
from realmint.protocol.names import JWK_SET_MEDIA_TYPE

State = Literal["cold", "fresh", "soft", "stale", "dead"]

REFRESH_AT = 0.8
"""How much of its life a set of keys has had when it is fetched again, before anybody needs that."""
SPREAD = 0.1
"""How far from that, as a share of it, so that many processes do not ask at once."""
KEYS, ENDPOINTS = "keys", "endpoints"


class KeyFetches(NamedTuple):
    """What is held of one issuer. Nothing here changes: what does answers with another of its kind.

    leeway: tolerated clock difference in seconds. spread: from -1 to 1, another one in each process. fault: why the
    last fetch failed. known_as: what watchers were told last of keys that grow old.
    """

    policy: KeyPolicy
    metadata: Metadata
    fetching: Fetching
    leeway: float = 30
    spread: float = 0
    held: HeldKeys | None = None
    probing: Probing = Probing()
    told: Told | None = None
    fault: str | None = None
    known_as: State | None = None
    clock_offset: int | None = None

    def absorb(self, fetch: Fetch, answer: Answer, now: float) -> Absorbed[Self]:
        """After what came of a fetch. What is no use leaves the last good keys as they are, and as old."""
        if fetch.flight.of == ENDPOINTS:
            return Absorbed(self._replace(metadata=self.metadata.absorb(fetch, answer, now).cache))
        if self.fetching.under_way != fetch.flight:
            return Absorbed(self)  # a flight of another process, or one that was given up
        try:
            if fetch.part == KEYS:
                return self._landed(fetch, answer, now)
            metadata = self._located(answer, now)
        except FetchError as error:
            return self._failed(str(error), now)
        anew = "Cache-Control" in fetch.request.headers
        asks = self._ask_keys(metadata.addresses["jwks_uri"], fetch.flight, fetch.tried, anew=anew)
        return Absorbed(self._replace(metadata=metadata), asks)

    def doubt_endpoint(self, now: float) -> Self:
        """What endpoint() said did not answer as it should: it may have moved."""
        return self._replace(metadata=self.metadata.doubted(now))

    def abandoned(self, flight: Flight) -> Self:
        """That flight will have no answer; nothing where it has landed."""
        probing = self.probing.landed(changed=False) if self.fetching.under_way == flight else self.probing
        metadata, fetching = self.metadata.abandoned(flight), self.fetching.abandoned(flight)
        return self._replace(metadata=metadata, fetching=fetching, probing=probing)

    def forked(self) -> Self:
        """For a child of this process: what a thread of the parent does or has spent is not done or spent there."""
        return self._replace(metadata=self.metadata.forked(), fetching=self.fetching.forked(), probing=Probing())

    def state(self, now: float) -> State:
        held = self.held
        if held is None:
            return "cold"
        if now - held.confirmed_at < held.ttl:
            return "fresh" if now < self._refresh_at(held) else "soft"
        return "stale" if now - held.confirmed_at < self.policy.stale_limit else "dead"

    def _may_begin(self, now: float) -> bool:
        return self.fetching.under_way is None and self.fetching.due(now)

    def _refresh_at(self, held: HeldKeys) -> float:
        return held.confirmed_at + held.ttl * REFRESH_AT * (1 + SPREAD * self.spread)

    def _begin(self, now: float, tried: Tried, *, anew: bool = False) -> tuple[Self, Fetch]:
        """Sets out to where the keys are, or to where that is said. anew: past the caches on the way."""
        metadata = self.metadata.outdated() if self.state(now) == "dead" else self.metadata
        address = metadata.address("jwks_uri", now)
        fetching, flight = self.fetching.begin(now)
        cache = self._replace(metadata=metadata, fetching=fetching)
        if address is None:
            return cache, metadata.ask(flight, "metadata", tried, self.policy.wait, anew=anew)
        return cache, cache._ask_keys(address, flight, tried, anew=anew)  # noqa: SLF001 - itself, a moment later

    def _ask_keys(self, address: str, flight: Flight, tried: Tried, *, anew: bool) -> Fetch:
        headers = {"Accept": f"{JWK_SET_MEDIA_TYPE}, application/json"}
        if anew:
            headers["Cache-Control"] = "no-cache"  # RFC 9111 section 5.2.1.4
        reach = self.metadata.reach
        if self.held is not None and self.held.address == reach.fetched(address) and self.held.etag is not None:
            headers["If-None-Match"] = self.held.etag
        return Fetch(reach.request("GET", address, headers), flight, KEYS, tried, self.policy.wait)

    def _located(self, answer: Answer, now: float) -> Metadata:
        """The metadata after an answer; the one of before where that is no use. Raises FetchError."""
        try:
            return self.metadata.read(answer, now)
        except FetchError:
            if "jwks_uri" in self.metadata.addresses:  # else good keys would die of bad metadata
                return self.metadata.kept(now)
            raise

    def _landed(self, fetch: Fetch, answer: Answer, now: float) -> Absorbed[Self]:
        """Raises FetchError."""
        held, changes, status = received(self.held, fetch, answer, now, self.policy)
        offset = clock_offset(answer) if isinstance(answer, Response) else None
        cache = self._replace(
            held=held, fetching=self.fetching.succeeded(), probing=self.probing.landed(changed=bool(changes)),
            fault=None, known_as=None, clock_offset=offset,
        )  # fmt: skip
        events = changes.events(self._issuer, held.document, status)
        if offset is not None and abs(offset) > self.leeway / 2:
            events += (Event("clock.offset", {"issuer": self._issuer, "seconds": offset}),)
        return Absorbed(cache, None, events)

    def _failed(self, reason: str, now: float) -> Absorbed[Self]:
        """Where the keys are is asked anew: they may have moved."""
        metadata, fetching = self.metadata.outdated(), self.fetching.failed(now)
        state, events = self.state(now), []
        if state in ("stale", "dead") and state != self.known_as:
            events.append(Event(f"keys.{state}", {"issuer": self._issuer}))
        events.append(Event("keys.refresh_failed", {"issuer": self._issuer, "reason": reason}))
        cache = self._replace(
            metadata=metadata, fetching=fetching, probing=self.probing.landed(changed=False), fault=reason,
            known_as=state,
        )  # fmt: skip
        return Absorbed(cache, None, tuple(events))

    def _unavailable(self, now: float) -> Unavailable:
        error = Unavailable("keys_unreachable", self.fetching.retry_after(now))
        error.__cause__ = FetchError(self.fault) if self.fault is not None else None
        return error

    @property
    def _issuer(self) -> str:
        return self.metadata.reach.issuer
