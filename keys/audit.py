"""The audit of a realm: one row per change, in its transaction, each holding the hash of the one before. Pure.

A row is a transition of a key, or an administrative change of the realm or of one of its clients; both stand in one
chain. A row that was changed, added or taken away breaks it; the newest hash stands beside the key set, so that rows
cut off at the end are noticed too. Rows name keys, clients and people, never key material and no secrets.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

BEFORE_FIRST = (-1, "0" * 64)
"""What stands before the first row of a realm: its seq, which is one less than 0, and its hash."""


@dataclass(frozen=True)
class Actor:
    """Who does something, and why. `operation` is shared by all rows of one command."""

    name: str
    operation: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row. `at` in seconds since the epoch.

    A transition of a key has kid to gates, the gates as they were when it was decided; an administrative change has
    target, a client_id or the realm's path, and details. What a row does not have is None.
    """

    realm_id: int
    seq: int
    at: int
    event: str
    kid: str | None = None
    alg: str | None = None
    from_state: str | None = None
    to_state: str | None = None
    generation: int | None = None
    forced: bool | None = None
    gates: Mapping[str, int] | None = None
    target: str | None = None
    details: Mapping[str, Any] | None = None
    actor: str
    operation: str
    reason: str | None
    previous: str

    @property
    def of_key(self) -> bool:
        """Whether this is a transition of a key."""
        return self.kid is not None

    @property
    def hash(self) -> str:
        """Over every member, the hash of the row before among them."""
        # A value that none of ours has, as SQLite takes into any column, makes another hash and no error.
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), default=repr)
        return hashlib.sha256(text.encode()).hexdigest()


def broken_at(entries: Sequence[tuple[Entry, str]], head: tuple[int, str]) -> int | None:
    """The first seq at which the chain of a realm does not hold, or None.

    entries: each with the hash that is stored for it, oldest first. head: seq and hash that the key set names.
    """
    seq, previous = BEFORE_FIRST
    for entry, stored in entries:
        seq += 1
        if entry.seq != seq or entry.previous != previous or entry.hash != stored:
            return seq
        previous = stored
    if (seq, previous) == head:
        return None
    return (min(seq, head[0]) if isinstance(head[0], int) else seq) + 1  # SQLite takes any value into any column
