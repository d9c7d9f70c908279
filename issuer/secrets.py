"""Client secrets: how they are made, what shape they have and what is stored of them.

A generated secret holds 256 random bits, so one fast digest keeps it. An imported one was chosen by a human
and is kept as Argon2id.
"""

import hashlib
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

import argon2.low_level

from realmint.protocol import checksummed

PREFIX = "rms_"
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
    return checksummed.written(PREFIX, secrets.token_bytes(checksummed.RANDOM_BYTES))


def generate_id() -> str:
    """A new identifier of a secret, for people and commands; not itself secret."""
    return "sec" + secrets.token_hex(6)


def is_generated(text: str) -> bool:
    """Whether `text` has the shape of a generated secret: prefix, length and checksum fit."""
    return checksummed.fits(PREFIX, text)


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
    return argon2id(text.encode(), salt)


def argon2id(raw: bytes, salt: bytes) -> bytes:
    """The slow digest of an imported secret: some 35 ms and 19 MiB."""
    return argon2.low_level.hash_secret_raw(
        raw, salt, time_cost=2, memory_cost=19456, parallelism=1, hash_len=32, type=argon2.Type.ID
    )
