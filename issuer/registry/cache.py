"""What one process holds of the store: realms, clients, and which of them do not exist. No I/O, no clock.

Everything is bounded. A change drops just what it is about. What was read before a change is never put in place after
that change was dropped: everything read carries the moment of the history that it was read at.
The view of a realm before is kept for its signers, whatever is dropped: one that was opened goes on when its
key-encryption key is lost (design decision 19).
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from issuer.clients import Client
from issuer.realms import Addresses, Realm
from issuer.registry.bounded import Bounded, Held
from issuer.storage.changes import Moment
from issuer.storage.revoked import RevokedIndex
from keys.jwks import Snapshot
from realmint.protocol.fork import in_forked_child

ABSENCES = 10_000
"""Realms, and clients, that are known not to exist."""
SET_INDEXES = 100_000
"""Revoked tokens of one realm that a process knows of; of more, new tokens may get an index of."""

Change = tuple[int | None, str | None]
"""What an entry of the change log is about: a client by the id of its realm and its name, a whole realm, or all."""


@dataclass(frozen=True)
class RealmView:
    """A realm, where it lives, and the keys it signs with.

    set_indexes: of its status slots, as far as this process has heard; it grows in place, up to SET_INDEXES. ended: it
    was deleted, and is shown still to those who hold a token of its.
    """

    realm: Realm
    addresses: Addresses
    keys: Snapshot
    set_indexes: set[int] = field(repr=False)
    ended: bool = False


class Cache:
    """At most `realms` realms and `clients` clients. A forked child begins with nothing."""

    def __init__(self, realms: int, clients: int) -> None:
        # By the realm's id, as changes name it: whatever is held, its change finds it.
        self._views: Bounded[int, RealmView] = Bounded(realms)
        self._ids: Bounded[str, int] = Bounded(realms)
        self._last_views: Bounded[str, RealmView] = Bounded(realms)
        self._clients: Bounded[tuple[int, str], Client] = Bounded(clients)
        # Absences are bounded apart, so that a flood of made-up names evicts nobody real.
        self._absent_realms: Bounded[str, RealmView | None] = Bounded(ABSENCES)
        self._absent_clients: Bounded[tuple[int, str], bool] = Bounded(ABSENCES)
        self._forget()
        in_forked_child(self._forget)

    def _forget(self) -> None:
        """At first, and in a forked child; what is bounded forgets by itself."""
        # Over each change of what is held and of the moment it is held from. Never over a look at the store.
        self._holding = threading.Lock()
        self._moment: Moment | None = None
        self._unopened: set[str] = set()

    @property
    def moment(self) -> Moment | None:
        """The newest change that was heard of; None before the first."""
        return self._moment

    def realm(self, path: str) -> RealmView | None:
        """The realm at `path`, if it is held."""
        realm_id = self._ids.get(path, None)
        return None if realm_id is None else self._views.get(realm_id, None)

    def client(self, realm_id: int, client_id: str) -> Client | None:
        """The client of this name, if it is held."""
        return self._clients.get((realm_id, client_id), None)

    def lacks_realm(self, path: str) -> bool:
        """Whether it is known that there is no realm at `path`, or none any more."""
        return self._absent_realms.get(path, False) is not False

    def ended_realm(self, path: str) -> RealmView | None:
        """The realm at `path` that was deleted, if it is held."""
        return self._absent_realms.get(path, None)

    def lacks_client(self, realm_id: int, client_id: str) -> bool:
        """Whether it is known that there is no client of this name."""
        return self._absent_clients.get((realm_id, client_id), False)

    def last_view(self, path: str) -> RealmView | None:
        """The realm at `path` as it was last held, though it may have changed since."""
        return self._last_views.get(path, None)

    def put_realm(self, read_at: Moment, path: str, view: RealmView | None) -> None:
        """Holds the realm that was read at this moment, or that there is none, unless it may have changed since."""
        self._put(read_at, lambda: self._hold_realm(path, view))

    def put_client(self, read_at: Moment, realm_id: int, client_id: str, client: Client | None) -> None:
        """Holds the client that was read at this moment, or that there is none, unless it may have changed since."""
        if client is None:
            self._put(read_at, lambda: self._absent_clients.put((realm_id, client_id), value=True))
        else:
            self._put(read_at, lambda: self._clients.put((realm_id, client_id), client))

    def worth_reading(self, changed: Sequence[Change]) -> list[str]:
        """The realms of `changed` that are held now, and so worth reading again at once; and those with a key that
        could not be opened, for it may have been mended without a word."""
        ids = {realm_id for realm_id, client_id in changed if realm_id is not None and client_id is None}
        with self._holding:
            self._unopened = {path for path in self._unopened if self.realm(path) is not None}
            held = {view.realm.path for realm_id in ids if (view := self._views.get(realm_id, None)) is not None}
            return [*self._unopened, *(held - self._unopened)]

    def absorb(
        self, moment: Moment, changed: Sequence[Change] | None, fresh: Mapping[str, RealmView | None],
        revoked: Iterable[RevokedIndex] = (),
    ) -> None:  # fmt: skip
        """Drops what changed up to `moment`, and holds those realms that were read again.

        changed: None when it cannot be told; then nothing that is held is worth anything. revoked: what was since the
        moment that was held; for that nothing is dropped.
        """
        with self._holding:
            if changed is None or self._moment is None:
                # What was loaded before the first look that succeeded may have changed meanwhile, and no later look
                # would tell: it asks for changes after this one.
                self._drop_everything()
            else:
                for realm_id, client_id in changed:
                    self._drop(realm_id, client_id)
                for path, view in fresh.items():
                    self._hold_realm(path, view)
                for each in revoked:
                    self._note_set(each)
            self._moment = moment

    def measures(self) -> tuple[Held, Held, int]:
        """How full it is of realms and of clients, and how many of either are known not to exist."""
        return self._views.measures(), self._clients.measures(), len(self._absent_realms) + len(self._absent_clients)

    def _put(self, read_at: Moment, put: Callable[[], None]) -> None:
        with self._holding:
            if self._moment is None or read_at.generation >= self._moment.generation:
                put()

    def _hold_realm(self, path: str, view: RealmView | None) -> None:
        self._unopened.discard(path)
        if view is None or view.ended:
            self._last_views.discard(path)
            self._absent_realms.put(path, view)
            return
        self._ids.put(path, view.realm.id)
        self._last_views.put(path, view)
        self._views.put(view.realm.id, view)
        if not view.keys.unsealed:
            self._unopened.add(path)

    def _note_set(self, revoked: RevokedIndex) -> None:
        view = self._views.get(revoked.realm_id, None)
        if view is not None and len(view.set_indexes) < SET_INDEXES:
            view.set_indexes.add(revoked.index)

    def _drop(self, realm_id: int | None, client_id: str | None) -> None:
        if realm_id is None:
            self._drop_everything()
        elif client_id is not None:
            self._clients.discard((realm_id, client_id))
            self._absent_clients.discard((realm_id, client_id))
        else:
            self._views.discard(realm_id)
            self._clients.drop(lambda key: key[0] == realm_id)
            self._absent_clients.drop(lambda key: key[0] == realm_id)
            self._absent_realms.clear()  # it may be a new one, whose path nobody here knows

    def _drop_everything(self) -> None:
        for held in (self._views, self._clients, self._absent_realms, self._absent_clients):
            held.clear()
