"""How this process talks to PostgreSQL: so that a pooler in between can pass it on, and waiting for nothing for ever.

No startup parameter but those that PgBouncer knows, no server-side prepared statement, nothing that lasts longer than a
transaction: transaction pooling works. Every wait has a deadline on our side (issuer/deadline.py, #190).
"""

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

from issuer.deadline import Deadlines
from realmint.protocol import monotonic

CONNECT: dict[str, Any] = {
    "connect_timeout": 2,
    # A peer that is gone is noticed on a connection that nobody waits on, too.
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 5000,
    "prepare_threshold": None,
}
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


def bound_every_wait(engine: Engine) -> None:
    """A connection that goes silent costs whoever waits on it seconds, and is then replaced with all of its age."""
    waits = _Waits(engine)
    # Before the dialect's own listener, which asks a first connection for its version and settings.
    event.listen(engine, "connect", waits.connected, insert=True)
    for name in ("checkout", "checkin", "close", "close_detached", "handle_error"):
        event.listen(engine, name, getattr(waits, name))
    event.listen(engine, "before_cursor_execute", waits.asking)
    event.listen(engine, "after_cursor_execute", waits.answered)
    for name in ("commit", "rollback"):
        event.listen(engine, name, waits.ending)


class _Waits:
    """The listeners: a deadline begins with each wait and ends with the answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._deadlines = Deadlines()

    def connected(self, connection: Any, _record: object) -> None:
        self._begin(connection, READ_SECONDS)

    def checkout(self, connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        self._end(connection)
        if monotonic() - record.info.get("used_at", float("-inf")) < FRESH_SECONDS:
            return
        self._begin(connection, PING_SECONDS)
        try:
            self._engine.dialect.do_ping(connection)
        except self._engine.dialect.loaded_dbapi.Error as error:
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

    def ending(self, connection: Connection) -> None:
        """COMMIT or ROLLBACK; the connection comes back to the pool when it is answered."""
        if not connection.invalidated:
            self._begin(connection.connection.dbapi_connection, WRITE_SECONDS)

    def _begin(self, connection: Any, seconds: float) -> None:
        if not connection.closed:
            self._deadlines.begin(id(connection), connection.fileno(), seconds)

    def _end(self, connection: Any) -> None:
        self._deadlines.end(id(connection))
