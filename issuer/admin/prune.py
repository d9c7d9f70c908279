"""What is dead for good goes, while traffic flows: in batches, each a short transaction, told and audited."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from issuer import log
from issuer.admin.change import Administration
from issuer.admin.realms import erase_keys
from issuer.storage import opaque as opaque_store
from issuer.storage import prune as prune_store
from issuer.storage import realms as realm_store
from issuer.storage import status_lists, used_once
from issuer.storage.prune import Kind
from keys import store as key_store
from keys.audit import Actor
from keys.audit_log import note
from keys.policy import read_clock
from keys.rotation import check_clock

BATCH = 500
"""Rows taken in one transaction, for whose length no other change is made."""
FOUND = 20 * BATCH
"""Rows found at a time, before that."""


@dataclass
class Pruned:
    """How many rows went, by what they were."""

    counts: Counter[str] = field(default_factory=Counter)

    def shape(self) -> Mapping[str, int]:
        """Every kind, with its number."""
        return {name: self.counts[name] for name in NAMES}


REALMS, OPAQUE, USED_ONCE = "deleted_realms", "opaque_tokens", "used_once"
NAMES = (*(kind.name for kind in prune_store.KINDS), OPAQUE, USED_ONCE, REALMS)
Progress = Callable[[Pruned], None]


def prune(administration: Administration, actor: Actor, progress: Progress, *, rehearse: bool = False) -> Pruned:
    """Rows that nothing asks for any more go, and the keys of realms that were deleted once their last token has died.

    progress: called after each batch. Raises GateNotMet where the clock cannot be believed, of what is taken by then
    nothing is taken back; LostRace, SealingError and one of STORE_ERRORS. rehearse: what is there now is counted.
    """
    database, pruned = administration.database, Pruned()
    if rehearse:
        return _countable(administration)
    for kind in prune_store.KINDS:
        while (rows := _find(administration, kind)) and _take(administration, kind, rows, pruned, progress, actor):
            pass
    for name, prune_batch in _OF_NO_REALM.items():
        while (taken := _batch(administration, prune_batch)) > 0:
            pruned.counts[name] += taken
            progress(pruned)
    pruned.counts[REALMS] += len(erase_keys(administration, actor))  # which audits each
    with database.change() as connection:
        now = _instant(administration, connection)
        key_store.observe(connection, now, 2 * administration.policy.rotation_interval)
    said: dict[str, Any] = {name: number for name, number in pruned.counts.items() if number}
    if said:
        log.event("changed", what="pruned", **said)
    return pruned


def _countable(administration: Administration) -> Pruned:
    """What would go now."""
    database, pruned = administration.database, Pruned()
    with database.read() as connection:
        now = _instant(administration, connection)
        for kind in prune_store.KINDS:
            pruned.counts[kind.name] += len(kind.find(connection, now, administration.policy, None))
        pruned.counts[OPAQUE] += opaque_store.count_expired(connection, now)
        pruned.counts[USED_ONCE] += used_once.count_over(connection, now)
        for realm in realm_store.every_ended(connection):
            if not status_lists.live(connection, realm.id, now, administration.policy).below:
                pruned.counts[REALMS] += 1
    return pruned


def _find(administration: Administration, kind: Kind) -> prune_store.Rows:
    """Some that are dead. Nobody's change waits meanwhile, though every row there is may be looked at."""
    with administration.database.read() as connection:
        return kind.find(connection, _instant(administration, connection), administration.policy, FOUND)


def _take(
    administration: Administration, kind: Kind, rows: prune_store.Rows, pruned: Pruned, progress: Progress, actor: Actor
) -> bool:
    """Takes them, for what was dead is dead still, and tells the audit of each batch as it goes, so that whoever is
    killed between two has told of the first; whether there may be more."""
    for first in range(0, len(rows), BATCH):
        batch = rows[first : first + BATCH]
        with administration.database.change() as connection:
            now = _instant(administration, connection)
            kind.take(connection, batch)
            if kind.of_realms:
                _note(connection, kind, batch, actor, now)
        pruned.counts[kind.name] += len(batch)
        if len(batch) == BATCH:
            progress(pruned)
    return len(rows) == FOUND


def _note(connection: Connection, kind: Kind, rows: prune_store.Rows, actor: Actor, now: int) -> None:
    paths = realm_store.ever(connection)
    for realm_id, number in Counter(row[0] for row in rows).items():
        note(connection, realm_id, "pruned", paths.get(realm_id, ""), actor, now=now, details={kind.name: number})


_OF_NO_REALM: Mapping[str, Callable[[Connection, int, int], int]] = {
    OPAQUE: opaque_store.prune_opaque,
    USED_ONCE: used_once.prune,
}


def _batch(administration: Administration, prune_batch: Callable[[Connection, int, int], int]) -> int:
    """No process holds any of them, so none is told, and no administrator's change waits."""
    with administration.database.write() as connection:
        return prune_batch(connection, _instant(administration, connection), BATCH)


def _instant(administration: Administration, connection: Connection) -> int:
    """What the clock tells. Raises GateNotMet when it leapt, so that what lives seems dead, or fell back."""
    told = administration.database.now(connection)
    reading = read_clock(told, key_store.newest_watermark(connection), administration.policy)
    check_clock(reading, automatic=True, force=False)
    return told
