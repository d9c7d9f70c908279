"""base64url without padding (RFC 7515 section 2, RFC 4648 section 5)."""

import binascii

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
# What is of the other alphabet, or pads, becomes what the strict decoder refuses.
_PLAIN = bytes.maketrans(b"-_+/=", b"+/\0\0\0")
_PADDING = (b"", b"===", b"==", b"=")
# What the last character may be, by how many the last group has: bits that say nothing are 0 (RFC 4648 section 3.5).
_LAST: tuple[frozenset[int], ...] = tuple(map(frozenset, (_ALPHABET, b"", _ALPHABET[::16], _ALPHABET[::4])))


def encode(raw: bytes) -> bytes:
    return binascii.b2a_base64(raw, newline=False).translate(_URL_SAFE).rstrip(b"=")


def decode(text: bytes) -> bytes:
    """What `text` encodes, which is not nothing; one text per value and no other. Raises ValueError."""
    beyond = len(text) % 4
    if not text or text[-1] not in _LAST[beyond]:
        raise ValueError("not the canonical base64url")
    # Its binascii.Error is a ValueError.
    return binascii.a2b_base64(text.translate(_PLAIN) + _PADDING[beyond], strict_mode=True)
