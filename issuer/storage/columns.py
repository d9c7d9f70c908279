"""Column types of ours, and the columns of settings."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import JSON, Boolean, Column, Dialect, Integer, String
from sqlalchemy.types import TypeDecorator, TypeEngine

from issuer.setting import Kind, Setting, settings_of


class ListOf(TypeDecorator[Any]):
    """Texts, stored as a JSON list and read as a tuple or a frozenset; a set is stored in the order of its texts."""

    impl = JSON
    cache_ok = True

    def __init__(self, kind: type[tuple[str, ...]] | type[frozenset[str]]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Collection[str] | None, dialect: Dialect) -> list[str] | None:  # noqa: ARG002
        if value is None:
            return None
        return sorted(value) if isinstance(value, set | frozenset) else list(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Collection[str] | None:  # noqa: ARG002
        """None for what is no list of texts: such a row is spoilt, for no column of these may be empty."""
        whole = isinstance(value, list) and all(isinstance(each, str) for each in value)
        return self.kind(value) if whole else None

    @property
    def python_type(self) -> type[Any]:
        return self.kind


def columns_of(owner: type) -> list[Column[Any]]:
    """A column for each setting of a realm or a client."""
    return [Column(each.name, _type(each), nullable=each.default is None) for each in settings_of(owner)]


def _type(setting: Setting) -> TypeEngine[Any]:
    if setting.several:
        return ListOf(type(setting.default))
    if setting.kind is Kind.FLAG:
        return Boolean()
    return Integer() if setting.kind in (Kind.SIZE, Kind.DURATION) else String(_LONGEST[setting.kind])


_LONGEST = {Kind.CHOICE: 64, Kind.TEXT: 255}
"""Characters of a text."""
