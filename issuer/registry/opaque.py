"""Opaque tokens: written before they are answered, found again by their digest; a client has so many at most."""

from issuer.opaque import MOST_LIVE, OpaqueToken
from issuer.refusals import too_many_attempts
from issuer.storage import opaque as opaque_store
from issuer.storage.engine import Database


class OpaqueTokens:
    """Nothing is held of a token here: each is written and found in the store, or the answer is that it cannot be."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, token: OpaqueToken, now: int) -> None:
        """The token is in the store when this returns; only then may its text be answered.

        Raises temporarily_unavailable (429) for a client that has MOST_LIVE already, and one of STORE_ERRORS.
        """
        with self._database.write() as connection:
            opaque_store.add(connection, token)
            count, first = opaque_store.live(connection, token.client_pk, now)
            if count > MOST_LIVE:
                raise too_many_attempts("too_many_opaque_tokens", max(first - now, 1))

    def find(self, realm_id: int, digest: bytes) -> OpaqueToken | None:
        """The token of a realm with this digest, whether it is live or not. Raises one of STORE_ERRORS."""
        with self._database.read(once=True) as connection:
            return opaque_store.find(connection, realm_id, digest)
