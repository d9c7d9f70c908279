"""Which routes are open though what they lead to is guarded elsewhere."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from realmint.routes import Search, key

View = Callable[..., Any]
_Method = tuple[str, list[object], list[object]]

_METHODS = frozenset({"get", "post", "head", "options", "delete", "put", "trace", "patch"})
"""What a class of views answers requests by."""


class _Entry(NamedTuple):
    """A function that a request may enter an application by."""

    function: View
    leads_to: dict[Hashable, object]
    wraps: dict[Hashable, object]
    view: dict[Hashable, object]
    """What it wraps without the methods of a class."""
    same: dict[Hashable, object]
    """What it is another name of, as far as can be told."""
    guarded_before: bool
    """Whether a guard stands among what is called before it."""
    guarded: bool

    def classes(self) -> list[type]:
        return [found for found in self.view.values() if issubclass(type(found), type)]  # type: ignore[misc]


class _OpenMethod(NamedTuple):
    view: set[Hashable]
    """What it wraps."""
    beside: dict[Hashable, object]
    """All that its class has."""


class OpenRoutes:
    """One look at all routes. guards: what any guard stands before. requirements: the decorators that guards made."""

    def __init__(
        self,
        guards: dict[Hashable, object],
        requirements: dict[Hashable, object],
        entries: Iterable[tuple[View, Sequence[View]]],
    ) -> None:
        self._search = Search()
        self._guards = guards.keys()
        self._requirements = requirements.keys()
        self._methods_of: dict[Hashable, list[_Method]] = {}
        self._entries = [self._entry(function, before) for function, before in entries]
        self._open = [entry for entry in self._entries if not entry.guarded]
        self._open_methods = [method for entry in self._entries for method in self._methods_left_open(entry)]
        self._wrapped = {found for entry in self._entries for found in entry.wraps}
        self._views = {found for entry in self._entries for found in entry.view}
        self._led_to = {found for entry in self._entries for found in entry.leads_to}

    def names(self, guarded: Iterable[View]) -> list[str]:
        """Of the `guarded` functions that are the view of no route, or of an open one too, and of methods left open."""
        found = [_name(one) for one in guarded if not self._stands_before(one)]
        for entry in self._entries:
            found += dict.fromkeys((*self._overridden(entry), *self._undecorated(entry)))
        return list(dict.fromkeys(found))

    def _entry(self, function: View, before: Sequence[View]) -> _Entry:
        wraps = self._search.inside(function, closures=False)
        guarded_before = any(self._has_guard(self._search.inside(earlier, closures=False)) for earlier in before)
        return _Entry(
            function=function,
            leads_to=self._search.inside(function),
            wraps=wraps,
            view=self._search.inside(function, closures=False, classes=False),
            same=self._search.inside(function, closures=False, classes=False, with_more=False),
            guarded_before=guarded_before,
            guarded=guarded_before or self._has_guard(wraps),
        )

    def _has_guard(self, found: Iterable[Hashable]) -> bool:
        return not self._guards.isdisjoint(found)

    def _guarded(self, functions: Iterable[object]) -> bool:
        return any(self._has_guard(self._search.inside(function, classes=False)) for function in functions)

    def _stands_before(self, guarded: View) -> bool:
        """Whether `guarded` is the view of a route, and no route is open that has the same view or that it leads to."""
        at = key(guarded)
        direct = at in self._wrapped
        if not direct and at not in self._led_to:
            return False
        # A function that only calls another looks as one that wraps it without functools.wraps may. So what `guarded`
        # may merely call counts only where a route may merely call `guarded`, too: the route it wraps is open then.
        within, views = self._search.inside(guarded, closures=not direct), self._search.wrapped(guarded)
        if any(key(entry.function) in within or not views.isdisjoint(entry.same) for entry in self._open):
            return False
        # One class may guard what it has of another that does not, but not at one of its own methods only.
        return not any(
            not views.isdisjoint(method.view) and (at in method.beside or at in self._views)
            for method in self._open_methods
        )

    def _overridden(self, entry: _Entry) -> Iterator[str]:
        """The methods of a class of views that stand, bare, in the place of guarded ones."""
        if entry.guarded_before or self._guarded([entry.function]):
            return
        for views in self._search.inside(entry.function, classes=False).values():
            if issubclass(type(views), type) and not self._dispatch_is_guarded(views):
                for name, run, hidden in self._methods(views):
                    if self._guarded(hidden) and not self._guarded(run):
                        yield f"{_name(views)}.{name}"

    def _undecorated(self, entry: _Entry) -> Iterator[str]:
        """The lists of decorators that stand, without a guard, in the place of lists with one."""
        if entry.guarded_before or self._guarded([entry.function]):
            return
        for views in entry.classes():
            for name in ("decorators", "method_decorators"):  # Flask's, Flask-RESTful's
                lists = self._search.defined(views, name)
                replaced = any(map(self._requires, lists[1:])) and not self._requires(lists[0])
                if replaced and self._bare(views):
                    yield f"{_name(views)}.{name}"

    def _requires(self, decorators: Any) -> bool:
        if type(decorators) is dict:  # Flask-RESTful's by method
            return any(map(self._requires, decorators.values()))
        return type(decorators) in {list, tuple} and any(key(one) in self._requirements for one in decorators)

    def _methods_left_open(self, entry: _Entry) -> Iterator[_OpenMethod]:
        if entry.guarded_before or self._has_guard(entry.view):
            return
        for views in entry.classes():
            for name, run in self._bare(views):
                if name in _METHODS:
                    inside = (self._search.inside(one, closures=False, classes=False, with_more=False) for one in run)
                    yield _OpenMethod(set().union(*inside), self._search.inside(views, closures=False))

    def _bare(self, views: type) -> list[tuple[str, list[object]]]:
        """What answers the requests to a class of views without a guard."""
        if self._dispatch_is_guarded(views):
            return []
        runs = {name: run for name, run, _ in self._methods(views)}
        answering = _METHODS.intersection(runs) or {"dispatch_request"}.intersection(runs)
        return [(name, runs[name]) for name in sorted(answering) if not self._guarded(runs[name])]

    def _dispatch_is_guarded(self, views: object) -> bool:
        return any(name == "dispatch_request" and self._guarded(run) for name, run, _ in self._methods(views))

    def _methods(self, views: Any) -> list[_Method]:
        if key(views) not in self._methods_of:
            self._methods_of[key(views)] = list(self._search.methods(views))
        return self._methods_of[key(views)]


def _name(function: Any) -> str:
    return f"{function.__module__}.{function.__qualname__}"
