"""What another process does at the worst moment: between the looks of a command and its transaction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

from tests.support.issuer import Issuer


@contextmanager
def listening(engine: Engine, name: str, function: Callable[..., None], **options: bool) -> Iterator[None]:
    """Calls `function` at each event `name` of the engine, until the block ends."""
    event.listen(engine, name, function, **options)
    try:
        yield
    finally:
        event.remove(engine, name, function)


@contextmanager
def meanwhile(issuer: Issuer, action: Callable[[], Any], times: int = 1) -> Iterator[list[int]]:
    """Just before each of the first `times` changing transactions of `issuer` begins, `action` runs to its end.

    The action is another process's: another issuer over the same database. Yields a list that grows with each run.
    """
    runs: list[int] = []

    def first(_connection: Connection, options: dict[str, Any]) -> None:
        if len(runs) < times and options.get("realmint_write"):
            runs.append(1)
            action()

    # A connection is told that it will write just before its transaction begins, which locks SQLite.
    with listening(issuer.runtime.database.engine, "set_connection_execution_options", first):
        yield runs
