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
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from realmint.bearer import InvalidToken, Unavailable
from realmint.protocol import Monotonic
from realmint.protocol.fork import in_forked_child
from realmint.protocol.jws import JWSError, VerificationKey, parse_object, verification_key
from realmint.transport import Request, Transport, TransportError, is_secure

Listener = Callable[[str, Mapping[str, Any]], None]

PROBES = 2
PROBE_WINDOW = 10.0
METADATA_SECONDS = 86400.0
METADATA_RETRY = 30.0
"""Seconds until metadata that lacks an address is fetched again for it."""
MAX_DOCUMENT = 65536


class FetchError(Exception):
    """An answer was no use. The message is a short kind, never content."""


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
    etag: str | None
    confirmed_at: float
    ttl: float


@dataclass
class _Flight:
    """A fetch under way, which others may wait for."""

    done: threading.Event = field(default_factory=threading.Event)


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
        self._metadata: tuple[float, Mapping[str, Any]] | None = None
        self._failures = 0
        self._retry_at = float("-inf")
        self._probes: deque[float] = deque(maxlen=PROBES)
        self._lock = threading.Lock()
        self._flight: _Flight | None = None
        in_forked_child(self._forget_threads)

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
        try:
            return self._address(name)
        except (FetchError, TransportError) as error:
            raise Unavailable("metadata_unreachable") from error

    def refresh(self) -> None:
        """Fetches metadata and keys now, whatever the age of what is held. Raises Unavailable when that fails."""
        self._metadata = None
        if not self._fetch_shared():
            raise Unavailable("keys_unreachable", self._retry_after())

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
        if now >= self._retry_at:
            # While the last good keys may be used, nobody waits for another's fetch.
            self._fetch_shared(wait=0 if usable else self._policy.wait)
            keys = self._keys
        if keys is None or self._monotonic() - keys.confirmed_at >= self._policy.stale_limit:
            raise Unavailable("keys_unreachable", self._retry_after())
        return keys

    def _probe(self, keys: _Keys) -> _Keys:
        """Looks for a key that may be new."""
        now = self._monotonic()
        with self._lock:
            allowed = len(self._probes) < PROBES or now - self._probes[0] >= PROBE_WINDOW
            allowed = allowed and now >= self._retry_at
            if allowed:
                self._probes.append(now)
        if allowed and self._fetch_shared():
            return self._keys or keys
        if allowed or self._failures:
            raise Unavailable("keys_unreachable", self._retry_after())
        self._listener("probe.refused", {"issuer": self._issuer})
        raise InvalidToken("key_unknown")

    def _fetch_shared(self, wait: float | None = None) -> bool:
        """One fetch, however many ask for it; whether it succeeded. Others wait at most `wait` seconds for it."""
        with self._lock:
            leader = self._flight is None
            flight = self._flight = self._flight or _Flight()
        if not leader:
            return flight.done.wait(self._policy.wait if wait is None else wait) and not self._failures
        try:
            self._keys = self._fetch()
        except (FetchError, TransportError) as error:
            # The keys may have moved: what the metadata says of them is asked again with the next try.
            self._metadata = None
            self._failures += 1
            pause = min(self._policy.back_off * 2 ** min(self._failures - 1, 16), self._policy.max_back_off)
            self._retry_at = self._monotonic() + pause
            self._listener("keys.refresh_failed", {"issuer": self._issuer, "reason": str(error)})
            return False
        else:
            self._failures = 0
            self._retry_at = float("-inf")
            return True
        finally:
            with self._lock:
                self._flight = None
            flight.done.set()

    def _fetch(self) -> _Keys:
        held = self._keys
        headers = {"Accept": "application/jwk-set+json, application/json"}
        if held is not None and held.etag is not None:
            headers["If-None-Match"] = held.etag
        answer = self._transport(Request("GET", self._address("jwks_uri"), headers, max_bytes=MAX_DOCUMENT))
        now = self._monotonic()
        ttl = self._ttl(answer.headers)
        if answer.status == 304 and held is not None:
            return _Keys(held.by_kid, held.etag, now, ttl)
        if answer.status != 200:
            raise FetchError(f"status {answer.status}")
        by_kid = _read_keys(answer.body)
        before = set(held.by_kid) if held else set()
        changes = {"added": sorted(by_kid.keys() - before), "removed": sorted(before - by_kid.keys())}
        self._listener("keys.refreshed", {"issuer": self._issuer, **changes})
        return _Keys(by_kid, _etag(answer.headers), now, ttl)

    def _address(self, name: str) -> str:
        held = self._metadata
        now = self._monotonic()
        if held is None or now - held[0] >= METADATA_SECONDS:
            held = (now, self._fetch_metadata())
            self._usable_address(held[1], "jwks_uri")  # without it the document is none, and is not kept
            self._metadata = held
        try:
            return self._usable_address(held[1], name)
        except FetchError:
            if now - held[0] >= METADATA_RETRY:  # it may have been mended
                self._metadata = None
            raise

    def _usable_address(self, document: Mapping[str, Any], name: str) -> str:
        """The address of this name. Raises FetchError for one that is missing, not secure or on another host."""
        address = document.get(name)
        if not isinstance(address, str) or not is_secure(address):
            raise FetchError(f"metadata has no {name} that can be asked")
        if urlsplit(address).netloc != urlsplit(self._issuer).netloc:
            raise FetchError(f"metadata has no {name} on the issuer's host")
        return address

    def _fetch_metadata(self) -> Mapping[str, Any]:
        parts = urlsplit(self._issuer)
        # RFC 8414 section 3.1: the well-known part goes between host and path.
        url = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path.rstrip('/')}"
        answer = self._transport(Request("GET", url, {"Accept": "application/json"}, max_bytes=MAX_DOCUMENT))
        if answer.status != 200:
            raise FetchError(f"metadata status {answer.status}")
        try:
            document = parse_object(answer.body)
        except JWSError:
            raise FetchError("metadata is not JSON") from None
        if document.get("issuer") != self._issuer:  # RFC 8414 section 3.3
            raise FetchError("metadata names another issuer")
        return document

    def _ttl(self, headers: Mapping[str, str]) -> float:
        match = re.search(r"(?:^|[,\s])max-age=([0-9]{1,9})", headers.get("cache-control", ""))
        if match is None:
            return self._policy.ttl
        age = headers.get("age", "0")
        left = int(match[1]) - (int(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0)
        return min(max(left, self._policy.min_ttl), self._policy.max_ttl)

    def _retry_after(self) -> int:
        return max(1, min(int(self._retry_at - self._monotonic()) + 1, 60)) if self._failures else 1

    def _forget_threads(self) -> None:
        """In a forked child, which has none of its parent's threads: what was under way there never ends here."""
        self._lock = threading.Lock()
        self._flight = None


_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,256}"')


def _etag(headers: Mapping[str, str]) -> str | None:
    """The entity tag, if it is one that can be sent back (RFC 9110 section 8.8.3): another would fail every fetch."""
    etag = headers.get("etag", "")
    return etag if _ETAG.fullmatch(etag) else None


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
