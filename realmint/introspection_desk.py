"""What is known of tokens, who is being asked, and whether somebody may be. Told the time and the answers; no I/O.

Safe to use from several threads: its lock is held for no longer than a look takes.
"""

import secrets
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeAlias

from realmint.bearer import Unavailable
from realmint.breaker import Breaker
from realmint.introspection_cache import MAX_SIZE, Answers, Digest
from realmint.introspection_call import Failed, Said
from realmint.protocol.claims import ClaimError, numeric_date

CALLS = 32
"""Most calls to one issuer at the same time. As many more may wait for one of them to end, and no longer than that."""

Landing: TypeAlias = Future[Said | Failed]
Telling: TypeAlias = tuple[str, Mapping[str, Any]]
"""The name of what happened, and its fields."""


class Call(NamedTuple):
    """A call to be made. decides: whether a breaker that is half open waits for it. sent_at: the answer's age."""

    address: str
    digest: Digest
    landing: Landing
    decides: bool
    sent_at: float


class Desk:
    """For one issuer, and for one process."""

    def __init__(self, stale_if_error: float) -> None:
        self._lock = threading.Lock()
        self._answers = Answers(stale_if_error)
        self._under_way: dict[Digest, Landing] = {}
        self._asking = 0
        self._address = ""
        self._breaker = Breaker()
        self.moved = False
        """Whether the last failure was of a kind that an address which is no longer right causes."""

    def digest(self, token: str) -> Digest:
        """What stands for the token here."""
        return self._answers.digest(token)

    def at_hand(self, digest: Digest, now: float) -> Said | Landing | None:
        """What was said just now, or the call under way."""
        with self._lock:
            held = self._answers.active(digest, now)
            if held is not None:
                return Said(active=True, claims=held)
            if self._answers.inactive(digest, now):
                return Said(active=False)
            return self._under_way.get(digest)

    def stale(self, digest: Digest, now: float) -> Mapping[str, Any] | None:
        """What may be used because nothing newer is to be had."""
        with self._lock:
            return self._answers.stale(digest, now)

    def begin(self, digest: Digest, address: str, now: float, *, shared: bool) -> Call | Landing:
        """The call to make, or the one under way where it may be shared. Raises Unavailable where none may be made."""
        with self._lock:
            if shared and digest in self._under_way:
                return self._under_way[digest]
            if address != self._address:  # what was learnt of another address is none of this one's
                self._address, self._breaker, self.moved = address, Breaker(), False
            if self._asking >= 2 * CALLS:
                raise Unavailable("introspection_busy")
            admitted = self._breaker.admit(now)
            if admitted is None:
                raise Unavailable(self._breaker.reason, self._breaker.retry_after(now))
            self._breaker, decides = admitted
            landing: Landing = Future()
            landing.set_running_or_notify_cancel()  # it is not to be cancelled by those who wait
            self._asking += 1
            if shared:
                self._under_way[digest] = landing
            return Call(address, digest, landing, decides, now)

    def landed(self, call: Call, outcome: Said | Failed, wall: int, now: float) -> list[Telling]:
        """After what came of a call: what is to be told of it. wall: seconds since the epoch."""
        with self._lock:
            self._asking -= 1
            shared = self._under_way.get(call.digest) is call.landing
            if shared:
                del self._under_way[call.digest]
            # Who asked for one use alone tells the others nothing, but that the token is over.
            if isinstance(outcome, Said) and (shared or not outcome.active):
                self._keep(call, outcome, wall)
            before = self._breaker
            telling = self._learn(call, outcome, now) if call.address == self._address else []
        states = [breaker.state(now) for breaker in (before, self._breaker)]
        if (states[0] == "closed") != (states[1] == "closed"):
            telling.append(("introspection.breaker", {"state": states[1], "reason": self._breaker.reason}))
        return telling

    def retry_after(self, now: float) -> int:
        """Whole seconds until a call may be let through; 1 where one may be now."""
        return self._breaker.retry_after(now)

    def health(self, now: float) -> Mapping[str, Any]:
        """state (closed, open, half open), the reason of the last failure, how many answers are held."""
        breaker = self._breaker
        return {"state": breaker.state(now), "reason": breaker.reason, "answers": len(self._answers)}

    def _keep(self, call: Call, said: Said, wall: int) -> None:
        """The answer is as old as its question."""
        if not said.active:
            self._answers.refused(call.digest, call.sent_at)
            return
        try:
            life = numeric_date(said.claims, "exp") - wall
        except ClaimError:
            life = 0
        self._answers.accepted(call.digest, said.claims, life if said.size <= MAX_SIZE else 0, call.sent_at)

    def _learn(self, call: Call, outcome: Said | Failed, now: float) -> list[Telling]:
        if not isinstance(outcome, Failed):
            self._breaker = self._breaker.succeeded(now, decides=call.decides)
            return []
        if outcome.reason == "introspection_busy":  # nothing was sent
            self._breaker = self._breaker.abandoned() if call.decides else self._breaker
            return []
        if outcome.reason == "introspection_mismatch":  # it is there, and answers
            self._breaker = self._breaker.succeeded(now, decides=call.decides)
            return [("introspection.mismatch", {"cause": outcome.cause})]
        if outcome.reason != "introspection_assertion":
            self.moved = outcome.moved
        telling = ("introspection.failed", {"reason": outcome.reason, "cause": outcome.cause, "endpoint": call.address})
        if outcome.reason == "introspection_assertion":  # nothing was sent: the fault is on our side
            self._breaker = self._breaker.abandoned() if call.decides else self._breaker
            return [telling]
        if outcome.alone:
            self._breaker = self._breaker.succeeded(now, decides=call.decides)
            return [telling]
        jitter = secrets.randbelow(1001) / 1000
        self._breaker = self._breaker.failed(outcome.reason, now, jitter, decides=call.decides, pause=outcome.pause)
        return [telling]
