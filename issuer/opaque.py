"""An opaque token: a text that says nothing, and the row that says all of it and dies with it (interface section 3)."""

import hashlib
import secrets
from dataclasses import dataclass, field

from realmint.protocol import checksummed

MOST_LIVE = 100_000
"""Live ones that a client has at most: each is a row."""


@dataclass(frozen=True)
class OpaqueToken:
    """What is stored of one. Its text is stored nowhere: who asks brings it.

    digest: what it is found under. index, range_begin: the status slot that its `jti` carries, and the first of the
    range that it was drawn from; what ends the range ends it. client_pk: the client's id. claims: a JSON object.
    """

    digest: bytes = field(repr=False)
    realm_id: int
    jti: str
    index: int
    range_begin: int
    client_pk: int
    expires_at: int
    claims: str = field(repr=False)


def generate() -> str:
    """A new text: prefix, 256 random bits and a checksum."""
    return checksummed.written(checksummed.OPAQUE_TOKEN, secrets.token_bytes(checksummed.RANDOM_BYTES))


def is_opaque(text: str) -> bool:
    """Whether `text` may be one of ours, so that it is worth a look at the store."""
    return checksummed.fits(checksummed.OPAQUE_TOKEN, text)


def digest(text: str) -> bytes:
    """Under which its row stands: 256 random bits need no slow one."""
    return hashlib.sha256(text.encode()).digest()
