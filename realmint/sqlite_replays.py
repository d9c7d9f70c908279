"""Marks of used proofs that the processes of a machine share, in one small SQLite file."""

import ctypes
import os
import sqlite3
from collections import deque
from pathlib import Path
from secrets import token_hex

from realmint.protocol.fork import in_forked_child

_IDLE = 16
"""Most connections that are kept while nobody uses them."""
_PAGE = 4096
_PRUNED = 5000
"""Most marks that one call prunes, so that none takes long."""

_TABLE = """
CREATE TABLE IF NOT EXISTS marks (key BLOB PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS marks_until ON marks (until);
"""
# One statement, and so one step, whoever else inserts. A mark that counts no more gives way.
_MARK = """
INSERT INTO marks VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET until = excluded.until WHERE marks.until < ?
"""
_PRUNE = "DELETE FROM marks WHERE key IN (SELECT key FROM marks WHERE until < ? LIMIT ?)"


class SQLiteReplays:
    """A replay store in the file `path`, for any number of threads and processes of one machine, and across a fork.

    wait: seconds for which a call waits while others write. max_bytes: of the file, 10,000 marks for each million;
    when it is full, a call fails, and nothing is forgotten. The file is made with the first mark, for this user alone;
    its folder has to be there, on a disk of this machine. After a power failure the last marks may be missing.

    first() raises sqlite3.Error and OSError.
    """

    def __init__(self, path: str | os.PathLike[str], *, wait: float = 1.0, max_bytes: int = 100_000_000) -> None:
        if not 0 < wait <= 10 or max_bytes < 100_000:
            raise ValueError("SQLiteReplays: wait must be up to 10 seconds, max_bytes 100000 or more")
        self._path = Path(path)
        self._wait, self._pages = wait, max_bytes // _PAGE
        self._begin()
        in_forked_child(self._forked)

    def _begin(self) -> None:
        self._idle: deque[sqlite3.Connection] = deque()
        self._open: set[sqlite3.Connection] = set()
        self._pruned = 0

    def _forked(self) -> None:
        # A parent's connection that is used in a child, or but closed there, spoils the file, says SQLite: "leak it".
        for connection in self._open:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        self._begin()

    def first(self, key: bytes, until: int, now: int) -> bool:
        """As ReplayStore says."""
        idle = self._idle
        try:
            connection = idle.pop()
        except IndexError:
            connection = self._opened()
        try:
            if now > self._pruned and connection.execute(_PRUNE, (now, _PRUNED)).rowcount < _PRUNED:
                self._pruned = now
            marked = connection.execute(_MARK, (key, until, now)).rowcount == 1
        except BaseException:
            self._close(connection)
            raise
        if len(idle) < _IDLE:
            idle.append(connection)
        else:
            self._close(connection)
        return marked

    def close(self) -> None:
        """Lets go of the file. It is opened again where it is needed."""
        while self._idle:
            self._close(self._idle.pop())

    def _close(self, connection: sqlite3.Connection) -> None:
        self._open.discard(connection)
        connection.close()

    def _opened(self) -> sqlite3.Connection:
        if not self._path.exists():
            self._create()
        connection = sqlite3.connect(self._path, self._wait, isolation_level=None, check_same_thread=False)
        self._open.add(connection)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # no wait for the disk: marks count for seconds
            connection.execute(f"PRAGMA max_page_count = {self._pages}")
            connection.executescript(_TABLE)
        except BaseException:
            self._close(connection)
            raise
        return connection

    def _create(self) -> None:
        """Puts an empty file there, of which only this user may read and write."""
        # Under another name at first: who closes a file gives up the locks that SQLite holds on it in this process.
        made = self._path.with_name(f"{self._path.name}.{token_hex(8)}")
        os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            os.link(made, self._path)
        except FileExistsError:
            pass
        finally:
            made.unlink()
