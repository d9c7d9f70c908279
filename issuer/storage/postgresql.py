"""How this process talks to PostgreSQL: so that a pooler in between can pass it on, and waiting for nothing for ever.

No startup parameter but those that PgBouncer knows, no server-side prepared statement, nothing that lasts longer than a
transaction: transaction pooling works. Every wait has a deadline on our side (deadline.py, #190).
"""

import socket
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import InvalidatePoolError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from issuer.storage.deadline import Deadlines
from issuer.storage.hosts import CONNECT_SECONDS, Hosts
from realmint.lookups import Resolve
from realmint.protocol import monotonic
from realmint.protocol.threads import StartThread, start_daemon

CONNECT: dict[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    # A peer that is gone is noticed on a connection that nobody waits on, too.
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 5000,
    "prepare_threshold": None,
}
SESSION = "target_session_attrs"
POOL_SECONDS = 2
"""Longest wait for a connection of the pool, all of which may be waiting themselves."""
PING_SECONDS = 1.5
FRESH_SECONDS = 1.0
"""A connection that was of use so lately is not asked whether it still is."""
READ_SECONDS = 4.0
"""For a request: with a ping or a new connection before it, no more than five."""
COMMAND_SECONDS = 60.0
WRITE_SECONDS = 15.0
"""Waiting for another administrator's change is no fault."""
UPGRADE_SECONDS = 3600.0
SECONDS_OPTION = "realmint_seconds"
"""The execution option that says how long a statement may take, READ_SECONDS without it."""


def only_primary(url: URL) -> dict[str, str]:
    """What to say beside CONNECT: never a standby, which lags, so that what was revoked is active there (#194).

    A URL may ask for more than that, and not for less.
    """
    return {SESSION: "read-write" if url.query.get(SESSION) == "read-write" else "primary"}


def bound_every_wait(
    engine: Engine,
    *,
    first_seconds: float = READ_SECONDS,
    start_thread: StartThread = start_daemon,
    resolve: Resolve = socket.getaddrinfo,
) -> None:
    """A connection that goes silent costs whoever waits on it seconds, and is then replaced with all of its age. Where
    a wait cannot be bounded, one of STORE_ERRORS is raised instead.

    first_seconds: how long the first answers on a new connection may take, all of them together.
    """
    event.listen(engine, "do_connect", Hosts(resolve, start_thread).connect)
    waits = _Waits(engine, first_seconds, start_thread)
    # Before the dialect's own listener, which asks a first connection for its version and settings.
    event.listen(engine, "connect", waits.connected, insert=True)
    for name in ("checkout", "checkin", "close", "close_detached", "handle_error", "commit", "rollback"):
        event.listen(engine, name, getattr(waits, name))
    event.listen(engine, "before_cursor_execute", waits.asking)
    event.listen(engine, "after_cursor_execute", waits.answered)


class Unbounded(OperationalError):
    """A wait is not begun, since the process can have no thread or no descriptor to end it with, or none to wait by."""

    def __init__(self, error: OSError) -> None:
        super().__init__("", None, error)


class _Waits:
    """The listeners: a deadline begins with each wait and ends with the answer."""

    def __init__(self, engine: Engine, first_seconds: float, start_thread: StartThread) -> None:
        self._engine = engine
        self._first_seconds = first_seconds
        self._deadlines = Deadlines(start_thread)

    def connected(self, connection: Any, _record: object) -> None:
        self._begin(connection, self._first_seconds)

    def checkout(self, connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        self._end(connection)
        if monotonic() - record.info.get("used_at", float("-inf")) < FRESH_SECONDS:
            return
        self._begin(connection, PING_SECONDS)
        try:
            self._engine.dialect.do_ping(connection)
        except OSError as error:
            raise Unbounded(error) from error
        except self._engine.dialect.loaded_dbapi.Error as error:
            if "used_at" not in record.info:
                raise  # it was just made, and another will be no better
            # What was made before it went the same way will be as dead: the pool starts anew.
            raise InvalidatePoolError from error
        finally:
            self._end(connection)

    def checkin(self, connection: Any, record: ConnectionPoolEntry) -> None:
        self._end(connection)
        record.info["used_at"] = monotonic()

    def close(self, connection: Any, _record: ConnectionPoolEntry) -> None:
        self._end(connection)

    def close_detached(self, connection: Any) -> None:
        self._end(connection)

    def asking(self, connection: Connection, cursor: Any, *_: object) -> None:
        self._begin(cursor.connection, connection.get_execution_options().get(SECONDS_OPTION, READ_SECONDS))

    def answered(self, _connection: Connection, cursor: Any, *_: object) -> None:
        self._end(cursor.connection)

    def handle_error(self, context: ExceptionContext) -> None:
        cursor: Any = getattr(context, "cursor", None)  # there is none where no connection could be made
        if cursor is not None:
            self._end(cursor.connection)
        if isinstance(context.original_exception, OSError):
            # The driver lets out what the system says of its waiting, and nobody knows how far it came.
            context.is_disconnect = True
            raise Unbounded(context.original_exception)

    def commit(self, connection: Connection) -> None:
        """Before it; the connection comes back to the pool when it is answered."""
        if not connection.invalidated:
            self._begin(connection.connection.dbapi_connection, WRITE_SECONDS)

    def rollback(self, connection: Connection) -> None:
        """Before it. One that could not be bounded is left to the server, which rolls back what is hung up on."""
        try:
            self.commit(connection)
        except Unbounded as error:
            connection.invalidate(error)

    def _begin(self, connection: Any, seconds: float) -> None:
        """Raises Unbounded."""
        if connection.closed:
            return
        try:
            self._deadlines.begin(id(connection), connection.fileno(), seconds)
        except OSError as error:
            raise Unbounded(error) from error

    def _end(self, connection: Any) -> None:
        self._deadlines.end(id(connection))
