"""Engine, transactions and tables. SQLite by default, PostgreSQL for more than one node; the same statements."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from issuer import postgresql
from keys.tables import metadata
from realmint.protocol import Clock, system_clock
from realmint.protocol.fork import in_forked_child

SCHEMA = "0001"
"""The Alembic revision that this code works with."""

realms = Table(
    "realms",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", String(512), nullable=False),
    Column("path_key", String(512), nullable=False),  # lower case: realms differing only by case are refused
    Column("enabled", Boolean, nullable=False),
    Column("signing_algs", JSON, nullable=False),
    Column("rsa_bits", Integer, nullable=False),
    Column("access_token_lifetime", Integer, nullable=False),
    Column("max_access_token_lifetime", Integer, nullable=False),
    Column("default_audience", JSON, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("default_scopes", JSON, nullable=False),
    Column("grant_types", JSON, nullable=False),
    Column("token_format", String(32), nullable=False),
    Column("am_sub_prefix", Boolean, nullable=False),
    Column("has_imported_secrets", Boolean, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    sqlite_autoincrement=True,  # an id is never used again (#204)
)
Index(
    "one_realm_per_path",
    realms.c.path_key,
    unique=True,
    sqlite_where=realms.c.deleted_at.is_(None),
    postgresql_where=realms.c.deleted_at.is_(None),
)

clients = Table(
    "clients",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("realm_id", ForeignKey("realms.id"), nullable=False),
    Column("client_id", String(255), nullable=False),
    Column("name", String(255)),
    Column("enabled", Boolean, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("default_scopes", JSON, nullable=False),
    Column("audiences", JSON, nullable=False),
    Column("default_audience", JSON, nullable=False),
    Column("resource_identifiers", JSON, nullable=False),
    Column("grant_types", JSON, nullable=False),
    Column("auth_method", String(64), nullable=False),
    Column("access_token_lifetime", Integer),
    Column("signing_alg", String(16)),
    Column("token_format", String(32)),
    Column("secret_salt", LargeBinary, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    sqlite_autoincrement=True,
)
Index(
    "one_client_per_name",
    clients.c.realm_id,
    clients.c.client_id,
    unique=True,
    sqlite_where=clients.c.deleted_at.is_(None),
    postgresql_where=clients.c.deleted_at.is_(None),
)

client_secrets = Table(
    "client_secrets",
    metadata,
    Column("secret_id", String(32), primary_key=True),
    Column("client_pk", ForeignKey("clients.id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("last_used_at", BigInteger),
)

change_head = Table(
    "change_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("generation", BigInteger, nullable=False),
)
change_log = Table(
    "change_log",
    metadata,
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    # Two histories that reach the same generation, as after an older backup came back, differ in this (#188).
    Column("nonce", String(22), nullable=False),
    Column("realm_id", Integer),
    Column("client_id", String(255)),
)


SETUP_COMMANDS = ("flask db upgrade", "flask realms create /")


class SchemaMissing(Exception):
    """The database has no schema, or that of another version; `found` is its revision or None.

    The message says what to do.
    """

    def __init__(self, found: str | None, embedded: Path | None = None) -> None:
        super().__init__(_what_to_do(found) if embedded is None or found else _nothing_there(embedded))
        self.found = found

    @property
    def newer(self) -> bool:
        """Whether a later version of this program made the schema: after a rollback, say."""
        return self.found is not None and self.found > SCHEMA


def _nothing_there(embedded: Path) -> str:
    return (
        f"there is no database at {embedded}, and REALMINT_DATABASE_URL names no other; only flask run,"
        " flask db upgrade and the create commands make one there"
    )


def _what_to_do(found: str | None) -> str:
    if found is None:
        return f"the database has no schema; run: {' && '.join(SETUP_COMMANDS)}"
    if found > SCHEMA:
        return (
            f"the database's schema is at {found}, which a later version of Realmint made; this one knows {SCHEMA}."
            " Run the later version, or bring back a backup from before it"
        )
    return f"the database's schema is at {found} and this version needs {SCHEMA}; run: {SETUP_COMMANDS[0]}"


class Database:
    """One database and how this process reaches it."""

    def __init__(self, url: str | URL, clock: Clock, *, embedded: bool = False) -> None:
        self.url: URL = _with_driver(make_url(url))
        self._embedded = embedded
        self._clock = clock
        self.rehearsing = False
        # Statement parameters may be digests: never in an exception's text.
        options: dict[str, Any] = {"hide_parameters": True}
        if self.is_sqlite:
            options |= {"creator": _sqlite_opener(self.path), "poolclass": QueuePool, "max_overflow": 64}
        else:
            options |= {"pool_recycle": 1800, "pool_timeout": postgresql.POOL_SECONDS, "max_overflow": 16}
            options["connect_args"] = postgresql.CONNECT
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
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @property
    def path(self) -> Path:
        """The file of an SQLite database."""
        return Path(self.url.database or "")

    @contextmanager
    def read(self, within: float | None = None) -> Iterator[Connection]:
        """A connection with one consistent view of the data. Raises SchemaMissing when there is no file.

        within: how long one statement may take, in seconds, on PostgreSQL; `read_seconds` without it.
        """
        if self.is_sqlite and self._file() is None:
            raise self._missing(None)
        with self.engine.connect() as connection:
            if not self.is_sqlite:
                seconds = {postgresql.SECONDS_OPTION: within or self.read_seconds}
                connection.execution_options(isolation_level="REPEATABLE READ", **seconds)
            yield connection

    @contextmanager
    def write(self, within: float = postgresql.WRITE_SECONDS) -> Iterator[Connection]:
        """A transaction that is committed at the end, or rolled back when anything raises.

        within: how long one statement may take, in seconds, on PostgreSQL. While `rehearsing`, as under --dry-run, it
        is rolled back at the end too.
        """
        with self.engine.connect() as connection:
            connection.execution_options(realmint_write=True, **{postgresql.SECONDS_OPTION: within})
            with connection.begin() as transaction:
                yield connection
                if self.rehearsing:
                    transaction.rollback()

    @contextmanager
    def change(self) -> Iterator[Connection]:
        """A write by an administrator: one at a time over all nodes, so that a check before an insert holds."""
        with self.write() as connection:
            connection.execute(select(change_head).with_for_update())
            yield connection

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
            status = self.path.stat()
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
        """Which database this is, for people: without its password."""
        return str(self.path) if self.is_sqlite else self.url.render_as_string(hide_password=True)

    def create_file(self) -> None:
        """Makes an empty SQLite file, readable by its owner only, when there is none."""
        if self.is_sqlite and not self.path.exists():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))


def record_change(connection: Connection, realm_id: int | None, client_id: str | None = None) -> None:
    """Tells every process, within one SNAPSHOT_REFRESH, what this transaction changed (design decision 15).

    Called within Database.change(), whose lock makes generations commit in order, so that no poll can miss one.
    """
    bump = change_head.update().values(generation=change_head.c.generation + 1).returning(change_head.c.generation)
    generation = connection.scalar(bump)
    assert generation is not None
    row = {"generation": generation, "nonce": token_urlsafe(16), "realm_id": realm_id, "client_id": client_id}
    connection.execute(change_log.insert().values(row))
    connection.execute(change_log.delete().where(change_log.c.generation <= generation - CHANGES_KEPT))


CHANGES_KEPT = 10_000
"""Changes that stay in the log; a process further behind drops everything it holds."""


def _with_driver(url: URL) -> URL:
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _sqlite_opener(path: Path) -> Callable[[], sqlite3.Connection]:
    # mode=rw: opening must never create a database (interface section 5, first run).
    uri = f"file:{quote(str(path.absolute()))}?mode=rw"
    return lambda: sqlite3.connect(uri, uri=True, timeout=5, check_same_thread=False)


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in ("foreign_keys=ON", "busy_timeout=5000", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("realmint_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


STORE_ERRORS = (DBAPIError, PoolTimeout, SchemaMissing)
"""What a database that is out of reach or not set up raises."""
