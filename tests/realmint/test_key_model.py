"""The key cache as a random machine: one process, several callers, an issuer that answers anything, told time."""

import json
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from realmint import InvalidToken
from realmint.fetching import Answer, Fetch, Have, Refuse, Step, Tried, Wait
from realmint.key_cache import KeyCache
from realmint.key_set import TOLD_APART
from realmint.messages import Response, TransportError
from realmint.probing import JOINERS, PROBE_WINDOW, PROBES
from tests.support.fake_issuer import METADATA, ok
from tests.support.key_caches import COLD, GOOD_METADATA, NOTHING, POLICY, PUBLIC, START, WARM, jwks

EPOCH = 1_795_400_000
Caller = tuple[str | None, Tried, float | None]


@dataclass
class Story:
    """What must hold at every moment is asserted; what is known is what the answers said, not what the cache holds."""

    cache: KeyCache = COLD
    now: float = START
    pending: Fetch | None = None
    begun_at: float = START
    callers: list[Caller] = field(default_factory=list)
    last_good: dict[str, Any] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    confirmed_at: float = float("-inf")
    good: int = 0
    failing: bool = False
    probes: list[float] = field(default_factory=list)
    joined: int = 0
    retry_at: float = float("-inf")
    ahead: list[float] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        return self.now - self.confirmed_at < POLICY.stale_limit

    def ask(self, kid: str | None, tried: Tried = NOTHING, issued_at: float | None = None) -> None:
        """A caller in need of a key, or of a refresh (None)."""
        before = self.cache
        if kid is None:
            self.cache, step = self.cache.refresh(self.now, tried)
        else:
            self.cache, step = self.cache.key(kid, self.now, tried, issued_at)
        self._check_wait(kid, tried, step)
        match step:
            case Have() if kid is not None:
                assert step.value == self.last_good[kid]  # nothing that the last good answer lacks
                assert self.usable
                if step.meanwhile is not None:
                    assert self.failing or tried.fetched  # else it was waited for
                    self._set_out(step.meanwhile)
                else:
                    assert self.cache == before
            case Fetch():
                assert kid is None or self.now >= self.retry_at
                self._set_out(step)
                if step.events:
                    self.probes.append(self.now)
                    assert len(self.probes) <= PROBES or self.now - self.probes[-1 - PROBES] >= PROBE_WINDOW
                self.callers.append((kid, step.tried, issued_at))
            case Wait():
                assert self.pending is not None
                assert step.flight == self.pending.flight
                self.callers.append((kid, step.tried, issued_at))
            case Refuse():
                assert self.cache._replace(probing=before.probing) == before
                if isinstance(step.error, InvalidToken):
                    assert kid is not None
                    self._check_unknown(kid, tried, issued_at)

    def _check_wait(self, kid: str | None, tried: Tried, step: Step[Any]) -> None:
        """Nobody waits twice, but a refresh for what set out before it, nor at all where a good key is at hand; strangers'
        names hold few at once.
        """
        if not isinstance(step, Fetch | Wait):
            return
        assert tried == NOTHING or (kid is None and tried == Tried(fetched=True))
        age = self.now - self.confirmed_at
        if kid in self.last_good:
            assert age >= POLICY.ttl
            assert not (self.usable and self.failing)
        if isinstance(step, Wait) and kid is not None and self.usable:
            assert step.seconds <= self.begun_at + POLICY.wait - self.now or kid not in self.last_good
            if age < POLICY.ttl:
                assert not self.failing
                self.joined += 1
                assert self.joined <= JOINERS

    def _check_unknown(self, kid: str, tried: Tried, issued_at: float | None) -> None:
        """401: only where it is known of a set that may be used, and never of a key that may be new to a sick source."""
        assert kid not in self.last_good
        assert self.usable
        older = issued_at is not None and issued_at < EPOCH + self.confirmed_at - 30
        looked = tried.since is not None and self.good > tried.since
        assert looked or kid in self.gone or older or not self.failing

    def look(self) -> None:
        """Whoever looks after what will be needed."""
        self.cache, step = self.cache.upkeep(self.now)
        if isinstance(step, Have):
            assert step.value > 0
            return
        assert isinstance(step, Fetch)
        assert self.now >= self.retry_at
        if not self.failing:
            assert not self.ahead or self.now - self.ahead[-1] >= TOLD_APART
            self.ahead.append(self.now)
        self._set_out(step)

    def tell(self, kids: str) -> None:
        self.cache = self.cache.told_kids(frozenset(kids), self.now)

    def _set_out(self, fetch: Fetch) -> None:
        assert self.pending is None  # one at a time
        self.pending, self.begun_at, self.joined = fetch, self.now, 0

    def time_out(self) -> None:
        """Whoever waits gives up."""
        callers, self.callers = self.callers, []
        for caller in callers:
            self.ask(*caller)

    def answer(self, answer: Answer) -> None:
        if self.pending is None:
            return
        held, fetch = self.cache.held, self.pending
        if isinstance(answer, Response):
            answer = answer._replace(headers={**answer.headers, "date": formatdate(EPOCH + self.now, usegmt=True)})
        self.cache, self.pending, events = self.cache.absorb(fetch, answer, self.now)
        if self.pending is not None:
            assert self.cache.held is held
            return
        names = [event.name for event in events]
        if "keys.refresh_failed" in names:
            assert self.cache.held is held  # neither replaced nor made younger
            self.retry_at, self.failing = self.now + POLICY.back_off, True
        else:
            self._note(answer)
        self._land()

    def _note(self, answer: Answer) -> None:
        assert isinstance(answer, Response)
        assert self.cache.held is not None
        self.confirmed_at, self.retry_at, self.good, self.failing = self.now, float("-inf"), self.good + 1, False
        if answer.status == 200:
            keys = self.cache.held.by_kid
            assert set(keys) == {jwk["kid"] for jwk in json.loads(answer.body)["keys"]}
            for kid, key in keys.items():  # what is the same stays the very same
                assert (self.last_good.get(kid) is key) == (self.last_good.get(kid) == key)
            self.gone = (self.gone | self.last_good.keys()) - keys.keys()
            self.last_good = dict(keys)

    def give_up(self) -> None:
        """The flight ends without an answer of any kind."""
        if self.pending is not None:
            self.cache, self.pending = self.cache.abandoned(self.pending.flight), None
            self._land()

    def fork(self) -> None:
        self.cache, self.pending, self.callers, self.probes = self.cache.forked(), None, [], []
        self.retry_at, self.failing, self.ahead = float("-inf"), False, []

    def _land(self) -> None:
        callers, self.callers = self.callers, []
        for caller in callers:
            self.ask(*caller)


def kids_of(kids: str) -> str:
    return "".join(dict.fromkeys(kids))


answers = st.one_of(
    st.text("abcd", max_size=4).map(lambda kids: jwks(kids_of(kids), f'"{kids}"')),
    st.just(ok({"keys": [{**PUBLIC["b"], "kid": "a"}, PUBLIC["b"]]})),
    st.just(GOOD_METADATA),
    st.sampled_from([Response(304, {}, b""), Response(503, {}, b""), TransportError("ConnectTimeoutError"), ok(b"<html>")]),
)  # fmt: skip
seconds = st.sampled_from([0, 0.4, 0.5, 1, 1.5, 5, 9.9, 10, 59, 60, 239, 240, 299, 300, 3600, 14399, 14400, 86400])
step = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from([*"abcdx", None])),
    st.tuples(st.just("ask"), st.sampled_from("xyz")),
    st.tuples(st.just("ask late"), st.sampled_from("abcxyz")),
    st.tuples(st.just("answer"), answers),
    st.tuples(st.just("metadata"), st.just(None)),
    st.tuples(st.just("later"), seconds),
    st.tuples(st.just("tell"), st.text("abcd", max_size=4).map(kids_of)),
    st.tuples(st.sampled_from(["time_out", "give_up", "fork", "look"]), st.just(None)),
)


@settings(max_examples=120, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(warm=st.booleans(), steps=st.lists(step, min_size=20, max_size=60))
def test_162_165_166_167_whatever_happens_in_whatever_order(warm: bool, steps: list[tuple[str, Any]]) -> None:
    """A key that is gone verifies nothing, the budget holds, rubbish replaces nothing, failures lengthen nothing; no
    caller waits where a good key is at hand, and none is told that a key is unknown which may be new.
    """
    story = Story()
    if warm:
        for what in (story.ask("a"), story.answer(GOOD_METADATA), story.answer(jwks("ab"))):
            assert what is None
    for what, more in steps:
        match what:
            case "ask":
                story.ask(more)
            case "ask late":  # with a token from before the last answer
                story.ask(more, issued_at=EPOCH + story.confirmed_at - 31)
            case "answer":
                story.answer(more)
            case "metadata":
                if story.pending is not None and story.pending.request.url == METADATA:
                    story.answer(GOOD_METADATA)
            case "later":
                story.now += more
            case "tell":
                story.tell(more)
            case _:
                getattr(story, what)()


@settings(max_examples=100, deadline=None)
@given(pauses=st.lists(st.sampled_from([0.0, 0.1, 1, 3, 4.9, 5, 9.9, 10, 11]), max_size=40), good=st.booleans())
def test_162_unknown_names_cause_at_most_two_fetches_in_any_ten_seconds(pauses: list[float], good: bool) -> None:
    """Whether the fetches succeed or fail."""
    assert WARM.held is not None
    story = Story(WARM, confirmed_at=START, good=1, last_good=dict(WARM.held.by_kid))
    fetched: list[float] = []
    for number, pause in enumerate(pauses):
        story.now += pause
        if story.cache.state(story.now) not in ("fresh", "soft"):
            return
        story.ask(f"unknown-{number}")
        if story.pending is not None:
            fetched.append(story.now)
            while story.pending is not None:
                asked = story.pending.request.url
                story.answer(GOOD_METADATA if asked == METADATA else jwks("ab") if good else TransportError("x"))
    assert all(later - earlier >= PROBE_WINDOW for earlier, later in zip(fetched, fetched[PROBES:], strict=False))
