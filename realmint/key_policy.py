"""How an issuer's keys are cached: the settings, and how long an answer is fresh (RFC 9111). Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from realmint.fetching import Fetching

_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=([0-9]{1,9})")


@dataclass(frozen=True)
class KeyPolicy:
    """How keys are cached, in seconds.

    ttl: when the answer names no max-age; min_ttl and max_ttl bound the one it names. stale_limit: how long
    the last good keys are used while fetching fails. wait: how long a caller waits for another's fetch.
    back_off: pause after a failed fetch, doubling up to max_back_off. prepublished: whether the issuer publishes a key
    before it signs with it; then a token from before the last good answer names no new key, and causes no fetch.
    """

    ttl: float = 300
    min_ttl: float = 60
    max_ttl: float = 900
    stale_limit: float = 14400
    wait: float = 1.5
    back_off: float = 0.5
    max_back_off: float = 30
    prepublished: bool = True

    def __post_init__(self) -> None:
        ascending = (0, self.min_ttl, self.ttl, self.max_ttl, self.stale_limit, 86400)
        if list(ascending) != sorted(ascending) or self.min_ttl == 0:
            raise ValueError("0 < min_ttl <= ttl <= max_ttl <= stale_limit <= 86400 does not hold")
        if self.wait <= 0 or self.back_off <= 0 or self.back_off > self.max_back_off:
            raise ValueError("wait and back_off must be above 0, back_off at most max_back_off")

    def lifetime(self, headers: Mapping[str, str]) -> float:
        """How long an answer with these headers is fresh (RFC 9111 section 4.2.1), within bounds."""
        match = _MAX_AGE.search(headers.get("cache-control", ""))
        return self.ttl if match is None else min(max(int(match[1]) - age(headers), self.min_ttl), self.max_ttl)

    def fetching(self, of: str) -> Fetching:
        """No fetch made yet."""
        return Fetching(of, self.back_off, self.max_back_off, self.wait)


def age(headers: Mapping[str, str]) -> int:
    """Seconds that an answer has been in caches on the way (RFC 9111 section 5.1)."""
    value = headers.get("age", "0")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0
