"""The change log, by which every process hears of what an administrator changed (design decision 15)."""

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any

from sqlalchemy import Connection, select

from issuer.storage.tables import change_head, change_log, revoked_tokens

CHANGES_KEPT = 10_000
"""Changes that stay in the log; a process further behind drops everything it holds."""


def record_change(connection: Connection, realm_id: int | None, client_id: str | None = None) -> int:
    """Tells every process, within one SNAPSHOT_REFRESH, what this transaction changed (design decision 15).

    Called within Database.change(), whose lock makes generations commit in order, so that no poll can miss one.
    Returns the generation. One that the row of a revoked token bears is about that token alone.
    """
    return record_changes(connection, [(realm_id, client_id)])


def record_changes(connection: Connection, changed: Sequence[tuple[int | None, str | None]]) -> int:
    """As record_change() for each, in as few statements as for one; the last generation. `changed` is not empty."""
    before = now_at(connection).generation
    generation = before + len(changed)
    connection.execute(change_head.update().where(_THE_HEAD).values(generation=generation))
    rows = [
        {"generation": number, "nonce": token_urlsafe(16), "realm_id": realm_id, "client_id": client_id}
        for number, (realm_id, client_id) in enumerate(changed, before + 1)
    ]
    connection.execute(change_log.insert(), rows)
    connection.execute(change_log.delete().where(change_log.c.generation <= generation - CHANGES_KEPT))
    return generation


@dataclass(frozen=True)
class Moment:
    """A point in the history of changes; `nonce` tells two histories apart that have come equally far."""

    generation: int
    nonce: str | None


def now_at(connection: Connection) -> Moment:
    """The newest change; as the log tells it where somebody spoilt the head (#187)."""
    newest = select(change_head.c.generation, change_log.c.nonce).outerjoin(
        change_log, change_log.c.generation == change_head.c.generation
    )
    row = connection.execute(newest.where(_THE_HEAD)).first()
    if row is None or not isinstance(row.generation, int):
        rows = connection.execute(select(change_log.c.generation, change_log.c.nonce).order_by(change_log.c.generation))
        row = next((row for row in reversed(rows.all()) if isinstance(row.generation, int)), None)
    return Moment(row.generation, row.nonce) if row is not None else Moment(0, None)


def since(connection: Connection, held: Moment | None) -> tuple[Moment, list[tuple[int | None, str | None]] | None]:
    """The newest change, and what changed after `held`; None when the log does not reach back, or is another's.

    Of a change that revoked a token nothing is told here: who wants it asks storage/revoked.py.
    """
    head = now_at(connection)
    if held is None or head == held:
        return head, []
    found = connection.execute(
        select(change_log, revoked_tokens.c.jti.is_not(None).label("token_only"))
        .outerjoin(revoked_tokens, revoked_tokens.c.generation == change_log.c.generation)
        .where(change_log.c.generation >= held.generation)
        .order_by(change_log.c.generation)
    ).all()
    same = held == Moment(0, None) or any(Moment(row.generation, row.nonce) == held for row in found[:1])
    rows = [row for row in found if isinstance(row.generation, int) and held.generation < row.generation]
    # The log is pruned from its old end; a gap there, one of a row that was spoilt, or a generation that went back,
    # means: drop everything.
    if not same or not rows or (rows[0].generation, rows[-1].generation) != (held.generation + 1, head.generation):
        return head, None
    if len(rows) != head.generation - held.generation:
        return head, None
    return head, [_about(row.realm_id, row.client_id) for row in rows if not row.token_only]


def replaced(connection: Connection, held: Moment, found: Moment) -> bool:
    """Whether the history `found` here is another than that of `held`, of which since() told that nothing follows.

    So it is where an older backup took the place of the database, or a replica that lagged (#188). A history that came
    no further than `held` and does not end in it is another; of one that came further, the log tells, as far as it
    reaches back.
    """
    if found.generation <= held.generation:
        return True
    mark = connection.scalar(select(change_log.c.nonce).where(change_log.c.generation == held.generation))
    return mark is not None and mark != held.nonce


def _about(realm_id: Any, client_id: Any) -> tuple[int | None, str | None]:
    """What a row of the log is about; everything, where SQLite let somebody put a value there that names nothing."""
    named = isinstance(realm_id, int | None) and isinstance(client_id, str | None)
    return (realm_id, client_id) if named and _UNREADABLE not in (client_id or "") else (None, None)


_THE_HEAD = change_head.c.id == 1
_UNREADABLE = "\ufffd"
"""What bytes that are no text are read as."""
