"""The warm path's view: immutable realms, key sets and clients, evicted by the change log.

A known client costs no SQL. A thread asks the change log what moved, twice per SNAPSHOT_REFRESH, and drops just that
(design decision 15); nothing is loaded before it is asked for, and everything held is bounded. Where a clock was handed
in, no thread runs: then time passes only when told, and the requests themselves ask.
A realm that changed is read again by the thread that heard of it, so that what is held is what was last known.
The view before is kept for its signers: one that was opened goes on when its key-encryption key is lost
(design decision 19).
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from issuer import log, stores
from issuer.bounded import Bounded
from issuer.clients import MAX_CLIENT_ID, Client
from issuer.db import STORE_ERRORS, Database
from issuer.directory import Directory
from issuer.failures import FailureLimit
from issuer.marks import Marks
from issuer.memory import available, clients_held, realms_held
from issuer.poll import Poll
from issuer.realms import Addresses, Realm
from issuer.verifier import SecretVerifier
from keys import store as key_store
from keys.jwks import KeySet, key_set
from keys.policy import RotationPolicy
from keys.sealing import Sealer, SealingError
from realmint.protocol import Monotonic
from realmint.protocol import monotonic as system_monotonic
from realmint.protocol.fork import in_forked_child

LOOK_SECONDS = 2.0
"""For one statement of a look: a connection that went silent must be given up long before what is held is too old."""


class SnapshotTooOld(Exception):
    """The store was out of reach for so long that what this process holds may not be used any more."""


@dataclass(frozen=True)
class RealmView:
    """A realm, where it lives, and the keys it signs with."""

    realm: Realm
    addresses: Addresses
    keys: KeySet


@dataclass(frozen=True)
class _Flight:
    """A look at the store under way, which others may wait for."""

    started: float
    done: threading.Event


class _Missing:
    """Nothing is held, not even an absence."""


_MISSING = _Missing()


class Registry:
    """What one process holds of the store."""

    def __init__(
        self,
        database: Database,
        sealer: Callable[[], Sealer],
        verifier: SecretVerifier,
        failures: FailureLimit,
        *,
        base_url: str,
        policy: RotationPolicy,
        monotonic: Monotonic,
    ) -> None:
        self.marks = Marks(database)
        self._database = database
        self._monotonic = monotonic
        self._sealer = sealer
        self._verifier = verifier
        self._failures = failures
        self._base_url = base_url
        self._policy = policy
        refresh = policy.snapshot_refresh
        self._poll = Poll(self._look_shared, refresh / 2) if monotonic is system_monotonic else None
        # A thread looks: a request does so only for what may not be used any more.
        self._look_at_age = policy.snapshot_max_age if self._poll else refresh
        memory = available()
        realms = realms_held(memory)
        self._views: Bounded[RealmView | _Missing] = Bounded(realms)
        self._last_views: Bounded[RealmView | _Missing] = Bounded(realms)
        self._paths: Bounded[str | None] = Bounded(realms)
        self._clients: Bounded[Client | _Missing] = Bounded(clients_held(memory))
        # Absences are bounded apart, so that a flood of made-up names evicts nobody real.
        self._absent: Bounded[bool] = Bounded(10_000)
        self._forget()
        in_forked_child(self._forget)

    def _forget(self) -> None:
        """At first, and in a forked child: nothing was looked at, and no lock is held by a thread of the parent's."""
        self._lock = threading.Lock()
        self._flight: _Flight | None = None
        self._moment: stores.Moment | None = None
        # Over each change of what is held and of the moment it is held from: what was read before a change must not be
        # put in place after it was dropped. Never over a look at the store.
        self._holding = threading.Lock()
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._reachable = True
        self._unopened: set[str] = set()

    def close(self) -> None:
        """Ends what runs beside the requests."""
        if self._poll is not None:
            self._poll.close()
        self.marks.close()

    def realm(self, path: str, *, for_signing: bool = True) -> RealmView | None:
        """The realm at `path`, or None.

        With `for_signing`, raises SnapshotTooOld when what is held may not be used any more; without, the last
        good view is served, as JWKS and metadata are. Raises one of STORE_ERRORS when nothing is held and the
        store is out of reach.
        """
        self._keep_fresh(for_signing)
        view = self._views.get(path, _MISSING)
        if isinstance(view, RealmView):
            return view
        if self._absent.get(path, False):
            return None
        return self._load_realm(path)

    def held(self, path: str) -> RealmView | None:
        """The realm as this process last read it, if it holds it; asks nobody."""
        view = self._views.get(path, _MISSING)
        return view if isinstance(view, RealmView) else None

    def client(self, realm_id: int, client_id: str) -> Client | None:
        """The client of this name in the realm, or None. Raises one of STORE_ERRORS."""
        if len(client_id) > MAX_CLIENT_ID:
            return None  # nobody's, and not worth remembering: absences are bounded by number only
        key = (realm_id, client_id)
        client = self._clients.get(key, _MISSING)
        if isinstance(client, Client):
            return client
        if self._absent.get(key, False):
            return None
        return self._load_client(realm_id, client_id)

    def directory(self, view: RealmView, address: str | None) -> Directory:
        """The clients of one realm, for the authentication of one that asks from `address`."""
        return Directory(self.client, view.realm, self._verifier, self._failures, address)

    def age(self) -> float:
        """Seconds since the store was last read."""
        return self._monotonic() - self._read_at

    def _keep_fresh(self, for_signing: bool) -> None:
        if self._poll is not None:
            self._poll.start()
        if self.age() < self._look_at_age:
            return
        if self._monotonic() - self._tried_at >= min(self._policy.snapshot_refresh, 1):
            self._look_shared()
        if for_signing and self._moment is not None and self.age() >= self._policy.snapshot_max_age:
            raise SnapshotTooOld

    def _look_shared(self) -> None:
        """One thread asks. The others go on with what they hold while it is young; after a quiet time, in which
        nobody asked, they wait for the answer, but all of them together no longer than one refresh: a store that
        hangs must not hold up each request anew."""
        with self._lock:
            leader = self._flight is None
            flight = self._flight = self._flight or _Flight(self._monotonic(), threading.Event())
        if not leader:
            refresh = self._policy.snapshot_refresh
            if self.age() >= 2 * refresh:
                flight.done.wait(max(0, flight.started + refresh - self._monotonic()))
            return
        try:
            self._look()
            self._say(reachable=True)
        except STORE_ERRORS:
            self._say(reachable=False)
        finally:
            self._tried_at = self._monotonic()
            with self._lock:
                self._flight = None
            flight.done.set()

    def _say(self, *, reachable: bool) -> None:
        """One line when the store goes, and one when it comes back; nobody needs one a second."""
        if reachable != self._reachable:
            name, level = ("store_reachable", "INFO") if reachable else ("store_unreachable", "WARNING")
            log.event(name, snapshot_age=round(min(self.age(), 1e6)), level=level)
        self._reachable = reachable

    def _look(self) -> None:
        asked_at = self._monotonic()
        held = self._moment
        with self._database.read(within=LOOK_SECONDS) as connection:
            moment, changes = stores.changes_since(connection, held)
            fresh = self._read_again(connection, self._held_paths(changes))
        if held is not None and changes is None:
            # Somebody put an older backup in the place of the database (#188), or this process is far behind: what the
            # database says counts from now on.
            back = moment.generation <= held.generation
            name = "store_went_back" if back else "changes_missed"
            log.event(name, held=held.generation, found=moment.generation, level="ERROR" if back else "WARNING")
        with self._holding:
            if changes is None or held is None:
                # What was loaded before the first look that succeeded may have changed meanwhile, and no later look
                # would tell: it asks for changes after this one.
                self._drop_everything()
            else:
                for realm_id, client_id in changes:
                    self._drop(realm_id, client_id)
                for path, view in fresh.items():
                    self._put_realm(path, view)
            self._moment = moment
            self._read_at = asked_at

    def _read_again(self, connection: Connection, paths: Sequence[str]) -> dict[str, RealmView | None]:
        """Those of the realms that can be read; one that is spoilt is dropped, and holds no other up."""
        views: dict[str, RealmView | None] = {}
        for path in paths:
            try:
                views[path] = self._read_realm(connection, path)
            except (ValueError, TypeError, KeyError, SealingError):
                log.LOGGER.exception("realm_not_readable", extra={"realmint_fields": {"realm": path}})
        return views

    def _held_paths(self, changes: Sequence[tuple[int | None, str | None]] | None) -> list[str]:
        """The realms of `changes` that are held now, and so worth reading again at once; and those with a key that
        could not be opened, for it may have been mended without a word."""
        changed = {realm_id for realm_id, client_id in changes or () if realm_id is not None and client_id is None}
        paths = {*self._unopened, *(self._paths.get(realm_id, None) for realm_id in changed)}
        return [path for path in paths if path is not None and isinstance(self._views.get(path, _MISSING), RealmView)]

    def _drop(self, realm_id: int | None, client_id: str | None) -> None:
        if realm_id is None:
            self._drop_everything()
        elif client_id is not None:
            self._clients.discard((realm_id, client_id))
            self._absent.discard((realm_id, client_id))
        else:
            path = self._paths.get(realm_id, None)
            self._paths.discard(realm_id)
            if path is not None:
                self._views.discard(path)
            self._clients.drop(lambda key: isinstance(key, tuple) and key[0] == realm_id)
            self._absent.drop(lambda key: isinstance(key, str) or key[0] == realm_id)  # type: ignore[index]

    def _drop_everything(self) -> None:
        for held in (self._views, self._clients, self._absent):
            held.drop(lambda _: True)

    def _load_realm(self, path: str) -> RealmView | None:
        with self._database.read() as connection:
            moment = stores.now_at(connection)
            view = self._read_realm(connection, path)
        self._hold(moment, lambda: self._put_realm(path, view))
        return view

    def _read_realm(self, connection: Connection, path: str) -> RealmView | None:
        realm = stores.find_realm(connection, path)
        if realm is None:
            return None
        stored = key_store.load(connection, realm.id)
        last = self._last_views.get(path, _MISSING)
        # Of a realm that was deleted and made again under its path, nothing is kept (#204).
        previous = last.keys if isinstance(last, RealmView) and last.realm.id == realm.id else None
        keys = key_set(stored.keys, stored.generation, self._sealer(), previous)
        if not keys.unsealed:
            log.event("key_not_opened", realm=path, level="ERROR")
        for kid in keys.foreign:
            log.event("key_not_authenticated", realm=path, kid=kid, level="ERROR")
        return RealmView(realm, Addresses(self._base_url, realm.path), keys)

    def _put_realm(self, path: str, view: RealmView | None) -> None:
        self._unopened.discard(path)
        if view is None:
            self._last_views.discard(path)
            self._absent.put(path, True)
            return
        self._paths.put(view.realm.id, path)
        self._last_views.put(path, view)
        self._views.put(path, view)
        if not view.keys.unsealed:
            self._unopened.add(path)

    def _load_client(self, realm_id: int, client_id: str) -> Client | None:
        key = (realm_id, client_id)
        with self._database.read() as connection:
            moment = stores.now_at(connection)
            client = stores.find_client(connection, realm_id, client_id)
        if client is None:
            self._hold(moment, lambda: self._absent.put(key, True))
        else:
            self._hold(moment, lambda: self._clients.put(key, client))
        return client

    def _hold(self, moment: stores.Moment, put: Callable[[], None]) -> None:
        """Keeps what was read at `moment`, unless a change after it has been heard of and dropped already."""
        with self._holding:
            if self._moment is None or moment.generation >= self._moment.generation:
                put()
