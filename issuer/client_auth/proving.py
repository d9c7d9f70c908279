"""What every proof without a secret needs: keys to hold it against, and the one refusal where it proves nothing."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import NoReturn

from issuer.client_auth.method import Directory
from issuer.client_auth.nobodys import NOBODYS
from issuer.credentials.public_key import MOST_TRIED
from issuer.outside.key_sources import KeysAt, KeysOutOfReach
from issuer.refusals import ClaimedBy, TemporarilyUnavailableError, because, invalid_client, too_many_attempts
from issuer.secrets import TooManyAttempts
from realmint.protocol.jws import Unverified, VerificationKey, signed_by, verification_key

Keys = Sequence[VerificationKey]


class NotProven(Exception):
    """What was presented proves nothing. `reason` is for the log, from a closed list."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def signed_by_any(token: Unverified, keys: Keys) -> bool:
    """Whether one of these keys signed it. Where none did, as much is done as for a client that is not known (#28)."""
    if any(map(partial(signed_by, token), keys)):
        return True
    work_for_nothing(token, keys)
    return False


def find_keys(directory: Directory, at: KeysAt, token: Unverified) -> Keys:
    """The keys at an address outside that may have signed it. Raises temporarily_unavailable when nobody can tell."""
    try:
        return directory.find_keys(at, token)
    except KeysOutOfReach as error:
        raise because(TemporarilyUnavailableError(retry_after=error.retry_after), error.reason) from None


def find_keys_alike(directory: Directory, at: KeysAt, thumbprint: str, alg: str) -> Keys:
    """The keys at an address outside that one of this thumbprint may be among. Raises as find_keys() does."""
    try:
        return directory.find_keys_alike(at, thumbprint, alg)
    except KeysOutOfReach as error:
        raise because(TemporarilyUnavailableError(retry_after=error.retry_after), error.reason) from None


def work_for_nothing(token: Unverified, tried: Keys = ()) -> None:
    """The work of as many signatures as may be tried for it, less those that were, whose outcome means nothing.

    Whether a client is known, and how many keys it has, is not to be timed.
    """
    most = 1 if token.kid is not None else MOST_TRIED
    for _ in range(sum(token.alg in key.algorithms for key in tried), most):
        signed_by(token, _nobodys_key(token.alg))


def refuse(directory: Directory, client_id: str | None, reason: str, now: int) -> NoReturn:
    """The one refusal of whatever proves nothing. Raises invalid_client, or that there were too many."""
    if client_id is None:
        raise invalid_client(reason)
    with ClaimedBy(client_id):
        try:
            directory.note_failure(client_id, now)
        except TooManyAttempts as over:
            raise too_many_attempts(over.reason, over.retry_after) from None
        raise invalid_client(reason)


@lru_cache(maxsize=len(NOBODYS))
def _nobodys_key(alg: str) -> VerificationKey:
    return verification_key(NOBODYS[alg] | {"kid": "nobody's"})
