"""Whether one function leads to another: what frameworks and decorators wrap around what was guarded."""

from collections.abc import Callable, Iterator
from typing import Any

_DEEPEST = 12
"""Layers of wrapping that are looked through."""


def reaches(entry: object, wanted: Callable[..., Any], *, through_closures: bool = True) -> bool:
    """Whether `entry` is `wanted`, or wraps it: functools.wraps, partial, a closure, a method or a class of views.

    A closure may hold what a function wraps and just as well what it only calls; `through_closures` counts both.
    """
    seen: set[int] = set()
    layer = [entry]
    for _ in range(_DEEPEST):
        if any(found is wanted for found in layer):
            return True
        seen |= {id(found) for found in layer}
        inside = (inner for found in layer for inner in _inside(found, closures=through_closures))
        layer = [inner for inner in inside if callable(inner) and id(inner) not in seen]
    return False


def _inside(found: Any, *, closures: bool) -> Iterator[Any]:
    for name in ("__wrapped__", "__func__", "func", "view_class"):
        inner = getattr(found, name, None)
        if inner is not None:
            yield inner
    for cell in (getattr(found, "__closure__", None) or ()) if closures else ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    if isinstance(found, type):  # a class of views: its methods
        for base in found.__mro__[:-1]:
            yield from vars(base).values()
