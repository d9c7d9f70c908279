"""How often what happened since this process started: plain numbers, handed to who counts, rendered by nobody yet."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from realmint.protocol.fork import in_forked_child

MOST = 1000
OTHERS = "others"
"""What is counted when there are MOST names already."""


class Counts:
    """A number for each name, of MOST names and OTHERS at most. A forked child starts at nothing."""

    def __init__(self) -> None:
        self._forget()
        in_forked_child(self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[str, int] = {}

    def add(self, name: str) -> None:
        """One more of `name`."""
        with self._lock:
            counted = self._counted
            if name not in counted and len(counted) >= MOST:
                name = OTHERS
            counted[name] = counted.get(name, 0) + 1

    def read(self) -> Mapping[str, int]:
        """The numbers as they stand."""
        with self._lock:
            return dict(self._counted)


@dataclass(frozen=True)
class Happened:
    """What one process counts: refusals by reason, tokens by the path of their realm."""

    refusals: Counts = field(default_factory=Counts)
    tokens: Counts = field(default_factory=Counts)
