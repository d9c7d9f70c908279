"""Texts of ours that say nothing: a prefix, 256 random bits and a checksum, safe in URLs, shells and HTTP Basic. Pure.

Whoever is given one knows without asking anybody whether it may be one of ours: a mistyped or cut one is not.
"""

import binascii

from realmint.protocol import base64url

RANDOM_BYTES = 32
OPAQUE_TOKEN = "rmt_"  # noqa: S105 - what tells one, not one
"""What an access token of the format `opaque` begins with."""
_BODY_CHARS = 43
_CHECK_CHARS = 6


def written(prefix: str, random: bytes) -> str:
    """The text of RANDOM_BYTES random bytes."""
    body = _encode(random)
    return prefix + body + _checksum(prefix + body)


def has_shape(prefix: str, text: str) -> bool:
    """Whether prefix and length are those of such a text, right or mistyped."""
    return text.startswith(prefix) and len(text) == len(prefix) + _BODY_CHARS + _CHECK_CHARS


def fits(prefix: str, text: str) -> bool:
    """Whether the checksum is right as well. It is no secret: anybody can compute it."""
    return has_shape(prefix, text) and text[-_CHECK_CHARS:] == _checksum(text[:-_CHECK_CHARS])


def _encode(raw: bytes) -> str:
    return base64url.encode(raw).decode()


def _checksum(text: str) -> str:
    crc = binascii.crc32(text.encode("utf-8", "replace"))
    return base64url.encode(crc.to_bytes(4, "big"))[:_CHECK_CHARS].decode()
