"""Presented secrets are checked here. The work for one depends on its shape alone, known client or not."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from issuer.secret_checks.remembered import Remembered
from issuer.secret_checks.slow_lane import ROOM, SlowLane
from issuer.secrets import MAX_PRESENTED, SALT_BYTES, Kind, Secret, TooManyAttempts, argon2id, is_generated
from realmint.protocol.fork import in_forked_child

_NOBODYS = Secret("", Kind.IMPORTED, 0, 0, 0, None, b"")
"""Looked for where there is no imported secret, so that as much is done as where there is one; it has ended."""


class SecretVerifier:
    """Checks presented secrets. One per process; slow checks run one at a time.

    Counts of digest and Argon2 runs are public, since tests compare work, not time (#29). They are of this process
    alone, as is that of slow checks which were refused because too many waited.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._forget_counts()
        in_forked_child(self._forget_counts)
        self._lane = SlowLane(room)
        self._remembered = Remembered()
        self._dummy_salt = secrets.token_bytes(SALT_BYTES)

    def _forget_counts(self) -> None:
        self.digest_runs = 0
        self.argon2_runs = 0
        self.slow_refused = 0

    def slow_waiting(self) -> int:
        """How many slow checks wait for their turn now."""
        return self._lane.waiting()

    def served_by(self, threads: int) -> None:
        """Says how many threads of the server answer in this process: slow checks leave a quarter of them free."""
        self._lane.room = max(1, threads * 3 // 4)

    def verify(
        self, presented: str, stored: Sequence[Secret], salt: bytes, *, slow_allowed: bool, now: int, origin: str = ""
    ) -> Secret | None:
        """The live secret among `stored` that `presented` is, or None.

        `slow_allowed`: a slow check may be run, since the realm holds an imported secret and the caller is within its
        limits. `origin`, by whom such checks take turns. Raises TooManyAttempts when one is needed and too many wait
        already.
        """
        raw = presented.encode("utf-8", "surrogateescape")
        if is_generated(presented):
            self.digest_runs += 1
            return _match(hashlib.sha256(raw).digest(), Kind.GENERATED, stored, now)
        if len(raw) > MAX_PRESENTED:
            return None
        imported = [secret for secret in stored if secret.kind is Kind.IMPORTED] or [_NOBODYS]
        found = self._known(raw, imported, now)
        if found is not None or not slow_allowed:
            return found
        # One run, real or dummy: the imported secrets of a client share its salt.
        try:
            return self._lane.run(origin, lambda: self._verify_slowly(raw, imported, salt or self._dummy_salt, now))
        except TooManyAttempts:
            self.slow_refused += 1
            raise

    def _verify_slowly(self, raw: bytes, imported: Sequence[Secret], salt: bytes, now: int) -> Secret | None:
        # Others may have been waiting with the same secret: the first of them has answered for all.
        found = self._known(raw, imported, now)
        if found is None:
            self.argon2_runs += 1
            found = _match(argon2id(raw, salt), Kind.IMPORTED, imported, now)
            if found is not None:
                self._remembered.add(_identity(found), raw)
        return found

    def _known(self, raw: bytes, imported: Sequence[Secret], now: int) -> Secret | None:
        found = None
        for secret in imported:
            if self._remembered.holds(_identity(secret), raw) and secret.live(now):
                found = secret
        return found


def _identity(secret: Secret) -> bytes:
    """Its row as it is now: one that is changed in any way has to be proven anew."""
    return f"{secret.secret_id}\0{secret.version}\0".encode() + secret.digest


def _match(digest: bytes, kind: Kind, stored: Sequence[Secret], now: int) -> Secret | None:
    found = None
    compared = False
    for secret in stored:
        if secret.kind is kind:
            compared = True
            if hmac.compare_digest(secret.digest, digest) and secret.live(now):
                found = secret
    if not compared:
        hmac.compare_digest(digest, b"\0" * len(digest))
    return found
