"""Whether one function leads to another: what frameworks and decorators wrap around what was guarded.

No code of a stranger runs here. What a view closes over, or a class of views holds, may be a proxy that connects to
something, raises, or has every attribute that it is asked for.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from inspect import CO_VARARGS, CO_VARKEYWORDS
from threading import Lock
from types import CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodType
from typing import Any, NamedTuple
from weakref import WeakSet

_DEEPEST = 12
"""Layers of closures that are looked through."""

_MOST_OF_ONE = 1000
"""Objects that are looked at from one function on, the nearest first."""

_MOST = 200_000
"""Objects that are looked at in one search; from then on, _LEAST from each function on."""

_LEAST = 50

_MRO = type.__dict__["__mro__"].__get__
_DICT = type.__dict__["__dict__"].__get__
"""A class's own, whatever its metaclass says."""


class Marks:
    """Functions that are remembered for as long as others need them. Threads may add some while another one reads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._marked: WeakSet[Callable[..., Any]] = WeakSet()

    def add(self, function: Callable[..., Any]) -> None:
        with self._lock:
            self._marked.add(function)

    def all(self) -> dict[Hashable, object]:
        """All of them by their keys, which stand for them as long as this lives."""
        with self._lock:
            return {key(one): one for one in self._marked}


class _Seen(NamedTuple):
    """One object, and what it leads to."""

    found: object  # kept alive: its key is its address
    wrapped: tuple[object, ...]
    with_more: bool  # it makes something else of what it wraps, perhaps, by what its closure holds beside
    parts: tuple[object, ...]
    held: tuple[object, ...]
    defined: tuple[object, ...]


class Search:
    """Looks at every object once. What is found stands for as long as nothing is decorated or registered."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, _Seen] = {}
        self._looked = 0

    def inside(
        self, entry: object, *, closures: bool = True, classes: bool = True, with_more: bool = True
    ) -> dict[Hashable, object]:
        """`entry` and all that it wraps: functools.wraps, partial, a method or a class of views; by their keys.

        A closure may hold what a function wraps and just as well what it only calls; `closures` counts both. `classes`
        counts the methods of a class, those of its bases that it overrides too. `with_more` counts what a decorator's
        function that is not named after it passes arguments on to, though it holds other things, too.
        """
        found: dict[Hashable, object] = {key(entry): entry}
        layer, depth = [entry], 0
        most = _MOST_OF_ONE if self._looked < _MOST else _LEAST
        while layer and len(found) < most and (depth < _DEEPEST or not closures):
            following: dict[Hashable, object] = {}
            for one in layer:
                if len(found) + len(following) >= most:
                    break
                seen = self._look(one)
                inner = seen.parts if seen.with_more and not with_more else seen.wrapped + seen.parts
                inner += (seen.held if closures else ()) + (seen.defined if classes else ())
                following |= {key(each): each for each in inner[:most]}
            layer = [each for at, each in following.items() if at not in found]
            found |= following
            depth += 1
        self._looked += len(found)
        return found

    def wrapped(self, function: object) -> set[Hashable]:
        """The keys of `function` and of all that it wraps by functools.wraps, or passes its arguments on to."""
        keys: set[Hashable] = set()
        layer: tuple[object, ...] = (function,)
        while layer and key(layer[0]) not in keys:
            keys.add(key(layer[0]))
            layer = self._look(layer[0]).wrapped
        return keys

    def methods(self, views: type) -> Iterator[tuple[str, list[object], list[object]]]:
        """Of every name in a class: the functions that a call of it runs, and those of bases that none of them runs."""
        bases = [base for base in _mro(views) if base is not object]
        for name in dict.fromkeys(name for base in bases for name in _dict(base)):
            at = [position for position, base in enumerate(bases) if name in _dict(base)]
            defined = [_dict(bases[position])[name] for position in at]
            if not _can_be_called(defined[0]):  # `get = None` takes a method away
                continue
            run = 1
            while run < len(at) and self._calls_a_base(defined[run - 1], name, bases[at[run - 1] + 1 :]):
                run += 1
            yield name, defined[:run], defined[run:]

    @staticmethod
    def defined(views: type, name: str) -> list[object]:
        """What a class and its bases have by that name, the one that counts first."""
        return [_dict(base)[name] for base in _mro(views) if name in _dict(base)]

    def _look(self, found: object) -> _Seen:
        at = key(found)
        if at not in self._seen:
            self._seen[at] = _looked_at(found)
        return self._seen[at]

    def _calls_a_base(self, method: object, name: str, bases: Sequence[type]) -> bool:
        # The compiler gives a function that says `super` the cell `__class__`; Base.get(self) says the name of the
        # base, or of a variable that holds it. getattr(super(), "get") says the method's as a string.
        a_base = {"__class__", "super"} | {base.__name__ for base in bases}
        addresses = {id(base) for base in bases}
        for function in self.inside(method, classes=False).values():
            if type(function) is FunctionType and name in (said := _said(function.__code__)):
                held = [*_held(function), *(function.__globals__.get(one) for one in said)]
                if not a_base.isdisjoint(said) or not addresses.isdisjoint(map(id, held)):
                    return True
        return False


def key(function: object) -> Hashable:
    """The same for the same function. A bound method is made anew whenever it is asked for."""
    return (id(function.__self__), id(function.__func__)) if type(function) is MethodType else id(function)


def _looked_at(found: object) -> _Seen:
    wrapped = _kept(found, "__wrapped__")
    parts = (part for name in ("__func__", "func", "view_class") for part in _kept(found, name))
    held: tuple[object, ...] = ()
    with_more = False
    if type(found) is FunctionType:
        held = tuple(filter(_can_be_called, _held(found)))
        with_more = not wrapped and len(found.__closure__ or ()) > 1
        wrapped = wrapped or _passed_on(found, held)
    defined: tuple[object, ...] = ()
    if issubclass(type(found), type):
        of_bases = (one for base in _mro(found) if base is not object for one in list(_dict(base).values()))
        defined = tuple(filter(_can_be_called, of_bases))
    return _Seen(found, wrapped, with_more, tuple(parts), held, defined)


def _kept(found: object, name: str) -> tuple[object, ...]:
    """What `found` itself keeps by that name: in its dict, in a slot or in C, as partial, staticmethod and wrapt do."""
    kind = type(found)
    by_class = next((_dict(base)[name] for base in _mro(kind) if name in _dict(base)), None)
    if by_class is not None and type(by_class) not in (MemberDescriptorType, GetSetDescriptorType):
        return ()
    if any("__wrapped_factory__" in _dict(base) for base in _mro(kind)):  # wrapt's lazy proxies: asking makes it
        return ()
    with suppress(AttributeError, ValueError):  # never filled, or not yet
        kept = object.__getattribute__(found, name)
        return (kept,) if _can_be_called(kept) else ()
    return ()


def _passed_on(function: FunctionType, held: tuple[object, ...]) -> tuple[object, ...]:
    """What a decorator's function without functools.wraps stands before: the one callable that it holds.

    A view that only calls another one looks much the same; but it takes what its route says, and no *args or **kwargs,
    and stands beside the other in the function that makes the application.
    """
    if (
        len(held) != 1
        or issubclass(type(held[0]), type)
        or not function.__code__.co_flags & (CO_VARARGS | CO_VARKEYWORDS)
    ):
        return ()
    beside = function.__code__.co_qualname.rpartition(".")[0] + "."
    return () if type(held[0]) is FunctionType and held[0].__qualname__.startswith(beside) else held


def _held(function: FunctionType) -> Iterator[object]:
    # Flask's own view of a class holds what the class's decorators made of it, which wraps it, and not it them.
    if function.__code__.co_qualname == "View.as_view.<locals>.view":
        return
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # not filled yet
            yield cell.cell_contents


def _said(code: CodeType) -> set[str]:
    """The names and strings in a function's code, and in those inside it."""
    said: set[str] = {*code.co_names, *code.co_freevars}
    for constant in code.co_consts:
        if type(constant) is CodeType:
            said |= _said(constant)
        elif type(constant) is str:
            said.add(constant)
    return said


def _can_be_called(found: object) -> bool:
    """As a function, or as what a class makes something else of, such as a method."""
    return callable(found) or any("__get__" in _dict(base) for base in _mro(type(found)))


def _mro(of: Any) -> tuple[type, ...]:
    found: tuple[type, ...] = _MRO(of)
    return found


def _dict(of: type) -> Any:
    return _DICT(of)
