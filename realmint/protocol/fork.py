"""What a forked child must not take over from its parent: locks that a thread of the parent's holds, threads that are
not there, sockets whose answers the parent reads too.
"""

import os
import weakref
from collections.abc import Callable
from itertools import count
from types import MethodType
from typing import Any, cast

_numbers = count()
_forget: dict[int, tuple[weakref.ref[Any], Callable[[Any], Any]]] = {}
"""In the order in which they came. What was told to the interpreter itself would stay for as long as the process."""


def in_forked_child(forget: Callable[[], Any]) -> None:
    """Calls the bound method `forget` in every child that this process, or one of its children, forks.

    It runs before anything else of the child does, in its only thread, and for as long as its object lives: the object
    is not kept alive by this, and leaves nothing behind.
    """
    method, number, kept = cast("MethodType", forget), next(_numbers), _forget
    kept[number] = (weakref.ref(method.__self__, lambda _: kept.pop(number, None)), method.__func__)


def _in_child() -> None:
    for reference, forget in list(_forget.values()):
        alive = reference()
        if alive is not None:
            forget(alive)


os.register_at_fork(after_in_child=_in_child)
