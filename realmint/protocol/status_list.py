"""The byte array of a status list, and how it travels (Token Status List, draft 21, sections 4.1 and 4.2)."""

import zlib
from collections.abc import Mapping
from typing import Any

from realmint.protocol import base64url

WIDTHS = (1, 2, 4, 8)
"""How many bits a status may have."""
VALID = 0  # section 7.1
MAX_UNPACKED = 16 * 1024 * 1024
"""Longest byte array in bytes that is unpacked: DEFLATE makes a thousand bytes of one."""
BEST = 9
"""The level of compression that section 4.1 recommends."""


class StatusListError(Exception):
    """A list, or an index into one, was refused. `reason`: `malformed`, `too_large` or `index`; it holds no input."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StatusList:
    """The statuses of tokens by index, `bits` each, the first in the least significant bits of the first byte."""

    __slots__ = ("array", "bits")

    def __init__(self, bits: int, array: bytes) -> None:
        self.bits = bits
        self.array = array

    def __len__(self) -> int:
        return len(self.array) * 8 // self.bits

    def status(self, index: object) -> int:
        """The status at `index`, VALID or another. Raises StatusListError for what is no index of this list
        (section 8.3: then nothing can be said of the token)."""
        # True is an index to Python alone.
        if type(index) is not int or not 0 <= index < len(self):
            raise StatusListError("index")
        per_byte = 8 // self.bits
        return self.array[index // per_byte] >> index % per_byte * self.bits & (1 << self.bits) - 1


def pack(array: bytes, level: int = BEST) -> str:
    """`lst` of a byte array, compressed at `level` from 1, the fastest, to BEST."""
    return base64url.encode(zlib.compress(array, level)).decode("ascii")


def unpack(lst: str, most: int = MAX_UNPACKED) -> bytes:
    """The byte array of `lst`, of at most `most` bytes. Raises StatusListError.

    Works in proportion to `lst` and to `most`, whatever it would unpack to. Not checked: how long `lst` is.
    """
    try:
        compressed = base64url.decode(lst.encode("ascii"))
        stream = zlib.decompressobj()
        array = stream.decompress(compressed, most + 1)
    except (ValueError, zlib.error):  # UnicodeEncodeError is a ValueError
        raise StatusListError("malformed") from None
    if len(array) > most:
        raise StatusListError("too_large")
    if not stream.eof or stream.unused_data:  # cut off, or followed by something else
        raise StatusListError("malformed")
    return array


def read(member: object, most: int = MAX_UNPACKED) -> StatusList:
    """The list that a claim `status_list` holds, of at most `most` bytes. Raises StatusListError."""
    if not isinstance(member, Mapping):
        raise StatusListError("malformed")
    bits, lst = member.get("bits"), member.get("lst")
    if type(bits) is not int or bits not in WIDTHS or not isinstance(lst, str):
        raise StatusListError("malformed")
    return StatusList(bits, unpack(lst, most))


def written(array: bytes, level: int = BEST) -> Mapping[str, Any]:
    """The claim `status_list` of an array with one bit for each token."""
    return {"bits": 1, "lst": pack(array, level)}
