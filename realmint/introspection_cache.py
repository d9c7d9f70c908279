"""What the issuer said of tokens, for a short while. It is told the time; it does no I/O, and locks are its caller's.

No token is kept: what stands for one is a digest that only this process can compute.
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

FRESH = 10.0
"""Seconds for which an answer is used, good or bad (never past a token's exp)."""
MAX_ENTRIES = 2000
"""Most answers of each kind that are kept: the oldest goes first."""
MAX_SIZE = 8192
"""Longest answer in bytes that is kept."""

Document = Mapping[str, Any]
Digest = bytes


class _Held(NamedTuple):
    document: Document
    fresh_until: float
    until: float


class Answers:
    """The newest answers. stale_if_error: seconds for which a good one may still be used when the issuer fails."""

    def __init__(self, stale_if_error: float = 0) -> None:
        self._stale_if_error = stale_if_error
        self._key = secrets.token_bytes(32)
        self._active: OrderedDict[Digest, _Held] = OrderedDict()
        self._inactive: OrderedDict[Digest, float] = OrderedDict()

    def digest(self, token: str) -> Digest:
        """What stands for the token here, and nowhere else."""
        return hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=16, key=self._key).digest()

    def active(self, digest: Digest, now: float) -> Document | None:
        """A good answer that is fresh."""
        held = self._active.get(digest)
        return held.document if held is not None and now < held.fresh_until else None

    def stale(self, digest: Digest, now: float) -> Document | None:
        """A good answer that may be used because none is to be had."""
        held = self._active.get(digest)
        return held.document if held is not None and now < held.until else None

    def inactive(self, digest: Digest, now: float) -> bool:
        """Whether the issuer said just now that this is no token to accept."""
        return now < self._inactive.get(digest, float("-inf"))

    def accepted(self, digest: Digest, document: Document, life: float, now: float) -> None:
        """The token is active, for `life` seconds at most; nothing where it was refused to who asked later."""
        if self._inactive.get(digest, float("-inf")) > now + FRESH:
            return
        self._inactive.pop(digest, None)
        self._active.pop(digest, None)
        if life > 0:
            fresh = min(life, FRESH)
            self._active[digest] = _Held(document, now + fresh, now + min(life, fresh + self._stale_if_error))
            _trim(self._active)

    def refused(self, digest: Digest, now: float) -> None:
        """The token is not active."""
        self._active.pop(digest, None)
        self._inactive.pop(digest, None)
        self._inactive[digest] = now + FRESH
        _trim(self._inactive)

    def __len__(self) -> int:
        return len(self._active) + len(self._inactive)


def _trim(entries: "OrderedDict[Digest, Any]") -> None:
    while len(entries) > MAX_ENTRIES:
        entries.popitem(last=False)
