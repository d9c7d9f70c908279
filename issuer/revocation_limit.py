"""How many tokens a client, and all clients of a realm, may revoke in a second, over all processes of a node.

Each takes the one lock of the change log: without a limit one client could keep every administrator, and every other
client, from it.
"""

from pathlib import Path

from issuer.secret_checks.shared import SharedCounters

PER_CLIENT = 50
PER_REALM = 200
WAIT = 1
"""Seconds after which one that is over its limit may try again."""
_APART = 8
"""Seconds that are counted apart, so that a request which comes late wipes out no count of a later second."""


class RevocationLimit(SharedCounters):
    """Counts revocations in windows of a second. The file at `path` is opened on the first.

    As bounded as its table: a name shares a counter with one in 65,536 others.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "revocations")

    def admits(self, realm_id: int, client_id: str, now: int) -> bool:
        """Counts one more revocation at `now` by a client of a realm; whether it is within both limits.

        A client over its own takes nothing of its realm's.
        """
        window = now % 2**32
        within = f"{now % _APART}\0{realm_id}".encode()
        if self._add(within + b"\0" + client_id.encode("utf-8", "surrogateescape"), window, now) > PER_CLIENT:
            return False
        return self._add(within, window, now) <= PER_REALM
