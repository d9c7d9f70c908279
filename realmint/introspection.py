"""Asking the issuer about a token (RFC 7662), for what cannot be decided locally."""

import threading
from collections.abc import Collection, Mapping
from concurrent import futures
from functools import partial
from typing import Any, NamedTuple

from realmint.access_token import Claims
from realmint.bearer import InvalidToken, Unavailable
from realmint.client_assertion import AssertionUnavailable
from realmint.introspection_cache import Digest
from realmint.introspection_call import CALL_SECONDS, Failed, Said, other_claims, read_answer, request
from realmint.introspection_credentials import shown
from realmint.introspection_desk import CALLS, Call, Desk, Landing, Telling
from realmint.introspection_policy import Introspection
from realmint.key_source import KeySource
from realmint.messages import Response, Transport, TransportError
from realmint.protocol import Clock, Monotonic
from realmint.protocol.addresses import is_secure
from realmint.protocol.fork import in_forked_child
from realmint.reach import Reach
from realmint.single_flight import Listener, Start, beside, tell

QUEUE_SECONDS = 0.05
"""Longest wait for one of the calls under way to end."""
PATIENCE = CALL_SECONDS + QUEUE_SECONDS + 0.25
_ENDPOINT = "introspection_endpoint"


class _Question(NamedTuple):
    token: str
    digest: Digest
    read: Claims | None
    verified: bool
    fresh: bool

    def __repr__(self) -> str:
        return f"_Question(verified={self.verified}, fresh={self.fresh})"  # and nothing of the token


class IntrospectionClient:
    """Asks one issuer. The answer still has to pass the checks a JWT passes; that is not done here.

    audience: the API's own identifiers, for what is said where the issuer does not tell its client of such tokens.
    lacking: claims that an answer about a JWT may lack.
    start: how a call is made; it belongs to none of those who wait for it. Safe to use from several threads and event
    loops, and across a fork, after which nothing that was said is held. Raises ValueError for what cannot be asked.
    """

    def __init__(
        self,
        settings: Introspection,
        source: KeySource,
        reach: Reach,
        transport: Transport,
        clock: Clock,
        monotonic: Monotonic,
        listener: Listener,
        *,
        start: Start = beside,
        audience: Collection[str] = (),
        lacking: Collection[str] = (),
    ) -> None:
        if settings.endpoint is not None and not (reach.allow_insecure_http or is_secure(settings.endpoint)):
            raise ValueError(
                "the introspection endpoint must be https (http on loopback, or with allow_insecure_http=True),"
                f" not {settings.endpoint!r}"
            )
        self._settings, self._source, self._reach, self._transport = settings, source, reach, transport
        self._clock, self._monotonic, self._listener, self._start = clock, monotonic, listener, start
        self._audience, self._lacking = tuple(audience), frozenset(lacking)
        self._seen = False  # whether it ever told of a token of another client's
        self._begin()
        in_forked_child(self._begin)

    def _begin(self) -> None:
        """At first, and in a forked child, which knows nothing of what its parent's threads do."""
        self._places = threading.BoundedSemaphore(CALLS)
        self._desk = Desk(self._settings.stale_if_error)

    def ask(self, token: str, read: Claims | None, *, verified: bool = False, fresh: bool = False) -> Claims:
        """What the issuer says of an active token.

        read: the claims that were read in it, None where nothing was. verified: whether it passed the local checks.
        fresh: no answer of before will do.

        Raises InvalidToken("inactive") for one that is not, and Unavailable for any answer but those two: also
        a 401, which means that our own credentials are wrong and says nothing of the token, and one that is not about
        this token.
        """
        question = self._question(token, read, verified=verified, fresh=fresh)
        try:
            found = self._at_hand(question)
            if found is None:
                found = self._set_out(question, self._settings.endpoint or self._source.endpoint(_ENDPOINT))
        except Unavailable as error:
            return self._instead(question, error)
        if isinstance(found, futures.Future):
            futures.wait((found,), PATIENCE)
        return self._conclude(question, found)

    async def aask(self, token: str, read: Claims | None, *, verified: bool = False, fresh: bool = False) -> Claims:
        """As ask(), on an event loop, which goes on meanwhile. A caller that is cancelled cancels no call."""
        import asyncio  # as in single_flight

        question = self._question(token, read, verified=verified, fresh=fresh)
        try:
            found = self._at_hand(question)
            if found is None:
                found = self._set_out(question, self._settings.endpoint or await self._source.aendpoint(_ENDPOINT))
        except Unavailable as error:
            return self._instead(question, error)
        if isinstance(found, futures.Future):
            await asyncio.wait((asyncio.wrap_future(found),), timeout=PATIENCE)
        return self._conclude(question, found)

    def health(self) -> Mapping[str, Any]:
        """state (closed, open, half open), the reason of the last failure, how many answers are held."""
        return self._desk.health(self._monotonic())

    def _question(self, token: str, read: Claims | None, *, verified: bool, fresh: bool) -> _Question:
        return _Question(token, self._desk.digest(token), read, verified, fresh or self._settings.mode == "live")

    def _at_hand(self, question: _Question) -> Said | Landing | None:
        return None if question.fresh else self._desk.at_hand(question.digest, self._monotonic())

    def _set_out(self, question: _Question, endpoint: str) -> Landing:
        """The call that was made for it, or one under way. Raises Unavailable."""
        call = self._desk.begin(question.digest, endpoint, self._monotonic(), shared=not question.fresh)
        if not isinstance(call, Call):
            return call
        try:
            self._start(partial(self._fly, question, call))
        except Exception:
            self._land(call, Failed("introspection_failed", "the call was not made"))  # else its place were lost
            raise
        return call.landing

    def _fly(self, question: _Question, call: Call) -> None:
        outcome: Said | Failed = Failed("introspection_failed", "the call broke off")
        try:
            outcome = self._send(question, call.address)
        finally:
            told = self._land(call, outcome)
        for name, fields in told:
            self._tell(name, {**fields, "credential": self._settings.credential} if "endpoint" in fields else fields)

    def _land(self, call: Call, outcome: Said | Failed) -> list[Telling]:
        told = self._desk.landed(call, outcome, self._clock(), self._monotonic())
        call.landing.set_result(outcome)
        return told

    def _send(self, question: _Question, endpoint: str) -> Said | Failed:
        places = self._places
        if not places.acquire(timeout=QUEUE_SECONDS):
            return Failed("introspection_busy", f"{CALLS} calls under way")
        answer: Response | TransportError
        try:
            client = shown(self._settings, self._reach.issuer, self._clock())
            answer = self._transport(request(self._reach, endpoint, question.token, client.headers, client.form))
        except AssertionUnavailable as error:
            return Failed("introspection_assertion", str(error))
        except TransportError as error:
            answer = error
        except Exception as error:  # noqa: BLE001 - a transport may be anybody's, and what it raises may quote a request
            answer = TransportError(type(error).__name__)
        finally:
            places.release()
        said = read_answer(answer, self._clock())
        if isinstance(said, Said) and said.active and question.read is not None:
            other = other_claims(said.claims, question.read, self._lacking)
            if other:
                return Failed("introspection_mismatch", f"other {', '.join(other)}")
        return said

    def _conclude(self, question: _Question, found: Said | Landing) -> Claims:
        outcome: Said | Failed = Failed("introspection_unreachable", "timed out")
        if isinstance(found, Said):
            outcome = found
        elif found.done():
            outcome = found.result()
        if isinstance(outcome, Failed):
            error = Unavailable(outcome.reason, self._desk.retry_after(self._monotonic()))
            error.__cause__ = outcome.error
            return self._instead(question, error)
        if outcome.active:
            self._seen = self._seen or outcome.claims.get("client_id") != self._settings.client_id
            return outcome.claims
        if question.verified and not self._seen:
            self._tell("introspection.unseen", {"client_id": self._settings.client_id, "audience": self._audience})
        raise InvalidToken("inactive")

    def _instead(self, question: _Question, error: Unavailable) -> Claims:
        """An answer of before, where that is allowed. Raises `error`."""
        if self._desk.moved:
            self._source.doubt_endpoint()
        mistaken = error.reason == "introspection_mismatch"
        held = None if question.fresh or mistaken else self._desk.stale(question.digest, self._monotonic())
        if held is None:
            raise error
        return held

    def _tell(self, name: str, fields: Mapping[str, Any]) -> None:
        tell(self._listener, name, {"issuer": self._reach.issuer, **fields})
