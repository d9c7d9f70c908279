"""Tokens that were verified, so that nobody verifies them twice. What they rest on is looked at again each time."""

import threading
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_bytes
from typing import NamedTuple

from realmint.access_token import AccessToken, StatusAt
from realmint.bearer import MAX_TOKEN
from realmint.protocol.fork import in_forked_child
from realmint.protocol.jws import VerificationKey

_BASE_BYTES, _BYTES_PER_CHARACTER = 1500, 2
"""About what one entry takes beside the text that it was made of."""


@dataclass(frozen=True)
class TokenCache:
    """How many verified tokens are kept. size: most. max_bytes: about as many bytes in all. max_age: seconds each."""

    size: int = 10_000
    max_bytes: int = 25_000_000
    max_age: float = 300

    def __post_init__(self) -> None:
        if self.size < 1 or self.max_bytes < 10_000 or not 0 < self.max_age <= 86400:
            raise ValueError("TokenCache: size must be 1 or more, max_bytes 10000 or more, max_age 1 to 86400 seconds")


class Accepted(NamedTuple):
    """A verified token, and what it rests on. until: on a clock that never steps. starts, ends: on the wall's."""

    token: AccessToken
    key: VerificationKey
    status: StatusAt | None
    until: float
    starts: float
    ends: float
    bytes: int


class VerifiedTokens:
    """Keeps what was accepted, by a digest that nobody else can make: neither a claim nor a name finds anything."""

    def __init__(self, settings: TokenCache) -> None:
        self._settings = settings
        self._kept: dict[bytes, Accepted] = {}
        self._bytes = 0
        self._secret = token_bytes(32)
        self._lock = threading.Lock()
        in_forked_child(self._forget_lock)

    def get(self, token: object) -> Accepted | None:
        """What was kept for these very characters. Not checked: anything that it rests on."""
        digest = self._digest(token)
        return self._kept.get(digest) if digest is not None else None

    def keep(
        self, text: str, token: AccessToken, key: VerificationKey, status: StatusAt | None, now: float, leeway: int
    ) -> None:
        """Keeps an accepted token for a while; the oldest ones go where there is no room."""
        digest = self._digest(text)
        if digest is None:
            return
        started = max((value for name in ("iat", "nbf") if (value := token.claims.get(name)) is not None), default=0)
        size = _BASE_BYTES + _BYTES_PER_CHARACTER * len(text)
        ends = token.claims["exp"] + leeway
        accepted = Accepted(token, key, status, now + self._settings.max_age, started - leeway, ends, size)
        with self._lock:
            self._drop(digest)
            self._kept[digest] = accepted
            self._bytes += size
            while len(self._kept) > self._settings.size or self._bytes > self._settings.max_bytes:
                self._drop(next(iter(self._kept)))

    def __len__(self) -> int:
        return len(self._kept)

    def _drop(self, digest: bytes) -> None:
        gone = self._kept.pop(digest, None)
        if gone is not None:
            self._bytes -= gone.bytes

    def _digest(self, token: object) -> bytes | None:
        if not isinstance(token, str) or len(token) > MAX_TOKEN or not token.isascii():
            return None
        return blake2b(token.encode("ascii"), digest_size=16, key=self._secret).digest()

    def _forget_lock(self) -> None:
        self._lock = threading.Lock()
