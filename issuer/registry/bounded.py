"""A mapping that forgets what was used longest ago, so that what strangers make up costs bounded memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from realmint.protocol.fork import in_forked_child

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Default = TypeVar("Default")


@dataclass(frozen=True)
class Held:
    """How full a mapping is: `count` values of at most `size`; `evicted`, how many were forgotten for want of room."""

    count: int
    size: int
    evicted: int


class Bounded(Generic[Key, Value]):
    """The most recently used values, at most `size`."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._forget()
        in_forked_child(self._forget)

    def _forget(self) -> None:
        """In a forked child: a thread of the parent's may have been in the middle of a change, and holds the lock."""
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._evicted = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key, missing: Default) -> Value | Default:
        with self._lock:
            try:
                self._values.move_to_end(key)
            except KeyError:
                return missing
            return self._values[key]

    def put(self, key: Key, value: Value) -> None:
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._size:
                self._values.popitem(last=False)
                self._evicted += 1

    def items(self) -> list[tuple[Key, Value]]:
        """All that is held now, what was used longest ago first."""
        with self._lock:
            return list(self._values.items())

    def drop(self, unwanted: Callable[[Key], bool]) -> None:
        with self._lock:
            for key in [key for key in self._values if unwanted(key)]:
                del self._values[key]

    def discard(self, key: Key) -> None:
        with self._lock:
            self._values.pop(key, None)

    def clear(self) -> None:
        with self._lock:
            self._values.clear()

    def measures(self) -> Held:
        """How full it is now, and what it has forgotten in this process."""
        return Held(len(self._values), self._size, self._evicted)
