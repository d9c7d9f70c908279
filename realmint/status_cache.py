"""One status list: what is held, when it is fetched anew, and until when it counts. Pure: it is told times and answers.

| the list held is | what happens |
|---|---|
| younger than its ttl | no input or output; at 0.8 of it, while in use, it is fetched ahead of any caller |
| older | all callers together wait once, for `wait` at most; then it counts on while fetching fails, until its exp |
| past its exp, or there is none | callers wait for the fetch under way, else nobody can tell |

A list without exp is taken to have one max_ttl after it was last confirmed. A fetch that fails is tried again at once,
then each second for a while, and only then with growing pauses.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from realmint.bearer import Unavailable
from realmint.fetching import Absorbed, Event, Fetch, Fetching, Flight, Have, Refuse, Step, Tried, Wait
from realmint.messages import Response, TransportError
from realmint.protocol.names import STATUS_LIST_MEDIA_TYPE
from realmint.protocol.status_list import StatusList
from realmint.reach import Reach

REFRESH_AT = 0.8
_FIRST, _AGAIN = "list", "list, once more"


@dataclass(frozen=True)
class StatusPolicy:
    """How status lists (Token Status List) are used, in seconds.

    unreachable: what a list that counts no more, and cannot be fetched, makes of its tokens: `deny` refuses them with
    503, `allow` accepts those that the last one did not refuse. ttl: of a list that names none; min_ttl and max_ttl
    bound the one it names; one without exp counts for max_ttl. wait: how long a caller waits. in_use: how long after
    its last use a list is kept fresh. back_off, steady: a failed fetch is tried again after back_off, `steady` times,
    then with pauses doubling up to max_back_off. max_bytes: of a list, as it is sent. lists: most that are held.
    """

    unreachable: Literal["deny", "allow"] = "deny"
    ttl: float = 300
    min_ttl: float = 5
    max_ttl: float = 900
    wait: float = 1.0
    in_use: float = 600
    back_off: float = 1.0
    steady: int = 10
    max_back_off: float = 30
    max_bytes: int = 4 * 1024 * 1024
    lists: int = 64

    def __post_init__(self) -> None:
        if self.unreachable not in ("deny", "allow"):
            raise ValueError(f"StatusPolicy: unreachable is deny or allow, not {self.unreachable!r}")
        if not 0 < self.min_ttl <= self.ttl <= self.max_ttl:
            raise ValueError("StatusPolicy: 0 < min_ttl <= ttl <= max_ttl does not hold")
        if self.wait <= 0 or self.steady < 0 or not 0 < self.back_off <= self.max_back_off:
            raise ValueError("StatusPolicy: wait and back_off must be above 0, back_off at most max_back_off")
        if self.max_bytes < 1024 or self.lists < 1 or self.in_use < 0:
            raise ValueError("StatusPolicy: max_bytes must be 1024 or more, lists 1 or more, in_use 0 or more")


class Listed(NamedTuple):
    """A list as its issuer signed it. `expires_at`: seconds since the epoch, None where it says nothing.

    sequence: `seq` of Realmint's, which counts its changes, else `iat`. keys: the published names, Realmint's `kids`.
    """

    statuses: StatusList
    sequence: float
    ttl: float | None
    expires_at: float | None
    keys: frozenset[str] | None
    etag: str | None


class StatusCache(NamedTuple):
    """One list at one moment. Nothing here changes: what does answers with another cache.

    `now` is on a clock that never steps, `wall` may. begun_at: when the last flight set out.
    """

    reach: Reach
    uri: str
    policy: StatusPolicy
    fetching: Fetching
    held: Listed | None = None
    confirmed_at: float = float("-inf")
    ttl: float = 0
    begun_at: float = float("-inf")

    def at_hand(self, now: float, wall: float) -> StatusList | None:
        """The list, where it may be used as it is and nobody has to do anything."""
        held = self._counting(now, wall)
        return held.statuses if held is not None and now - self.confirmed_at < self.ttl else None

    def current(self, now: float, tried: Tried, wall: float) -> tuple["StatusCache", Step[StatusList]]:
        """What to do for the list. Refused with Unavailable."""
        found = self.at_hand(now, wall)
        if found is not None:
            return self, Have(found)
        held = self._counting(now, wall)
        if held is None and (tried.fetched or not (self.fetching.under_way or self.fetching.due(now))):
            return self, Refuse(Unavailable("status_unreachable", self.fetching.retry_after(now)))
        patience = self.policy.wait if held is None else self._patience(now)
        if held is not None and (tried.fetched or (patience <= 0 and not self._may_fetch(now))):
            return self, Have(held.statuses)
        return self._fetch_or_wait(now, wall, patience)

    def upkeep(self, now: float, wall: float, used_at: float) -> tuple["StatusCache", Step[float]]:
        """What to do ahead of any caller: a fetch that is due while the list is in use, or wait so many seconds."""
        if self.fetching.under_way is not None or now - used_at >= self.policy.in_use:
            return self, Have(float("inf"))
        left = max(self.confirmed_at + REFRESH_AT * self.ttl, self.fetching.retry_at) - now
        return (self, Have(left)) if left > 0 else self._fetch_or_wait(now, wall, self.policy.wait)

    def absorb(self, fetch: Fetch, answer: Response | TransportError | Listed, now: float) -> "Absorbed[StatusCache]":
        """After what came of a fetch. What is no use leaves the list that is held as it is, and as old."""
        if self.fetching.under_way != fetch.flight:
            return Absorbed(self)  # a flight of another process, or one that was given up
        held = self.held
        if isinstance(answer, Response) and answer.status == 304 and "If-None-Match" in fetch.request.headers:
            return Absorbed(self._replace(confirmed_at=now, fetching=self.fetching.succeeded()))
        if isinstance(answer, Listed) and (held is None or answer.sequence >= held.sequence):
            ttl = min(
                max(self.policy.ttl if answer.ttl is None else answer.ttl, self.policy.min_ttl), self.policy.max_ttl
            )
            event = Event("status.refreshed", {"uri": self.uri, "sequence": answer.sequence})
            fetching = self.fetching.succeeded()
            return Absorbed(self._replace(held=answer, confirmed_at=now, ttl=ttl, fetching=fetching), None, (event,))
        if fetch.part == _FIRST:
            # Behind one address there may be several nodes: the next connection may find one that can answer.
            return Absorbed(self, fetch._replace(part=_AGAIN))
        event = Event("status.refresh_failed", {"uri": self.uri, "reason": _fault(answer)})
        return Absorbed(self._replace(fetching=self.fetching.failed(now)), None, (event,))

    def abandoned(self, flight: Flight) -> "StatusCache":
        """That flight will have no answer; nothing where it has landed."""
        return self._replace(fetching=self.fetching.abandoned(flight))

    def forked(self) -> "StatusCache":
        """For a child of this process."""
        return self._replace(fetching=self.fetching.forked())

    def _counting(self, now: float, wall: float) -> Listed | None:
        """The list, until its exp; one without must not count for as long as somebody keeps us from the next one."""
        held = self.held
        if held is None or held.expires_at is None:
            return held if now - self.confirmed_at < self.policy.max_ttl else None
        return held if wall < held.expires_at else None

    def _may_fetch(self, now: float) -> bool:
        return self.fetching.under_way is None and self.fetching.due(now)

    def _patience(self, now: float) -> float:
        """How long a caller waits while a list past its ttl counts: all together once, and after a failure nobody."""
        if self.fetching.failures:
            return 0
        since = now if self.fetching.under_way is None else max(self.confirmed_at + self.ttl, self.begun_at)
        return max(0, since + self.policy.wait - now)

    def _fetch_or_wait(self, now: float, wall: float, patience: float) -> tuple["StatusCache", Fetch | Wait]:
        tried = Tried(fetched=True)
        if self.fetching.under_way is not None:
            return self, self.fetching.wait(tried)._replace(seconds=patience)
        fetching, flight = self.fetching.begin()
        headers = {"Accept": STATUS_LIST_MEDIA_TYPE}
        held = self.held
        # Who says that nothing changed says nothing of how long that counts: it may be over before the next look.
        if held is not None and held.etag is not None and (held.expires_at or wall) > wall + 2 * self.ttl:
            headers["If-None-Match"] = held.etag
        asked = self.reach.request("GET", self.uri, headers, max_bytes=self.policy.max_bytes)
        return self._replace(fetching=fetching, begun_at=now), Fetch(asked, flight, _FIRST, tried, patience)


def cold_list(reach: Reach, uri: str, policy: StatusPolicy) -> StatusCache:
    """Of a list nothing of which is known yet."""
    fetching = Fetching(uri, policy.back_off, policy.max_back_off, policy.wait, steady=policy.steady)
    return StatusCache(reach, uri, policy, fetching)


def _fault(answer: Response | TransportError | Listed) -> str:
    if isinstance(answer, TransportError):
        return str(answer)
    return f"status {answer.status}" if isinstance(answer, Response) else "an older list than the one that is held"
