"""What one process knows of an older backup that took the place of the database, and whom it tells (design 3.1)."""

from issuer import log
from issuer.registry.lookout import AFTER_RESTORE, HistoryWentBack
from issuer.storage import changes, restore
from issuer.storage.changes import Moment
from issuer.storage.engine import Database
from issuer.storage.restore import RestorePending


class Restored:
    """Whether it happened and nobody has seen to it yet. A forked child goes by what its parent knew until it looks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.pending = False

    def check(self) -> None:
        """Raises HistoryWentBack while it is pending."""
        if self.pending:
            raise HistoryWentBack

    def heard(self, pending: RestorePending | None) -> None:
        """What the store says of it, in a history that follows on what this process holds."""
        if pending is not None and not self.pending:
            log.event("restore_pending", held=pending.held, found=pending.found, say=AFTER_RESTORE, level="ERROR")
        elif pending is None and self.pending:
            log.event("restore_done")
        self.pending = pending is not None

    def noticed(self, event: str, held: Moment, found: Moment) -> None:
        """This process finds another history than the one it holds: it issues nothing from now on, and tells the rest.

        event: what the log calls it, once. Raises one of STORE_ERRORS where they cannot be told; this process stops all
        the same, and tries again.
        """
        if not self.pending:
            said = {"held": held.generation, "found": found.generation, "say": AFTER_RESTORE}
            log.event(event, **said, level="ERROR")
        self.pending = True
        with self._database.read() as connection:
            if restore.pending(connection) is not None:
                return
        with self._database.change() as connection:
            # Somebody may have seen to it since.
            now_found, changed = changes.since(connection, held)
            if changed is None and changes.replaced(connection, held, now_found):
                restore.note_pending(connection, held, now_found, self._database.now(connection))
