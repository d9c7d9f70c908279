"""That an older backup took the place of the database, until somebody saw to it (design 3.1)."""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from issuer.storage.changes import Moment, now_at, record_change
from issuer.storage.tables import change_head, change_log, restore_pending

GENERATIONS_A_SECOND = 1 << 20
"""More changes than any database ever makes: a number of these since the epoch is above every one that was lost."""


@dataclass(frozen=True)
class RestorePending:
    """A process that held the change `held` found another history, which had come to `found`."""

    held: int
    found: int
    noticed_at: int


def pending(connection: Connection) -> RestorePending | None:
    """What a process noticed, until it is cleared."""
    columns = (restore_pending.c.held, restore_pending.c.found, restore_pending.c.noticed_at)
    row = connection.execute(select(*columns)).first()
    return RestorePending(*row) if row is not None else None


def note_pending(connection: Connection, held: Moment, found: Moment, now: int) -> None:
    """For every process, and for those that start later. Called within Database.change(); one row, whoever comes.

    It is a change as others are, so that who follows this history hears that there is something to read.
    """
    if pending(connection) is None:
        row = {"id": 1, "held": held.generation, "found": found.generation, "noticed_at": now}
        connection.execute(insert(restore_pending).values(row))
        record_change(connection, None)


def begin_anew(connection: Connection, now: int) -> int:
    """Nothing is pending, and the change log begins at a generation above every one that there ever was; which.

    Called within Database.change(). Whoever holds a moment of a history that was lost finds no change that follows on
    it, as one far behind does, and drops everything.
    """
    lost = pending(connection)
    highest = max(now_at(connection).generation, lost.held if lost else 0, now * GENERATIONS_A_SECOND)
    connection.execute(delete(restore_pending))
    connection.execute(delete(change_log))
    connection.execute(update(change_head).where(change_head.c.id == 1).values(generation=highest))
    return record_change(connection, None)
