"""How the registries GRANTS, METHODS, FORMATS and ENDPOINTS become look-ups by name."""

from collections.abc import Iterable
from typing import TypeVar

Member = TypeVar("Member")


def by_name(members: Iterable[Member], attribute: str = "NAME") -> dict[str, Member]:
    """The members by the name each declares. Raises ValueError for a repeated name."""
    named: dict[str, Member] = {}
    for member in members:
        name = getattr(member, attribute)
        if name in named:
            raise ValueError(f"two members are called {name!r}")
        named[name] = member
    return named
