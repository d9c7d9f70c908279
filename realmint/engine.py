"""Does for a decision what it needs: keys, statuses, questions to its issuer; with threads, or on an event loop."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from realmint.access_token import AccessToken, StatusAt
from realmint.bearer import TokenError
from realmint.decision import (
    Decision,
    Fits,
    IssuerAsked,
    Need,
    StatusNeeded,
    Told,
    Verdict,
    decide,
    decide_at_hand,
    nothing,
    unbound,
)
from realmint.issuer_rule import IssuerRule
from realmint.key_source import KeySource
from realmint.messages import Transport
from realmint.protocol import Clock, Monotonic
from realmint.protocol.jws import VerificationKey
from realmint.protocol.status_list import VALID
from realmint.rules import Rules, book
from realmint.single_flight import Listener, Start
from realmint.status_cache import StatusPolicy
from realmint.status_source import StatusSource
from realmint.token_cache import TokenCache, VerifiedTokens

if TYPE_CHECKING:
    from realmint.introspection import IntrospectionClient


class Surroundings(NamedTuple):
    """What everything here is given: the way out, two clocks, who listens, how fetches are made, who hears of them."""

    transport: Transport
    clock: Clock
    monotonic: Monotonic
    listener: Listener
    start: Start
    landed: Callable[[], None]


class Served(NamedTuple):
    """One issuer at run time."""

    rules: Rules
    keys: KeySource
    statuses: StatusSource
    introspection: "IntrospectionClient | None"

    def health(self) -> Mapping[str, Any]:
        """`ready`: whether tokens can be decided; and the state of what decides them."""
        keys = self.keys.health()
        ready = keys["state"] in ("fresh", "soft", "stale")
        asked = {"introspection": self.introspection.health()} if self.introspection is not None else {}
        return {"ready": ready, "keys": keys, "statuses": self.statuses.health(), **asked}


class Engine:
    """Decides about tokens of the issuers of `rules`. tokens: how many verified ones are kept; None for none.

    proofs: no token passes without that of a key.
    """

    def __init__(
        self, rules: Iterable[IssuerRule], tokens: TokenCache | None, around: Surroundings, *, proofs: bool = False
    ) -> None:
        every = tuple(rules)
        self._book = book(rule.rules() for rule in every)
        self.served: Mapping[str, Served] = {rule.issuer: _serve(rule, around) for rule in every}
        self._tokens = VerifiedTokens(tokens) if tokens is not None else None
        # Apart: what is found among those that are bound to nothing needs no look at what it is bound to.
        self._bound = VerifiedTokens(tokens) if tokens is not None else None
        self._fits = nothing if proofs else unbound
        self._clock = around.clock
        self._monotonic = around.monotonic

    def at_hand(self, token: object, *, bound: bool = False) -> AccessToken | None:
        """A token that was accepted before, if everything that this rests on still holds: its time, key and status.

        bound: of those that are bound to something, and no others; that it is shown is for who asks. Of any other
        nothing is said: it has to be decided.
        """
        tokens = self._bound if bound else self._tokens
        kept = tokens.get(token) if tokens is not None else None
        if kept is None:
            return None
        now = self._clock()
        if not kept.starts <= now < kept.ends or self._monotonic() >= kept.until:
            return None
        served = self.served[kept.token.issuer]
        if served.keys.at_hand(kept.key.kid) is not kept.key:
            return None
        if kept.status is not None and served.statuses.at_hand(kept.status, now) != VALID:
            return None
        return kept.token

    def decide(self, token: object, *, live: bool, fits: Fits | None = None) -> AccessToken:
        """The accepted token. fits: what it may be bound to; None for nothing. Raises InvalidToken, Unavailable."""
        fits = fits or self._fits
        verdict = None if live else self._decide_at_hand(token, fits)
        if verdict is not None:
            return self._accepted(token, verdict)
        decision, need = self._begin(token, fits, live=live)
        while not isinstance(need, Verdict):
            try:
                told = self._look_up(need)
            except TokenError as error:
                need = _go_on(decision.throw, error)
            else:
                need = _go_on(decision.send, told)
        return self._accepted(token, need)

    async def adecide(self, token: object, *, live: bool, fits: Fits | None = None) -> AccessToken:
        """As decide(), on an event loop."""
        fits = fits or self._fits
        verdict = None if live else self._decide_at_hand(token, fits)
        if verdict is not None:
            return self._accepted(token, verdict)
        decision, need = self._begin(token, fits, live=live)
        while not isinstance(need, Verdict):
            try:
                told = await self._alook_up(need)
            except TokenError as error:
                need = _go_on(decision.throw, error)
            else:
                need = _go_on(decision.send, told)
        return self._accepted(token, need)

    def upkeep(self) -> float:
        """Sets out what is due before anybody needs it. Answers with the seconds until the next look."""
        return min(min(served.keys.upkeep(), served.statuses.upkeep()) for served in self.served.values())

    def health(self) -> Mapping[str, Any]:
        """`ready`, and of the first issuer what it is like; of each in `issuers`, where there are several."""
        each = {issuer: served.health() for issuer, served in self.served.items()}
        first = next(iter(each.values()))
        several = {"issuers": each} if len(each) > 1 else {}
        return {**first, "ready": all(one["ready"] for one in each.values()), **several}

    def _decide_at_hand(self, token: object, fits: Fits) -> Verdict | None:
        return decide_at_hand(token, self._book, self._clock(), self._key_at_hand, self._status_at_hand, fits)

    def _key_at_hand(self, issuer: str, kid: str) -> VerificationKey | None:
        return self.served[issuer].keys.at_hand(kid)

    def _status_at_hand(self, issuer: str, at: StatusAt, now: int) -> int | None:
        return self.served[issuer].statuses.at_hand(at, now)

    def _begin(self, token: object, fits: Fits, *, live: bool) -> tuple[Decision, Need | Verdict]:
        decision = decide(token, self._book, self._clock(), live=live, fits=fits)
        return decision, _go_on(decision.send, None)

    def _accepted(self, token: object, verdict: Verdict) -> AccessToken:
        tokens = self._bound if "cnf" in verdict.token.claims else self._tokens
        if tokens is not None and verdict.key is not None and isinstance(token, str):
            leeway = self.served[verdict.token.issuer].rules.leeway
            tokens.keep(token, verdict.token, verdict.key, verdict.status, self._monotonic(), leeway)
        return verdict.token

    def _look_up(self, need: Need) -> Told:
        served = self.served[need.issuer]
        if isinstance(need, StatusNeeded):
            status = served.statuses.status(need.at)
            return Told(self._clock(), status=status)
        if isinstance(need, IssuerAsked):
            assert served.introspection is not None
            claims = served.introspection.ask(need.token, need.read, verified=need.verified, fresh=need.fresh)
            return Told(self._clock(), claims=claims)
        keys = served.keys.fitting(need.alg) if need.kid is None else (served.keys.key(need.kid, need.issued_at),)
        return Told(self._clock(), keys=keys)

    async def _alook_up(self, need: Need) -> Told:
        served = self.served[need.issuer]
        if isinstance(need, StatusNeeded):
            status = await served.statuses.astatus(need.at)
            return Told(self._clock(), status=status)
        if isinstance(need, IssuerAsked):
            assert served.introspection is not None
            claims = await served.introspection.aask(need.token, need.read, verified=need.verified, fresh=need.fresh)
            return Told(self._clock(), claims=claims)
        if need.kid is None:
            keys = await served.keys.afitting(need.alg)
        else:
            keys = (await served.keys.akey(need.kid, need.issued_at),)
        return Told(self._clock(), keys=keys)


def _go_on(resume: Callable[[Any], Need], value: Any) -> Need | Verdict:
    """What the decision needs next, or what it came to. Raises InvalidToken, Unavailable."""
    try:
        return resume(value)
    except StopIteration as done:
        verdict: Verdict = done.value
        return verdict


def _serve(rule: IssuerRule, around: Surroundings) -> Served:
    reach, rules = rule.reach(), rule.rules()
    transport, clock, monotonic, listener, start, landed = around
    keys = KeySource(
        reach, transport, rule.key_policy(), monotonic, listener,
        clock=clock, leeway=rule.leeway, start=start, landed=landed,
    )  # fmt: skip
    policy = rule.status or StatusPolicy()
    statuses = StatusSource(
        reach, rules, keys, transport, policy, clock, monotonic, listener, start=start, landed=landed
    )
    asked = None
    if rule.introspection is not None:
        from realmint.introspection import IntrospectionClient  # an API that asks nobody does without

        asked = IntrospectionClient(
            rule.introspection, keys, reach, transport, clock, monotonic, listener, start=start,
            audience=rule.audiences(), lacking=rules.legacy.may_lack(),
        )  # fmt: skip
    return Served(rules, keys, statuses, asked)
