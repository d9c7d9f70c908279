"""From a row to the value it stands for. One that somebody spoilt is refused by itself (#187)."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Table


class RowSpoilt(Exception):
    """A row holds what no command of ours writes. The message says which it is, and quotes nothing of it."""


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Within it, `what` is read. Whatever cannot be made of a value that somebody put there is RowSpoilt."""
    try:
        yield
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise RowSpoilt(f"{what} cannot be read: somebody spoilt its row in the database") from error


def values_of(table: Table, names: Iterable[str], row: Any, prefix: str = "") -> dict[str, Any]:
    """The columns of a row by their names, before which it may have a prefix.

    SQLite keeps any type of value in any column. Raises TypeError for what no column of their types holds.
    """
    values = {name: getattr(row, prefix + name) for name in names}
    for name, value in values.items():
        column = table.c[name]
        if not isinstance(value, column.type.python_type) and not (value is None and column.nullable):
            raise TypeError(f"{table.name}.{name}")
    return values


def read_json(text: str | bytes) -> Any:
    """Stored JSON; None, which no column of ours holds, where it is none: that spoils its own row and not each row that
    is fetched with it."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
