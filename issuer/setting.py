"""What a setting of a realm or a client is. Each is said once, as a field of its dataclass (realms.py, clients.py).

From that line follow its column (storage/columns.py), its option and help (cli/setting_options.py), the check of what
is given (admin/given.py), its default, and its member in JSON and `show`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """How a setting is given, checked and stored."""

    CHOICE = "one of a registry's names"
    CHOICES = "several of them, in an order that counts"
    SIZE = "one of some numbers"
    DURATION = "seconds"
    SCOPES = "scope values"
    AUDIENCES = "what may stand in a token's aud"
    FLAG = "yes or no"
    TEXT = "one line for people"


@dataclass(frozen=True)
class Setting:
    """`choices` names the registry that a choice is from, which stands on a higher floor; `default` is its value where
    nothing is said, None where the realm's counts."""

    name: str
    kind: Kind
    default: Any
    option: str
    help: str | None
    choices: str

    @property
    def several(self) -> bool:
        """Whether it is a list, whose option repeats."""
        return self.kind in (Kind.CHOICES, Kind.SCOPES, Kind.AUDIENCES)

    def value(self, given: Any) -> Any:
        """A list that was given, as the dataclass holds it; anything else as it is."""
        return type(self.default)(given) if self.several else given


def setting(default: Any, kind: Kind, option: str, help: str | None = None, *, choices: str = "") -> Any:  # noqa: A002
    """A field that is a setting."""
    return field(default=default, metadata={"kind": kind, "option": option, "help": help, "choices": choices})


def settings_of(owner: type) -> tuple[Setting, ...]:
    """The settings among the fields of a dataclass, in their order."""
    return tuple(Setting(each.name, default=each.default, **each.metadata) for each in fields(owner) if each.metadata)


def defaults_of(owner: type) -> Mapping[str, Any]:
    """Every setting as it is where nothing is said."""
    return {each.name: each.default for each in settings_of(owner)}


def shape_of(owner: Any) -> dict[str, Any]:
    """The settings of a realm or a client as JSON shows them."""
    shown = {each.name: getattr(owner, each.name) for each in settings_of(type(owner))}
    return {name: listed(value) for name, value in shown.items()}


def listed(value: Any) -> Any:
    """A value as JSON has it: a list for a tuple, a sorted one for a set, anything else as it is."""
    if isinstance(value, frozenset):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value
