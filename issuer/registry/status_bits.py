"""The bits of a status list, by the one rule of what kills tokens (design 3.1). Pure; the work is done on whole bytes.

What the rule says of one token is in issuer/tokens/read.py; here is what it says of every index of a list.
"""

from collections.abc import Iterable

from issuer.slots import LIST_SIZE, first_index

LIST_BYTES = LIST_SIZE // 8
NONE_SET = bytes(LIST_BYTES)
ALL_SET = b"\xff" * LIST_BYTES


def bits_of(
    number: int, floor: int, *, enabled: bool, dead: Iterable[tuple[int, int]], revoked: Iterable[int]
) -> bytes:
    """The list `number` of a realm at its full length: a bit for each index, set where its tokens are not active.

    floor: the realm's, which is the first index of a list. enabled: whether the realm is, and was not deleted. dead:
    the offsets from the floor and the lengths of ranges that have ended, or whose client is not live and enabled; one
    that drained is not among them unless it has ended. revoked: the indexes of revoked tokens. None of either lies in
    another list.
    """
    first = first_index(number)
    if not enabled or first < floor:
        return ALL_SET
    array = bytearray(NONE_SET)
    for offset, length in dead:
        _set_run(array, floor + offset - first, length)
    set_bits(array, (index - first for index in revoked))
    return bytes(array)


def set_bits(array: bytearray, positions: Iterable[int]) -> None:
    """Sets single bits, the first of a byte being its least significant."""
    for position in positions:
        array[position >> 3] |= 1 << (position & 7)


def _set_run(array: bytearray, begin: int, length: int) -> None:
    end = begin + length
    first_byte, last_byte = -(-begin // 8), end // 8
    if first_byte > last_byte:  # within one byte
        set_bits(array, range(begin, end))
        return
    array[first_byte:last_byte] = b"\xff" * (last_byte - first_byte)
    set_bits(array, range(begin, first_byte * 8))
    set_bits(array, range(last_byte * 8, end))
