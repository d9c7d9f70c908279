"""Client secrets: made, digested and verified.

A generated secret holds 256 random bits, so one fast digest keeps it. An imported one was chosen by a human
and is kept as Argon2id. The work done for a presented secret depends on its shape alone, known client or not.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import argon2.low_level

PREFIX = "rms_"
_RANDOM_BYTES = 32
_CHECK_CHARS = 6
_BODY_CHARS = 43
MIN_IMPORTED = 8
MAX_PRESENTED = 1024
"""Longest secret in bytes that is looked at."""
SALT_BYTES = 16


class Kind(StrEnum):
    """How a secret came to be, and so how it is kept."""

    GENERATED = "generated"
    IMPORTED = "imported"


@dataclass(frozen=True)
class Secret:
    """One secret of a client as it is stored: an identifier for people, a digest, and its end."""

    secret_id: str
    kind: Kind
    version: int
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    digest: bytes = field(repr=False)

    def live(self, now: int) -> bool:
        """Whether it may be used at `now`; at its expiry it may not."""
        return self.expires_at is None or now < self.expires_at


class SecretRefused(ValueError):
    """A secret may not be imported."""


class TooManyAttempts(Exception):
    """An attempt is not looked at now; `retry_after` in seconds, `reason` for the log."""

    def __init__(self, reason: str, retry_after: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


def generate() -> str:
    """A new secret: prefix, 256 random bits and a checksum, all of it safe in URLs, shells and HTTP Basic."""
    body = _encode(secrets.token_bytes(_RANDOM_BYTES))
    return PREFIX + body + _checksum(body)


def generate_id() -> str:
    """A new identifier of a secret, for people and commands; not itself secret."""
    return "sec" + secrets.token_hex(6)


def is_generated(text: str) -> bool:
    """Whether `text` has the shape of a generated secret: prefix, length and checksum fit."""
    body, check = text[len(PREFIX) : -_CHECK_CHARS], text[-_CHECK_CHARS:]
    return (
        text.startswith(PREFIX)
        and len(body) == _BODY_CHARS
        and hmac.compare_digest(_checksum(body).encode(), check.encode("utf-8", "replace"))
    )


def check_importable(text: str) -> str:
    """An imported secret as it will be kept. Raises SecretRefused, which never quotes it."""
    raw = text.encode("utf-8", "surrogateescape")
    if not len(text) >= MIN_IMPORTED or len(raw) > MAX_PRESENTED:
        raise SecretRefused(f"an imported secret has {MIN_IMPORTED} characters or more, at most {MAX_PRESENTED} bytes")
    if not text.isprintable() or text.strip() != text:
        raise SecretRefused("an imported secret has no control characters and no space at its ends")
    if text.startswith(PREFIX):
        raise SecretRefused(f"an imported secret may not start with {PREFIX}, which marks generated ones")
    return text


def digest(text: str, kind: Kind, salt: bytes) -> bytes:
    """What is stored of a secret: SHA-256 of a generated one, Argon2id of an imported one."""
    if kind is Kind.GENERATED:
        return hashlib.sha256(text.encode()).digest()
    return _argon2id(text.encode(), salt)


class SecretVerifier:
    """Checks presented secrets. One per process; slow checks run one at a time.

    Counts of digest and Argon2 runs are public, since tests compare work, not time (#29).
    """

    def __init__(self, max_waiting: int = 8) -> None:
        self.digest_runs = 0
        self.argon2_runs = 0
        self._max_waiting = max_waiting
        self._waiting = 0
        self._guard = threading.Lock()
        self._slow = threading.Lock()
        self._key = secrets.token_bytes(32)
        self._dummy_salt = secrets.token_bytes(SALT_BYTES)
        self._good: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def verify(
        self, presented: str, stored: Sequence[Secret], salt: bytes, *, slow_allowed: bool, now: int
    ) -> Secret | None:
        """The live secret among `stored` that `presented` is, or None.

        `slow_allowed`: a slow check may be run, since the realm holds an imported secret and the client is within
        its limit. Raises TooManyAttempts when one is needed and too many wait already.
        """
        raw = presented.encode("utf-8", "surrogateescape")
        if is_generated(presented):
            self.digest_runs += 1
            return _match(hashlib.sha256(raw).digest(), Kind.GENERATED, stored, now)
        if len(raw) > MAX_PRESENTED:
            return None
        remembered = self._remembered(raw, stored, now)
        if remembered is not None or not slow_allowed:
            return remembered
        return self._verify_slowly(raw, stored, salt, now)

    def _verify_slowly(self, raw: bytes, stored: Sequence[Secret], salt: bytes, now: int) -> Secret | None:
        # One run, real or dummy: the imported secrets of a client share its salt.
        with self._turn():
            self.argon2_runs += 1
            found = _match(_argon2id(raw, salt or self._dummy_salt), Kind.IMPORTED, stored, now)
        if found is not None:
            with self._guard:
                self._good[(found.secret_id, found.version)] = self._mac(raw)
                while len(self._good) > 4096:
                    self._good.popitem(last=False)
        return found

    def _remembered(self, raw: bytes, stored: Sequence[Secret], now: int) -> Secret | None:
        mac = self._mac(raw)
        for secret in stored:
            good = self._good.get((secret.secret_id, secret.version))
            if good is not None and hmac.compare_digest(good, mac) and secret.live(now):
                return secret
        return None

    def _mac(self, raw: bytes) -> bytes:
        return hmac.digest(self._key, raw, "sha256")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._guard:
            if self._waiting >= self._max_waiting:
                raise TooManyAttempts("slow_checks_waiting")
            self._waiting += 1
        try:
            with self._slow:
                yield
        finally:
            with self._guard:
                self._waiting -= 1


def _match(digest_: bytes, kind: Kind, stored: Sequence[Secret], now: int) -> Secret | None:
    found = None
    compared = False
    for secret in stored:
        if secret.kind is kind:
            compared = True
            if hmac.compare_digest(secret.digest, digest_) and secret.live(now):
                found = secret
    if not compared:
        hmac.compare_digest(digest_, b"\0" * len(digest_))
    return found


def _argon2id(raw: bytes, salt: bytes) -> bytes:
    return argon2.low_level.hash_secret_raw(
        raw, salt, time_cost=2, memory_cost=19456, parallelism=1, hash_len=32, type=argon2.Type.ID
    )


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _checksum(body: str) -> str:
    crc = binascii.crc32(PREFIX.encode() + body.encode("utf-8", "replace"))
    return _encode(crc.to_bytes(4, "big"))[:_CHECK_CHARS]
