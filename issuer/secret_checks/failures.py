"""How often client authentication fails: per client id, and per client id and address, over all processes of a node.

Over the limit of a client id, the work for wrong secrets ends but for what each address has a limit of its own for, so
that its right secret is still accepted, from elsewhere at the least.
"""

from pathlib import Path

from issuer.secret_checks.shared import SharedCounters
from issuer.secrets import TooManyAttempts

WINDOW = 60
"""Seconds that failures are counted over."""


class FailureLimit(SharedCounters):
    """Counts failures; `per_minute` 0 turns it off. The file at `path` is opened on the first failure."""

    def __init__(self, path: Path, per_minute: int) -> None:
        self._limit = per_minute
        self.over_limit = 0
        """How many wrong secrets were answered as one too many, in this process."""
        super().__init__(path, "failures")

    def wait(self, realm_id: int, client_id: str, now: int, origin: str | None = None) -> int:
        """Seconds until failures of this client id are looked at again; 0 when it is within the limit.

        With `origin`, an address, those that were noted from there.
        """
        if self._limit == 0 or self._untouched:
            return 0
        count = self._read(_name(realm_id, client_id, origin), now // WINDOW, now)
        return WINDOW - now % WINDOW if count >= self._limit else 0

    def note(self, realm_id: int, client_id: str, now: int, origin: str | None = None) -> None:
        """One more failure of this client id; with `origin`, of this client id from there."""
        if self._limit > 0:
            self._add(_name(realm_id, client_id, origin), now // WINDOW, now)

    def refusal(self, wait: int) -> TooManyAttempts:
        """What answers one more wrong secret over the limit, counted; `wait` is in seconds."""
        self.over_limit += 1
        return TooManyAttempts("failures_over_limit", wait)

    def _forget_file(self) -> None:
        super()._forget_file()
        self.over_limit = 0


def _name(realm_id: int, client_id: str, origin: str | None) -> bytes:
    # What anybody may say comes last: in an assertion it is any text, and with whatever is in it no two are the same.
    where = "" if origin is None else f"@{origin}"
    return "\0".join((str(realm_id), where, client_id)).encode("utf-8", "surrogateescape")
