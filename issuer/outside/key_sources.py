"""The keys of clients (jwks_uri) and of outside issuers, which the library's engine fetches and keeps.

What is at hand is used at once. Who needs a fetch waits for it in a thread that may wait, and only so many do at a
time: an address that hangs never holds up those who need nothing from it.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from issuer import log
from issuer.credentials import TrustRule
from issuer.credentials.public_key import svid_keys
from issuer.registry.bounded import Bounded
from issuer.waiting import about_to_wait
from realmint.bearer import InvalidToken, Unavailable
from realmint.key_policy import KeyPolicy
from realmint.key_source import KeySource
from realmint.messages import Request, Response, Transport
from realmint.protocol import Clock, Monotonic
from realmint.protocol.fork import in_forked_child
from realmint.protocol.jws import JWSError, Unverified, VerificationKey, parse_object
from realmint.reach import Reach
from realmint.upkeep import Upkeep

SOURCES = 1000
"""Addresses whose keys are kept; those that were used longest ago are forgotten first."""
IN_USE = 600.0
"""Seconds after its last use for which a source is fetched anew before anybody needs it."""
# Nobody outside promises to publish a key before it signs (keys.md section 6 is about ours).
_POLICY = KeyPolicy(prepublished=False)
_TOLD = frozenset({"keys.refresh_failed", "keys.stale", "keys.dead", "keys.replaced"})


class KeysAt(NamedTuple):
    """Where keys are: at `jwks_uri`, or where the metadata of `issuer` says (OpenID Connect Discovery section 4)."""

    issuer: str | None
    jwks_uri: str | None

    def reach(self) -> Reach:
        """How the library reaches it. Raises ValueError for what cannot be asked."""
        if self.jwks_uri is None:
            return Reach(self.issuer or "", openid=True)
        parts = urlsplit(self.jwks_uri)
        return Reach(f"{parts.scheme}://{parts.netloc}", jwks_url=self.jwks_uri)


def keys_at(rule: TrustRule) -> KeysAt | None:
    """Where the keys of a rule's issuer are fetched; None where they were given."""
    return None if rule.keys else KeysAt(None if rule.jwks_uri else rule.issuer, rule.jwks_uri)


class KeysOutOfReach(Exception):
    """Nobody can tell now whether there is such a key. `retry_after` in seconds; `reason` for the log."""

    def __init__(self, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class OutsideKeys:
    """One per process. Safe to use from several threads, and across a fork, after which it begins with nothing.

    transport: how they are fetched. background: whether a thread fetches ahead what is in use.
    """

    def __init__(self, transport: Transport, clock: Clock, monotonic: Monotonic, *, background: bool) -> None:
        self._transport = _reading_bundles(transport)
        self._clock = clock
        self._monotonic = monotonic
        self._background = background
        self._sources: Bounded[KeysAt, KeySource] = Bounded(SOURCES)
        self._used: Bounded[KeysAt, float] = Bounded(SOURCES)
        self._upkeep = Upkeep(self._look)
        self.room = 16
        """Threads that may wait for fetches at a time; for one address half of them."""
        self._forget()
        in_forked_child(self._forget)

    def _forget(self) -> None:
        """At first, and in a forked child: those who wait are its parent's."""
        self._lock = threading.Lock()
        self._waiting: dict[KeysAt, int] = {}

    def served_by(self, threads: int) -> None:
        """Says how many threads of the server answer in this process: half of them may wait here."""
        self.room = max(1, threads // 2)

    def find(self, at: KeysAt, token: Unverified) -> Sequence[VerificationKey]:
        """The key that a token names, or those that may have signed one that names none; empty where there is none.

        Raises KeysOutOfReach when that cannot be told.
        """
        kid, issued_at = token.kid, token.claims.get("iat")
        source = self._source(at)
        found = source.at_hand(kid) if kid is not None else None
        if found is not None:
            return (found,)
        about_to_wait()
        with self._waits(at):
            try:
                if kid is None:
                    return source.fitting(token.alg)
                return (source.key(kid, issued_at if type(issued_at) in (int, float) else None),)
            except InvalidToken:
                return ()
            except Unavailable as error:
                raise KeysOutOfReach("keys_out_of_reach", error.retry_after) from None

    def alike(self, at: KeysAt, thumbprint: str, alg: str) -> Sequence[VerificationKey]:
        """The keys that one of this thumbprint may be among, for what names none; empty where there is none.

        Looked for under its thumbprint first, as most are called. Raises KeysOutOfReach when that cannot be told.
        """
        source = self._source(at)
        found = source.at_hand(thumbprint)
        if found is not None:
            return (found,)
        about_to_wait()
        with self._waits(at):
            try:
                with suppress(InvalidToken):
                    return (source.key(thumbprint),)
                return source.fitting(alg)
            except InvalidToken:
                return ()
            except Unavailable as error:
                raise KeysOutOfReach("keys_out_of_reach", error.retry_after) from None

    def close(self) -> None:
        """Ends the thread that fetches ahead."""
        self._upkeep.close()

    def _source(self, at: KeysAt) -> KeySource:
        """Raises KeysOutOfReach for an address that cannot be asked."""
        self._used.put(at, self._monotonic())
        found = self._sources.get(at, None)
        if found is None:
            with self._lock:  # of a crowd that is the first to need it one makes it, so that one fetches
                found = self._sources.get(at, None) or self._begin(at)
        if self._background and not self._upkeep.running:
            self._upkeep.start()
        return found

    def _begin(self, at: KeysAt) -> KeySource:
        try:
            reach = at.reach()
        except ValueError:  # nobody registers such a one
            raise KeysOutOfReach("keys_at_no_address", 60) from None
        made = KeySource(
            reach, self._transport, _POLICY, self._monotonic, _tell, clock=self._clock, landed=self._upkeep.wake
        )
        self._sources.put(at, made)
        return made

    @contextmanager
    def _waits(self, at: KeysAt) -> Iterator[None]:
        """Around a wait. Raises KeysOutOfReach where enough wait already."""
        waiting = self._waiting
        with self._lock:
            mine = waiting.get(at, 0)
            if sum(waiting.values()) >= self.room or mine >= max(1, self.room // 2):
                raise KeysOutOfReach("too_many_wait_for_keys", 1)
            waiting[at] = mine + 1
        try:
            yield
        finally:
            with self._lock:
                left = waiting[at] - 1
                if left:
                    waiting[at] = left
                else:
                    del waiting[at]

    def _look(self) -> float:
        """Fetches ahead what is in use. Answers with the seconds until the next look."""
        now, due = self._monotonic(), 60.0
        for at, source in self._sources.items():
            if now - self._used.get(at, float("-inf")) < IN_USE:
                due = min(due, source.upkeep())
        return due


def _reading_bundles(transport: Transport) -> Transport:
    """The same, where the bundle of a SPIFFE trust domain is a set of keys to verify with."""

    def send(request: Request) -> Response:
        answer = transport(request)
        if b"-svid" not in answer.body:
            return answer
        try:
            document = svid_keys(parse_object(answer.body))
        except JWSError:  # no set of keys at all, as whoever reads it will find
            return answer
        return answer._replace(body=json.dumps(document).encode())

    return send


def _tell(name: str, fields: Mapping[str, Any]) -> None:
    """To the operator, as often as the engine's back-off lets it be."""
    if name in _TOLD:
        said = {member: value for member, value in fields.items() if member in ("issuer", "reason")}
        log.event(f"outside_{name.replace('.', '_')}", level="WARNING", **said)


Keys = Callable[[KeysAt, Unverified], Sequence[VerificationKey]]
"""As OutsideKeys.find()."""
