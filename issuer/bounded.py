"""A mapping that forgets what was used longest ago, so that what strangers make up costs bounded memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from realmint.protocol.fork import in_forked_child

Value = TypeVar("Value")


class Bounded(Generic[Value]):
    """The most recently used values, at most `size`; `None` is a value: it remembers an absence."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._forget()
        in_forked_child(self._forget)

    def _forget(self) -> None:
        """In a forked child: a thread of the parent's may have been in the middle of a change, and holds the lock."""
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, missing: Value) -> Value:
        with self._lock:
            if key not in self._values:
                return missing
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Hashable, value: Value) -> None:
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._size:
                self._values.popitem(last=False)

    def drop(self, unwanted: Callable[[Hashable], bool]) -> None:
        with self._lock:
            for key in [key for key in self._values if unwanted(key)]:
                del self._values[key]

    def discard(self, key: Hashable) -> None:
        with self._lock:
            self._values.pop(key, None)
