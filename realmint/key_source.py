"""An issuer's metadata (RFC 8414) and keys (RFC 7517): fetched when first needed, cached, kept through outages.

| state | when | what happens |
|---|---|---|
| cold | nothing fetched yet | callers wait for the one fetch under way, else Unavailable |
| fresh | younger than the answer's max-age | no input or output |
| stale | older, and fetching fails | the last good keys are used, tried again with back-off |
| dead | older than `stale_limit` | Unavailable |

A set is replaced as a whole: a key that is gone from a later answer never verifies again. No lock is held
while anything is fetched.
"""

import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from realmint.bearer import InvalidToken, Unavailable
from realmint.metadata import Metadata
from realmint.protocol import Monotonic
from realmint.protocol.fork import in_forked_child
from realmint.protocol.jws import JWSError, VerificationKey, parse_object, verification_key
from realmint.single_flight import FetchError, SingleFlight
from realmint.transport import Request, Transport, TransportError

Listener = Callable[[str, Mapping[str, Any]], None]

PROBES = 2
PROBE_WINDOW = 10.0
MAX_DOCUMENT = 65536
# RFC 9110 section 8.8.3; what is sent back to the issuer is nothing but a tag.
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,256}"')


@dataclass(frozen=True)
class KeyPolicy:
    """How keys are cached, in seconds.

    ttl: when the answer names no max-age; min_ttl and max_ttl bound the one it names. stale_limit: how long
    the last good keys are used while fetching fails. wait: how long a caller waits for another's fetch.
    back_off: pause after a failed fetch, doubling up to max_back_off.
    """

    ttl: float = 300
    min_ttl: float = 60
    max_ttl: float = 900
    stale_limit: float = 14400
    wait: float = 1.5
    back_off: float = 0.5
    max_back_off: float = 30

    def __post_init__(self) -> None:
        ascending = (0, self.min_ttl, self.ttl, self.max_ttl, self.stale_limit, 86400)
        if list(ascending) != sorted(ascending) or self.min_ttl == 0:
            raise ValueError("0 < min_ttl <= ttl <= max_ttl <= stale_limit <= 86400 does not hold")
        if self.wait <= 0 or self.back_off <= 0 or self.back_off > self.max_back_off:
            raise ValueError("wait and back_off must be above 0, back_off at most max_back_off")


@dataclass(frozen=True)
class _Keys:
    """One good answer. A kid that came twice maps to None: it is refused, the rest is kept."""

    by_kid: Mapping[str, VerificationKey | None]
    address: str
    etag: str | None
    confirmed_at: float
    ttl: float


class KeySource:
    """The keys of one issuer. Safe to use from several threads and across a fork."""

    def __init__(
        self, issuer: str, transport: Transport, policy: KeyPolicy, monotonic: Monotonic, listener: Listener
    ) -> None:
        self._issuer = issuer
        self._transport = transport
        self._policy = policy
        self._monotonic = monotonic
        self._listener = listener
        self._keys: _Keys | None = None
        self._flight = SingleFlight(policy.back_off, policy.max_back_off, monotonic)
        self._metadata = Metadata(
            issuer, transport, SingleFlight(policy.back_off, policy.max_back_off, monotonic), monotonic
        )
        self._begin()
        in_forked_child(self._begin)

    def _begin(self) -> None:
        """Also in a forked child: what a thread of the parent holds or has spent is not held or spent there."""
        self._lock = threading.Lock()
        self._probes: deque[float] = deque(maxlen=PROBES)

    def key(self, kid: str) -> VerificationKey:
        """The one key of this name.

        Raises InvalidToken("key_unknown") when the issuer has no such key, Unavailable when that cannot be told.
        An unknown name causes a fetch only within a budget that successes and failures spend alike.
        """
        keys = self._current()
        if kid not in keys.by_kid:
            keys = self._probe(keys)
        found = keys.by_kid.get(kid)
        if found is None:
            raise InvalidToken("key_unknown")
        return found

    def endpoint(self, name: str) -> str:
        """An address from the metadata, on the issuer's own host. Raises Unavailable."""
        return self._metadata.shared_address(name, self._policy.wait)

    def doubt_endpoint(self) -> None:
        """What endpoint() said did not answer as it should: it may have moved."""
        self._metadata.doubt()

    def refresh(self) -> None:
        """Fetches metadata and keys now, whatever the age of what is held. Raises Unavailable when that fails."""
        self._metadata.forget()
        if not self._flight.fetch(self._fetch, self._policy.wait):
            raise self._unavailable()

    def health(self) -> Mapping[str, Any]:
        """state (cold, fresh, stale, dead), age of the keys in seconds, and how many there are."""
        keys = self._keys
        if keys is None:
            return {"state": "cold", "age": None, "keys": 0}
        age = self._monotonic() - keys.confirmed_at
        state = "fresh" if age < keys.ttl else "stale" if age < self._policy.stale_limit else "dead"
        return {"state": state, "age": age, "keys": len(keys.by_kid)}

    def _current(self) -> _Keys:
        keys = self._keys
        now = self._monotonic()
        if keys is not None and now - keys.confirmed_at < keys.ttl:
            return keys
        usable = keys is not None and now - keys.confirmed_at < self._policy.stale_limit
        if self._flight.due:
            # While the last good keys may be used, nobody waits for another's fetch.
            self._flight.fetch(self._fetch, 0 if usable else self._policy.wait)
            keys = self._keys
        if keys is None or self._monotonic() - keys.confirmed_at >= self._policy.stale_limit:
            raise self._unavailable()
        return keys

    def _probe(self, keys: _Keys) -> _Keys:
        """Looks for a key that may be new."""
        now = self._monotonic()
        with self._lock:
            allowed = len(self._probes) < PROBES or now - self._probes[0] >= PROBE_WINDOW
            allowed = allowed and self._flight.due
            if allowed:
                self._probes.append(now)
        if allowed and self._flight.fetch(self._fetch, self._policy.wait):
            return self._keys or keys
        if allowed or self._flight.failures:
            raise self._unavailable()
        self._listener("probe.refused", {"issuer": self._issuer})
        raise InvalidToken("key_unknown")

    def _unavailable(self) -> Unavailable:
        return Unavailable("keys_unreachable", self._flight.retry_after)

    def _fetch(self) -> None:
        try:
            self._keys = self._fetched()
        except (FetchError, TransportError) as error:
            self._metadata.forget()  # the keys may have moved
            self._listener("keys.refresh_failed", {"issuer": self._issuer, "reason": str(error)})
            raise

    def _fetched(self) -> _Keys:
        address = self._metadata.address("jwks_uri")
        headers = {"Accept": "application/jwk-set+json, application/json"}
        held = self._keys if self._keys is not None and self._keys.address == address else None
        if held is not None and held.etag is not None:
            headers["If-None-Match"] = held.etag
        answer = self._transport(Request("GET", address, headers, max_bytes=MAX_DOCUMENT))
        now = self._monotonic()
        ttl = self._ttl(answer.headers)
        if answer.status == 304 and held is not None and held.etag is not None:
            return _Keys(held.by_kid, address, held.etag, now, ttl)
        if answer.status != 200:
            raise FetchError(f"status {answer.status}")
        by_kid = _read_keys(answer.body)
        before = set(self._keys.by_kid) if self._keys else set()
        changes = {"added": sorted(by_kid.keys() - before), "removed": sorted(before - by_kid.keys())}
        self._listener("keys.refreshed", {"issuer": self._issuer, **changes})
        etag = answer.headers.get("etag", "")
        return _Keys(by_kid, address, etag if _ETAG.fullmatch(etag) else None, now, ttl)

    def _ttl(self, headers: Mapping[str, str]) -> float:
        match = re.search(r"(?:^|[,\s])max-age=([0-9]{1,9})", headers.get("cache-control", ""))
        if match is None:
            return self._policy.ttl
        age = headers.get("age", "0")
        left = int(match[1]) - (int(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0)
        return min(max(left, self._policy.min_ttl), self._policy.max_ttl)


def _read_keys(body: bytes) -> Mapping[str, VerificationKey | None]:
    """The usable keys of a JWKS by kid (RFC 7517 section 5); unusable ones are left out. Raises FetchError."""
    try:
        entries = parse_object(body).get("keys")
    except JWSError:
        raise FetchError("JWKS is not JSON") from None
    if not isinstance(entries, list):
        raise FetchError("JWKS has no keys")
    by_kid: dict[str, VerificationKey | None] = {}
    for entry in entries:
        try:
            key = verification_key(entry)
        except JWSError:
            continue
        by_kid[key.kid] = None if key.kid in by_kid else key
    if not by_kid:
        raise FetchError("JWKS has no usable key")
    return by_kid
