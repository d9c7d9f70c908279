"""How much a database does for something, in its own units, which are the same on a busy machine as on an idle one.

SQLite: STEPS steps of its virtual machine. PostgreSQL: rows that were visited, in tables and by indexes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event, text

from issuer.storage.engine import Database

STEPS = 20
_VISITED = "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) FROM pg_stat_xact_user_tables"


class Work:
    """`done`: what was done within counting(), in transactions that ended."""

    def __init__(self, database: Database) -> None:
        self.done = 0
        self._database = database

    @contextmanager
    def counting(self) -> Iterator["Work"]:
        self.done = 0
        engine = self._database.engine
        if self._database.is_sqlite:
            # After the pool has handed it out, so that it counts whichever connection is used.
            listeners = [("checkout", self._count_steps), ("checkin", _count_no_more)]
        else:
            # A session's counts go on over its transactions, until it has told them to the server.
            listeners = [("begin", self._begin), ("commit", self._end), ("rollback", self._end)]
        for listener in listeners:
            event.listen(engine, *listener)
        try:
            yield self
        finally:
            for listener in listeners:
                event.remove(engine, *listener)

    def _step(self) -> int:
        self.done += 1
        return 0

    def _count_steps(self, connection: Any, *_: object) -> None:
        connection.set_progress_handler(self._step, STEPS)

    def _begin(self, connection: Connection) -> None:
        self.done -= _visited(connection)

    def _end(self, connection: Connection) -> None:
        self.done += _visited(connection)


def _visited(connection: Connection) -> int:
    with connection.connection.cursor() as cursor:  # the driver's own, so that no listener of ours hears of it
        cursor.execute(_VISITED)
        return int(cursor.fetchone()[0])


def _count_no_more(connection: Any, *_: object) -> None:
    if connection is not None:
        connection.set_progress_handler(None, STEPS)


def analyze(database: Database) -> None:
    """What PostgreSQL does by itself within a minute."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
