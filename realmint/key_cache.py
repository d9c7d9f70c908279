"""An issuer's keys (RFC 7517): what is held, what to fetch, whom to refuse. Pure: it is told the time and the answers.

| state | when | what happens |
|---|---|---|
| cold | nothing fetched yet | callers wait for the one fetch under way, else Unavailable |
| fresh | younger than REFRESH_AT of the answer's max-age | no input or output |
| soft | younger than the max-age | the same; one fetch in the background |
| stale | older | one shared wait; then, and where fetching fails, the last good keys are used; tried with back-off |
| dead | older than `stale_limit` | Unavailable |

A set is replaced as a whole: a key that is gone from a later answer never verifies again. A name that nobody knows
causes a fetch only within the budget of `probing`, and is never refused as unknown while that cannot be told.
"""

from typing import TypeVar

from realmint.bearer import InvalidToken
from realmint.fetching import Event, Fetch, Have, Refuse, Step, Tried, Wait
from realmint.key_fetches import ENDPOINTS, KEYS, KeyFetches
from realmint.key_policy import KeyPolicy
from realmint.key_set import TOLD_APART, HeldKeys, Told
from realmint.metadata import Metadata
from realmint.protocol.jws import MAX_KID, VerificationKey
from realmint.reach import Reach

Found = TypeVar("Found")

MAX_FITTING = 4
"""How many keys are tried for a token that names none."""
_NOTHING_TRIED = Tried()


class KeyCache(KeyFetches):
    """The keys of one issuer at one moment, and what is done for whoever needs one."""

    __slots__ = ()

    def at_hand(self, now: float) -> HeldKeys | None:
        """What may be used as it is, with nothing to be done for it."""
        held = self.held
        if held is None or now - held.confirmed_at < held.ttl:
            return held
        return None if self._may_begin(now) else self._usable(now, _NOTHING_TRIED)

    def key(
        self, kid: str, now: float, tried: Tried = _NOTHING_TRIED, issued_at: float | None = None
    ) -> tuple["KeyCache", Step[VerificationKey]]:
        """What to do for the one key of this name; issued_at: the `iat` of the token that names it.

        Refused with InvalidToken("key_unknown") when the issuer has no such key, Unavailable when that cannot be told.
        Where the key is at hand and fresh, the cache stays as it is.
        """
        if not 0 < len(kid) <= MAX_KID:
            return self, Refuse(InvalidToken("key_unknown"))
        held = self._usable(now, tried)
        if held is None:
            return self._need(now, tried)
        if kid not in held.by_kid:
            return self._unknown(held, kid, now, tried, issued_at)
        found = held.by_kid[kid]
        return (self, Refuse(InvalidToken("key_unknown"))) if found is None else self._have(found, held, now)

    def fitting(
        self, alg: str, now: float, tried: Tried = _NOTHING_TRIED
    ) -> tuple["KeyCache", Step[tuple[VerificationKey, ...]]]:
        """What to do for the keys that may verify `alg`, for a token that names none; refused as key() is.

        More than MAX_FITTING are refused: which of them were tried would be chance.
        """
        held = self._usable(now, tried)
        if held is None:
            return self._need(now, tried)
        found = tuple(key for key in held.by_kid.values() if key is not None and alg in key.algorithms)
        if not found:
            return self._unknown(held, f"\0{alg}", now, tried, None)
        if len(found) > MAX_FITTING:
            return self, Refuse(InvalidToken("key_unknown"))
        return self._have(found, held, now)

    def refresh(self, now: float, tried: Tried = _NOTHING_TRIED) -> tuple["KeyCache", Step[None]]:
        """What to do to have metadata and keys anew, whatever the age of what is held. Refused with Unavailable."""
        if tried.since is None:
            if self.fetching.under_way is not None and not tried.fetched:
                return self, self.fetching.wait(Tried(fetched=True))  # it set out before, and may bring what was then
            tried = Tried(fetched=True, since=self.fetching.good)
            return self._replace(metadata=self.metadata.outdated())._fetch_or_wait(now, tried, anew=True)  # noqa: SLF001
        return self, Have(None) if self.fetching.good > tried.since else Refuse(self._unavailable(now))

    def endpoint(self, name: str, now: float, tried: Tried = _NOTHING_TRIED) -> tuple["KeyCache", Step[str]]:
        """What to do for an address from the metadata, on the issuer's own host. Refused with Unavailable."""
        metadata, step = self.metadata.endpoint(name, now, tried)
        return (self if metadata is self.metadata else self._replace(metadata=metadata)), step

    def upkeep(self, now: float, tried: Tried = _NOTHING_TRIED) -> tuple["KeyCache", Step[float]]:
        """What to do ahead of any caller: fetch the keys anew, or wait so many seconds. Nobody wants cold ones yet."""
        if self.fetching.under_way is not None:
            return self, Have(float("inf"))
        told_at = float("inf")
        if self.held is None:
            due_at = self.fetching.retry_at if self.fetching.failures else float("inf")
        else:
            if self.told is not None:
                told_at = self.told.due_at(self.held)
            due_at = max(min(self._refresh_at(self.held), told_at), self.fetching.retry_at)
        if due_at > now:
            return self, Have(due_at - now)
        return self._begin(now, tried, anew=told_at <= now)

    def told_kids(self, kids: frozenset[str], now: float) -> "KeyCache":
        """After the issuer said elsewhere, and signed, which keys it publishes: where it is others, upkeep() is due.

        Once for each set told, and once more when all of the issuer has heard; no budget is spent.
        """
        if self.held is None or (self.told is not None and self.told.kids == kids):
            return self
        if kids == self.held.document.names:  # what was told before is over
            return self if self.told is None else self._replace(told=self.told._replace(kids=kids))
        at = now if self.told is None else max(now, self.told.at + TOLD_APART)
        return self._replace(told=Told(kids, at, self.fetching.begun))

    def _usable(self, now: float, tried: Tried) -> HeldKeys | None:
        """The fresh keys, and the stale ones where fetching has failed or had its time."""
        held = self.held
        if held is None or now - held.confirmed_at < held.ttl:
            return held
        done = tried.fetched or self.fetching.failures or self.fetching.waited_out(now)
        return held if done and now - held.confirmed_at < self.policy.stale_limit else None

    def _need(self, now: float, tried: Tried) -> tuple["KeyCache", Fetch | Wait | Refuse]:
        """Where no keys are usable: fetches, or waits for who does."""
        stale = self.state(now) == "stale"
        if not stale and (tried.fetched or not self.fetching.due(now)):
            return self, Refuse(self._unavailable(now))
        # Whoever has waited for a whole set has thereby looked for what may be new in it.
        cache, step = self._fetch_or_wait(now, Tried(fetched=True, since=self.fetching.good))
        if stale and isinstance(step, Wait):  # all wait for the same moment, and then do without
            step = step._replace(seconds=self.fetching.begun_at + self.policy.wait - now)
        return cache, step

    def _have(self, found: Found, held: HeldKeys, now: float) -> tuple["KeyCache", Have[Found]]:
        if now - held.confirmed_at < held.ttl or not self._may_begin(now):
            return self, Have(found)
        cache, fetch = self._begin(now, Tried(fetched=True))
        return cache, Have(found, fetch)

    def _unknown(
        self, held: HeldKeys, kid: str, now: float, tried: Tried, issued_at: float | None
    ) -> tuple["KeyCache", Fetch | Wait | Refuse]:
        """Looks for a key that may be new, once for each caller, and within the budget of all."""
        older = self.policy.prepublished and held.is_younger(issued_at, self.leeway)
        if older or held.is_gone(kid, now):
            return self, Refuse(InvalidToken("key_unknown"))
        if tried.since is not None:
            if self.fetching.good == tried.since:
                return self, Refuse(self._unavailable(now))
            return self._replace(probing=self.probing.found_absent(kid, now)), Refuse(InvalidToken("key_unknown"))
        if self.probing.is_absent(kid, now):
            return self, self._not_told(now)
        return self._probe(now, Tried(fetched=True, since=self.fetching.good))

    def _probe(self, now: float, tried: Tried) -> tuple["KeyCache", Fetch | Wait | Refuse]:
        issuer = self.metadata.reach.issuer
        if self.fetching.under_way is not None:
            # While all is well that ends soon; else the threads that serve good tokens would wait here.
            joined = self.probing.join() if not self.fetching.failures else None
            if joined is None:
                return self, Refuse(self._unavailable(now))
            return self._replace(probing=joined), self.fetching.wait(tried)
        if self.probing.left(now) and self.fetching.due(now):
            cache, fetch = self._replace(probing=self.probing.spend(now))._begin(now, tried, anew=True)  # noqa: SLF001
            return cache, fetch._replace(events=(Event("probe.spent", {"issuer": issuer}),))
        return self, self._not_told(now)._replace(events=(Event("probe.refused", {"issuer": issuer}),))

    def _not_told(self, now: float) -> Refuse:
        """Nobody asks: the set is taken at its word, unless it cannot be had at the moment."""
        return Refuse(self._unavailable(now) if self.fetching.failures else InvalidToken("key_unknown"))

    def _fetch_or_wait(self, now: float, tried: Tried, *, anew: bool = False) -> tuple["KeyCache", Fetch | Wait]:
        if self.fetching.under_way is not None:
            return self, self.fetching.wait(tried)
        return self._begin(now, tried, anew=anew)


def cold_cache(reach: Reach, policy: KeyPolicy, leeway: float = 30) -> KeyCache:
    """A cache that holds nothing yet."""
    return KeyCache(policy, Metadata(reach, policy.fetching(ENDPOINTS)), policy.fetching(KEYS), leeway)
