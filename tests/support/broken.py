"""A database whose N-th call fails: each statement, the one that begins a transaction included, and each commit."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from issuer.storage.engine import Database


class Broken:
    """The calls of one thread to `database`; `calls` were made within the last block, `commits` among them.

    Those of the thread that writes down what was used, now and then, are not counted.
    """

    def __init__(self, database: Database) -> None:
        self._engine = database.engine
        self._error = self._engine.dialect.loaded_dbapi.OperationalError("disk I/O error")
        self._fails_at = 0
        self.calls = 0
        self.commits: list[int] = []

    @contextmanager
    def at(self, call: int, *, unheard: bool = False) -> Iterator["Broken"]:
        """Within the block the call of this number fails. unheard: a commit is carried out before it does (#191)."""
        self.calls, self._fails_at, self.commits = 0, call, []
        self._thread = threading.get_ident()
        commit = self._unheard if unheard else self._commit
        event.listen(self._engine, "do_execute", self._execute)
        event.listen(self._engine, "commit", commit)
        try:
            yield self
        finally:
            event.remove(self._engine, "do_execute", self._execute)
            event.remove(self._engine, "commit", commit)

    def _fails(self, *, commit: bool = False) -> bool:
        if threading.get_ident() != self._thread:
            return False
        self.calls += 1
        self.commits += [self.calls] * commit
        return self.calls == self._fails_at

    def _execute(self, *_: Any) -> None:
        if self._fails():
            raise self._error

    def _commit(self, _connection: Connection) -> None:
        if self._fails(commit=True):
            raise OperationalError("COMMIT", None, self._error)

    def _unheard(self, connection: Connection) -> None:
        if self._fails(commit=True):
            connection.connection.commit()
            raise OperationalError("COMMIT", None, self._error)
