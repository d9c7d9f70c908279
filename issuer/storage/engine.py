"""Engine and transactions. SQLite by default, PostgreSQL for more than one node; the same statements."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, event, func, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import IsolationLevel
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from issuer.database_url import shown
from issuer.storage import postgresql
from issuer.storage.revision import SCHEMA, SchemaMissing
from issuer.storage.rows import read_json
from issuer.storage.tables import change_head
from issuer.waiting import about_to_wait
from realmint.protocol import Clock, system_clock
from realmint.protocol.fork import in_forked_child


class Database:
    """One database and how this process reaches it."""

    def __init__(self, url: str | URL, clock: Clock, *, embedded: bool = False) -> None:
        self.url: URL = _with_driver(make_url(url))
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._file_name = self.url.database or ""
        self._embedded = embedded
        self._clock = clock
        # Statement parameters may be digests: never in an exception's text.
        options: dict[str, Any] = {"hide_parameters": True, "json_deserializer": read_json}
        if self.is_sqlite:
            options |= {"creator": _sqlite_opener(self.path), "poolclass": QueuePool, "max_overflow": 64}
        else:
            options |= {"pool_recycle": 1800, "pool_timeout": postgresql.POOL_SECONDS, "max_overflow": 16}
            options["connect_args"] = postgresql.CONNECT | postgresql.only_primary(self.url)
        self.read_seconds = postgresql.READ_SECONDS
        self.engine = create_engine(self.url, **options)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "connect", self._note_file)
            event.listen(self.engine, "checkout", self._check_file)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            postgresql.bound_every_wait(self.engine)
        in_forked_child(self._forget_connections)

    def _forget_connections(self) -> None:
        """In a forked child: they are its parent's, which goes on using them."""
        self.engine.dispose(close=False)

    @property
    def path(self) -> Path:
        """The file of an SQLite database."""
        return Path(self.url.database or "")

    @contextmanager
    def read(self, within: float | None = None, *, once: bool = False) -> Iterator[Connection]:
        """A connection with one consistent view of the data. Raises SchemaMissing when there is no file.

        within: how long one statement may take, in seconds, on PostgreSQL; `read_seconds` without it. once: for a
        single statement, which has such a view by itself: no transaction is begun, and none waited for to end.
        """
        about_to_wait()
        if self.is_sqlite and self._file() is None:
            raise self._missing(None)
        with self.engine.connect() as connection:
            if not self.is_sqlite:
                seconds = {postgresql.SECONDS_OPTION: within or self.read_seconds}
                isolation: IsolationLevel = "AUTOCOMMIT" if once else "REPEATABLE READ"
                connection.execution_options(isolation_level=isolation, **seconds)
            elif once:
                connection.execution_options(realmint_once=True)
            yield connection

    @contextmanager
    def write(self, within: float = postgresql.WRITE_SECONDS) -> Iterator[Connection]:
        """A transaction that is committed at the end, or rolled back when anything raises.

        within: how long one statement may take, in seconds, on PostgreSQL.
        """
        about_to_wait()
        with self.engine.connect() as connection:
            connection.execution_options(realmint_write=True, **{postgresql.SECONDS_OPTION: within})
            with connection.begin():
                yield connection

    @contextmanager
    def change(self, *, rehearse: bool = False) -> Iterator[Connection]:
        """A write by an administrator: one at a time over all nodes, so that a check before an insert holds.

        rehearse: everything is done, and rolled back at the end.
        """
        with self.write() as connection:
            connection.execute(select(change_head).with_for_update())
            yield connection
            if rehearse:
                connection.rollback()

    def now(self, connection: Connection) -> int:
        """The time of a transaction: the server's clock where nodes share a server, else this machine's.

        A clock that was handed in is always the one that counts (design decision 17).
        """
        if self.is_sqlite or self._clock is not system_clock:
            return self._clock()
        return int(connection.scalar(select(func.floor(func.extract("epoch", func.clock_timestamp())))) or 0)

    def _note_file(self, _connection: object, record: ConnectionPoolEntry) -> None:
        record.info["file"] = self._file()

    def _check_file(self, _connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        """Lets go of a connection to a file that another has taken the place of, as a backup that was put back has.

        It would read what nobody else sees, for as long as the process lives (#188).
        """
        if record.info["file"] != self._file():
            raise DisconnectionError

    def _file(self) -> tuple[int, int] | None:
        """Which file is at the path; None for none, or where the folder cannot be read now."""
        try:
            status = os.stat(self._file_name)  # noqa: PTH116 - each introspection asks twice; a Path costs ten times more
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def check_schema(self) -> None:
        """Raises SchemaMissing unless the schema is the one this code works with."""
        with self.read() as connection:
            if not self.engine.dialect.has_table(connection, "alembic_version"):
                raise self._missing(None)
            found = connection.scalar(text("SELECT version_num FROM alembic_version"))
        if found != SCHEMA:
            raise self._missing(found)

    def _missing(self, found: str | None) -> SchemaMissing:
        return SchemaMissing(found, self.path if self._embedded else None)

    def shown(self) -> str:
        """Which database this is, for people: without any secret."""
        return str(self.path) if self.is_sqlite else shown(self.url)

    def create_file(self) -> None:
        """Makes an empty SQLite file, readable by its owner only, when there is none."""
        if self.is_sqlite and not self.path.exists():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))


def _with_driver(url: URL) -> URL:
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _sqlite_opener(path: Path) -> Callable[[], sqlite3.Connection]:
    # mode=rw: opening must never create a database (interface section 5, first run).
    uri = f"file:{quote(str(path.absolute()))}?mode=rw"
    return lambda: sqlite3.connect(uri, uri=True, timeout=5, check_same_thread=False)


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    # Any bytes may stand in a column of text: they spoil the row they are in, and not each statement that meets it.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    for pragma in ("foreign_keys=ON", "busy_timeout=5000", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("realmint_once"):
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("realmint_write") else "BEGIN")


class NameTaken(Exception):
    """A live realm or client of this name, or of one that differs only by case, exists; the message names it."""


STORE_ERRORS = (DBAPIError, PoolTimeout, SchemaMissing)
"""What a database that is out of reach or not set up raises."""
