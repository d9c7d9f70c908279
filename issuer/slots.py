"""Status slots: which index a token carries, and when nobody can hold a token of an index any more. Pure.

An *index* names one bit of a realm path for ever: list number and position (Token Status List). A *range* is a run of
indexes that one credential draws from, stored as an offset from its realm's *floor*: raising the floor takes every
token of the realm along, and gives every range indexes that nobody ever had.
"""

import base64
import binascii
import os
import secrets
from collections.abc import Container, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from keys.policy import RotationPolicy

STATUS_SUFFIX = "/status"
"""Where status lists are, under the issuer (interface section 1)."""
LIST_BITS = 20
LIST_SIZE = 1 << LIST_BITS
"""Indexes in one list."""
FIRST_LENGTH = 256
"""Indexes in the first range of a credential."""
GROWTH = 32
"""How many times as long the next range is. Every length is a power of two."""
FULL_SHARE = 64
"""A range drains when one in so many of its indexes is set."""
_INDEX_BYTES = 6
_ID_BYTES = 15
_DRAW_BYTES = 3
RANDOM_BYTES = _DRAW_BYTES + _ID_BYTES
"""Random bytes that an index and a `jti` of it take."""
TOKEN_ID_CHARS = 28
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
MAX_INDEX = (1 << 8 * _INDEX_BYTES) - 1
END_LIST = (MAX_INDEX >> LIST_BITS) + 1
"""The first list whose indexes no token can carry: a path whose numbering has come here is used up."""
_DRAWS = 16


class NotATokenId(ValueError):
    """The text is no identifier of a token that we issue."""


class OutOfIndexes(Exception):
    """A path has no index left that was never used; what has one can be killed still."""

    def __init__(self) -> None:
        super().__init__(
            "every status index of this path was used, so that nothing new can have tokens there: what there is can be "
            "cut off as ever; make the realm at another path"
        )


@dataclass(frozen=True, slots=True)
class SlotRange:
    """What a credential draws from: the indexes begin to begin + length - 1, as its realm's floor was then."""

    begin: int
    length: int


def placed(floor: object, offset: object, length: object) -> SlotRange:
    """A range as the store has it. Raises ValueError for what is none: indexes drawn from it could be another's."""
    if isinstance(floor, int) and isinstance(offset, int) and isinstance(length, int):
        whole = min(floor, offset) >= 0 and position_of(floor) == 0
        if whole and 0 < length <= LIST_SIZE - position_of(offset) and length & length - 1 == 0:
            return SlotRange(floor + offset, length)
    raise ValueError("no range of status slots")


class RangeState(StrEnum):
    """What a range is for."""

    OPEN = "new tokens draw from it"
    DRAINED = "no new tokens; those it has go on"
    ENDED = "its tokens are dead"


@dataclass(frozen=True, slots=True)
class Numbering:
    """What of a realm path's indexes was given away, over all realms that ever stood there.

    small: the index that the next small range begins at; at the very end of a list none is open. lists: the first list
    that nothing was ever allotted in.
    """

    small: int
    lists: int

    def allot(self, length: int) -> tuple[int, "Numbering"]:
        """Where a new range of `length` indexes begins, and what is given away then. Raises OutOfIndexes.

        No range crosses a list's end. One of a whole list leaves the list that small ones are taken from as it is.
        """
        if length <= -self.small % LIST_SIZE:
            return self.small, Numbering(self.small + length, self.lists)
        if self.lists >= END_LIST:
            raise OutOfIndexes
        begin = first_index(self.lists)
        return begin, Numbering(self.small if length == LIST_SIZE else begin + length, self.lists + 1)

    def raised(self, floor: int, skip: int = 0) -> tuple[int, "Numbering"]:
        """The floor above every index that was given away, and the numbering with every range moved up to it.

        floor: where it stands now. skip: lists to leave out besides. Of a path that is used up the floor stands at the
        very end, above every index that a token can carry, and so do ranges that would be moved beyond it: nothing is
        drawn from those (is_drawable).
        """
        new = first_index(min(self.lists + skip, END_LIST))
        moved = new - floor
        small, lists = min(self.small + moved, first_index(END_LIST)), min(self.lists + list_of(moved), END_LIST)
        return new, Numbering(small, lists)

    def fresh(self) -> tuple[int, "Numbering"]:
        """The floor of a new realm at this path, and the numbering with nothing of it given away.

        Raises OutOfIndexes.
        """
        if self.lists >= END_LIST:
            raise OutOfIndexes
        floor = first_index(self.lists)
        return floor, Numbering(floor, self.lists)

    def skipped(self, skip: int) -> "Numbering":
        """The numbering of a path at which no realm stands, with so many lists left out."""
        lists = min(self.lists + skip, END_LIST)
        return Numbering(first_index(lists), lists)


NOTHING_ALLOTTED = Numbering(0, 0)


def list_of(index: int) -> int:
    """The number of the list that an index is in."""
    return index >> LIST_BITS


@lru_cache(maxsize=4096)  # asked for each token
def address_of(issuer: str, number: int) -> str:
    """Where a list of an issuer is, byte for byte (interface section 4)."""
    return f"{issuer}{STATUS_SUFFIX}/{number}"


def position_of(index: int) -> int:
    """Where in its list an index is: `idx` of a token's status claim."""
    return index & LIST_SIZE - 1


def place_of(index: int) -> tuple[int, int]:
    """The list that an index is in, and where in it."""
    return divmod(index, LIST_SIZE)


def first_index(number: int) -> int:
    """The first index of a list."""
    return number << LIST_BITS


def is_drawable(drawn_from: SlotRange) -> bool:
    """Whether a token can carry each index of a range; not that of one which a floor moved past the end of its path."""
    return drawn_from.begin + drawn_from.length - 1 <= MAX_INDEX


def draw(drawn_from: SlotRange, set_already: Container[int], random: bytes = b"") -> int:
    """An index of a range, at random among those that are not set.

    random: RANDOM_BYTES of which the first draw is made, where the caller has them.
    Where all are, one of them: that token is dead on arrival, and none is worse for it.
    """
    begin, length = drawn_from.begin, drawn_from.length
    mask = length - 1
    for _ in range(_DRAWS):
        # A power of two needs no rejection; secrets.randbelow() takes several times as long.
        index = begin + (int.from_bytes((random or os.urandom(_DRAW_BYTES))[:_DRAW_BYTES], "big") & mask)
        if index not in set_already:
            return index
        random = b""
    free = [index for index in range(begin, begin + length) if index not in set_already]
    return secrets.choice(free) if free else begin + secrets.randbelow(length)


def token_id(index: int, random: bytes = b"") -> str:
    """A new `jti` that carries the index: 15 random bytes, then 6 of the index; 28 characters of base64url.

    random: RANDOM_BYTES, none of whose last 15 was used for anything else.
    """
    raw = (random or os.urandom(RANDOM_BYTES))[_DRAW_BYTES:] + index.to_bytes(_INDEX_BYTES, "big")
    return binascii.b2a_base64(raw, newline=False).translate(_URL_SAFE).decode()


def index_of(jti: str) -> int:
    """The index that a `jti` carries. Raises NotATokenId for every text but what token_id() can make."""
    if len(jti) != TOKEN_ID_CHARS or not jti.isascii():
        raise NotATokenId
    try:
        raw = base64.b64decode(jti, altchars=b"-_", validate=True)
    except binascii.Error:
        raise NotATokenId from None
    if "+" in jti or "/" in jti or len(raw) != _ID_BYTES + _INDEX_BYTES:
        raise NotATokenId  # one spelling only: what is revoked is looked up by this text
    return int.from_bytes(raw[_ID_BYTES:], "big")


def is_full(set_count: int, length: int) -> bool:
    """Whether so many set indexes make a range drain."""
    return set_count * FULL_SHARE >= length


def next_length(length: int) -> int:
    """How long the range after one of this length is."""
    return min(length * GROWTH, LIST_SIZE)


def dead_from(ends: Iterable[int | None], max_lifetime: int, policy: RotationPolicy) -> int | None:
    """From when nobody accepts a token of a range or a floor any more; None while that is not in sight.

    ends: when it drained, ended, or its credential expires, as far as that is known: the first counts. After it a
    process that has not heard issues for a while, on a clock that differs, and verifiers have leeway and clocks of
    their own.
    """
    known = [end for end in ends if end is not None]
    return min(known) + max_lifetime + after_last(policy) if known else None


def after_last(policy: RotationPolicy) -> int:
    """Seconds for which tokens of a range can still be issued or accepted after its end, their lifetime aside."""
    return policy.snapshot_max_age + after_expiry(policy)


def after_expiry(policy: RotationPolicy) -> int:
    """Seconds for which an API with leeway, and a clock that is late, may accept a token that has expired."""
    return policy.verifier_leeway + 2 * policy.clock_error


LIST_TTL = 10
"""Seconds for which an API uses a list that it fetched before it fetches it again."""
LIST_LIFETIME = 600
"""Seconds from the look at the store that a list tells of to its expiry: so long an API that reaches none uses it."""
LIST_QUANTUM = 300
"""Seconds for which one text of a list that nothing happens to is served; its claims count from their beginning."""
LIST_SHARED_CACHE = 1
"""Seconds for which a shared cache may serve a list."""
FETCH_SECONDS = 1
"""The longest that the fetch of a list takes, and an API that met a failure waits before it tries again."""
STALE_LIST_FACTOR = 3
"""A process that cannot read the store serves its lists for so many refreshes."""


def faults(policy: RotationPolicy) -> list[str]:
    """What of the durations contradicts how long a status list lasts; empty when nothing does.

    One that was looked at last so long ago that it is just served must not expire while an API goes by it.
    """
    left = LIST_LIFETIME - LIST_QUANTUM - LIST_SHARED_CACHE - LIST_TTL - FETCH_SECONDS
    most = left // STALE_LIST_FACTOR
    said = f"SNAPSHOT_REFRESH must be at most {most}: lists served for {STALE_LIST_FACTOR} of them would expire"
    return [said] if policy.snapshot_refresh > most else []


@dataclass(frozen=True)
class Hearing:
    """Within how many seconds of its commit a revocation is known; at introspection at once.

    lists: at every API that reads status lists. cut_off: the same where one of several nodes does not reach the store.
    unreachable: at an API that reaches no list at all. too_early: for so long a process may go on drawing from an ended
    range, so that a fresh token of what goes on living is dead on arrival; too_early_cut_off: on a node that does not
    reach the store.
    """

    lists: int
    cut_off: int
    unreachable: int
    too_early: int
    too_early_cut_off: int


def hearing(policy: RotationPolicy) -> Hearing:
    """Who hears of a revocation, and when, by the durations in force."""
    at_the_api = LIST_SHARED_CACHE + LIST_TTL + FETCH_SECONDS
    return Hearing(
        lists=policy.snapshot_refresh + at_the_api,
        cut_off=STALE_LIST_FACTOR * policy.snapshot_refresh + at_the_api + 2 * FETCH_SECONDS,
        unreachable=LIST_LIFETIME,
        too_early=policy.snapshot_refresh,
        too_early_cut_off=policy.snapshot_max_age,
    )
