"""What names of keys that nobody knows may cause: few fetches, few waits, and none for a name just looked for. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

PROBES = 2
PROBE_WINDOW = 10.0
"""At most so many fetches in any so many seconds, whether they succeed or fail."""
ABSENT = 256
ABSENT_LIFE = 60.0
"""So many names that a good answer lacked are remembered, for so many seconds or until the set changes."""
JOINERS = 8
"""How many callers with such a name wait for one fetch of another's while all is well: each holds a thread."""
_NONE_ABSENT: Mapping[str, float] = MappingProxyType({})


class Probing(NamedTuple):
    """What names that are not in the set have caused. spent: when they last caused a fetch. joined: who waits."""

    spent: tuple[float, ...] = ()
    absent: Mapping[str, float] = _NONE_ABSENT
    joined: int = 0

    def left(self, now: float) -> bool:
        """Whether another fetch may be made."""
        return len(self.spent) < PROBES or now - self.spent[0] >= PROBE_WINDOW

    def spend(self, now: float) -> "Probing":
        return self._replace(spent=(*self.spent, now)[-PROBES:])

    def is_absent(self, kid: str, now: float) -> bool:
        """Whether a good answer lacked this name lately."""
        return now - self.absent.get(kid, float("-inf")) < ABSENT_LIFE

    def found_absent(self, kid: str, now: float) -> "Probing":
        others = {other: at for other, at in self.absent.items() if other != kid and now - at < ABSENT_LIFE}
        newest = list(others.items())[-(ABSENT - 1) :]
        return self._replace(absent={**dict(newest), kid: now})

    def join(self) -> "Probing | None":
        """With one more who waits for the flight under way; None where enough do."""
        return self._replace(joined=self.joined + 1) if self.joined < JOINERS else None

    def landed(self, *, changed: bool) -> "Probing":
        """After a flight, which may have changed the set."""
        return self._replace(joined=0, absent={} if changed else self.absent)
