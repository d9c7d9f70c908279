"""The audit of keys: one row per transition, in its transaction, each holding the hash of the one before. Pure.

A row that was changed, added or taken away breaks the chain of its realm; the newest hash stands beside the key
set, so that rows cut off at the end are noticed too. Rows name keys and people, never key material.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

FIRST = "0" * 64
"""What the first row of a realm holds as the hash of the one before."""


@dataclass(frozen=True)
class Actor:
    """Who does something, and why. `operation` is shared by all rows of one command."""

    name: str
    operation: str
    reason: str | None = None


@dataclass(frozen=True)
class Entry:
    """One transition. `at` in seconds since the epoch; `gates` as they were when it was decided."""

    realm_id: int
    seq: int
    at: int
    event: str
    kid: str
    alg: str
    from_state: str | None
    to_state: str
    generation: int
    actor: str
    operation: str
    reason: str | None
    forced: bool
    gates: Mapping[str, int]
    previous: str

    @property
    def hash(self) -> str:
        """Over every member, the hash of the row before among them."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def broken_at(entries: Sequence[tuple[Entry, str]], head: tuple[int, str]) -> int | None:
    """The first seq at which the chain of a realm does not hold, or None.

    entries: each with the hash that is stored for it, oldest first. head: seq and hash that the key set names.
    """
    previous = FIRST
    for number, (entry, stored) in enumerate(entries, 1):
        if entry.seq != number or entry.previous != previous or entry.hash != stored:
            return number
        previous = stored
    return None if (len(entries), previous) == head else len(entries) + 1
