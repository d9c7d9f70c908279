"""What a forked child must not take over from its parent: locks that a thread of the parent's holds, threads that are
not there, sockets whose answers the parent reads too.
"""

import os
import weakref
from collections.abc import Callable
from typing import Any


def in_forked_child(forget: Callable[[], Any]) -> None:
    """Calls the bound method `forget` in every child that this process, or one of its children, forks.

    It runs before anything else of the child does, in its only thread, and for as long as its object lives: the object
    is not kept alive by this.
    """
    reference = weakref.WeakMethod(forget)

    def call() -> None:
        alive = reference()
        if alive is not None:
            alive()

    os.register_at_fork(after_in_child=call)
