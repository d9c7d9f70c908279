"""How a realm is read from the store, with its keys opened.

One statement each for the realm, its keys, and which of its tokens were revoked.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection
from sqlalchemy.exc import DataError

from issuer import log
from issuer.realms import Addresses
from issuer.registry.cache import SET_INDEXES, RealmView
from issuer.storage import realms as realm_store
from issuer.storage import revoked as revoked_store
from issuer.storage.engine import STORE_ERRORS
from keys import store as key_store
from keys.jwks import snapshot_of
from keys.sealing import Sealer


class Reader:
    """Reads realms. `addresses`: where the one at a path lives; `last`: its view before, for what was opened then."""

    def __init__(
        self,
        addresses: Callable[[str], Addresses],
        sealer: Callable[[], Sealer],
        last: Callable[[str], RealmView | None],
    ) -> None:
        self._addresses = addresses
        self._sealer = sealer
        self._last = last

    def realm(self, connection: Connection, path: str) -> RealmView | None:
        """The realm at `path`, also one that was deleted while its keys are there, or None.

        Raises SealingError without a key-encryption key, one of STORE_ERRORS, and anything for a row that is spoilt.
        """
        realm, ended = realm_store.find(connection, path), False
        if realm is None:
            realm, ended = realm_store.find_ended(connection, path), True
        if realm is None:
            return None
        stored = key_store.load(connection, realm.id)
        last = self._last(path)
        # Of a realm that was deleted and made again under its path, nothing is kept (#204).
        previous = last.keys if last is not None and last.realm.id == realm.id else None
        keys = snapshot_of(stored.keys, stored.generation, self._sealer(), previous)
        if not keys.unsealed:
            log.event("key_not_opened", realm=path, level="ERROR")
        for kid in keys.foreign:
            log.event("key_not_authenticated", realm=path, kid=kid, level="ERROR")
        set_indexes = set(revoked_store.of_realm(connection, realm.id, SET_INDEXES))
        return RealmView(realm, self._addresses(realm.path), keys, set_indexes, ended)

    def readable(self, connection: Connection, paths: Sequence[str]) -> dict[str, RealmView | None]:
        """Those of the realms that can be read; one that is spoilt is left out, and holds no other up.

        Raises one of STORE_ERRORS when the fault is not a realm's.
        """
        views: dict[str, RealmView | None] = {}
        for path in paths:
            try:
                views[path] = self.realm(connection, path)
            except DataError:
                _say_not_readable(path)
                break  # a server may have ended the transaction over it; the others are read when they are asked for
            except STORE_ERRORS:
                raise
            except Exception:  # noqa: BLE001 - whatever somebody wrote into its rows (#187)
                _say_not_readable(path)
        return views


def _say_not_readable(path: str) -> None:
    log.LOGGER.exception("realm_not_readable", extra={"realmint_fields": {"realm": path}})
