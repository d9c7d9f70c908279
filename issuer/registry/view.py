"""The warm path's view of the store: realms, key sets and clients, each immutable, dropped when they change.

A known client costs no SQL. A thread asks the change log what moved, twice per SNAPSHOT_REFRESH, and drops just that
(design decision 15); nothing is loaded before it is asked for. Where a clock was handed in, no thread runs: then time
passes only when told, and the requests themselves ask.
A realm that changed is read again by the thread that heard of it, so that what is held is what was last known.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from issuer import log
from issuer.clients import MAX_CLIENT_ID, Client
from issuer.outside.key_sources import OutsideKeys
from issuer.realms import Addresses, Realm
from issuer.registry.bounded import Held
from issuer.registry.cache import Cache, RealmView
from issuer.registry.directory import Directory
from issuer.registry.flights import Flights, NotDone
from issuer.registry.lookout import NEVER, HistoryWentBack, Lookout, Looks, SnapshotTooOld, gap
from issuer.registry.marks import Marks
from issuer.registry.memory import available, clients_held, lists_held, realms_held
from issuer.registry.opaque import OpaqueTokens
from issuer.registry.poll import Poll
from issuer.registry.reader import Reader
from issuer.registry.restored import Restored
from issuer.registry.signed_list import SignedList
from issuer.registry.single_use import SingleUse
from issuer.registry.status_lists import StatusLists
from issuer.secret_checks.failures import FailureLimit
from issuer.secret_checks.verifier import SecretVerifier
from issuer.slots import STALE_LIST_FACTOR
from issuer.storage import changes, restore
from issuer.storage import clients as client_store
from issuer.storage import revoked as revoked_store
from issuer.storage.engine import Database
from issuer.storage.revoked import RevokedIndex
from keys.policy import RotationPolicy
from keys.sealing import Sealer
from realmint.protocol import Clock, Monotonic
from realmint.protocol import monotonic as system_monotonic

__all__ = ["HistoryWentBack", "RealmView", "Registry", "RegistryMeasures", "SnapshotTooOld"]

Found = TypeVar("Found")

COLD_PATIENCE = 1.0
"""Seconds that who wants what nobody holds waits for another who is reading it already, before it reads for itself."""
LOOKS_APART = 0.5
"""Seconds between two looks that those who ask for a list that nobody knows may cause."""
LOOK_SECONDS = 2.0
"""For one statement of a look: a connection that went silent must be given up long before what is held is too old."""


@dataclass(frozen=True)
class RegistryMeasures:
    """What an operator wants to know of what this process holds.

    snapshot_age: seconds since the last good look at the store began, infinite before the first. last_good_look: that
    instant on the monotonic clock, or None. absent: realms and clients that are known not to exist. restore_pending: an
    older backup came back, and nothing is issued until somebody has seen to it.
    """

    snapshot_age: float
    last_good_look: float | None
    store_reachable: bool
    realms: Held
    clients: Held
    absent: int
    restore_pending: bool


class Registry:
    """What one process holds of the store."""

    def __init__(
        self,
        database: Database,
        sealer: Callable[[], Sealer],
        verifier: SecretVerifier,
        failures: FailureLimit,
        marks: Marks,
        outside: OutsideKeys,
        *,
        addresses: Callable[[str], Addresses],
        policy: RotationPolicy,
        clock: Clock,
        monotonic: Monotonic,
    ) -> None:
        self.marks = marks
        self.opaque = OpaqueTokens(database)
        self._database = database
        self._verifier = verifier
        self._failures = failures
        self._outside = outside
        # For as long as the clock of another node may lag, behind what any of them reckons with itself.
        self._single_use = SingleUse(database, clock, monotonic, 2 * policy.clock_error)
        memory = available()
        self._cache = Cache(realms_held(memory), clients_held(memory))
        self._lists = StatusLists(database, policy, lists_held(memory))
        self._list_age = policy.snapshot_refresh * STALE_LIST_FACTOR
        self._clock = clock
        self._monotonic = monotonic
        self._looked_at = 0
        self._looked_again = NEVER
        self._looking_again: Flights[str] = Flights()
        self._reading: Flights[str | tuple[int, str]] = Flights()
        self._restored = Restored(database)
        self._reader = Reader(addresses, sealer, self._cache.last_view)
        refresh, max_age = policy.snapshot_refresh, policy.snapshot_max_age
        self._lookout = Lookout(self._look, Looks(refresh, max_age), monotonic)
        # Where a clock was handed in, time passes only when told, and the requests themselves look.
        self._poll = Poll(self._lookout.look, refresh / 2) if monotonic is system_monotonic else None

    def served_by(self, threads: int) -> None:
        """Says how many threads of the server answer in this process: an eighth of them may make status lists."""
        self._lists.room = max(1, threads // 8)
        self._outside.served_by(threads)

    def close(self) -> None:
        """Ends what runs beside the requests; writes the marks that wait."""
        if self._poll is not None:
            self._poll.close()
        self.marks.close()
        self._outside.close()

    def realm(self, path: str, *, for_signing: bool = True) -> RealmView | None:
        """The realm at `path`, or None.

        One that was deleted is there for nobody but readers of its documents, without `for_signing`, until its last
        token has died and its keys are erased. With `for_signing`, raises SnapshotTooOld when what is held may not be
        used any more, and HistoryWentBack while nobody can tell what is right; without, the last good view is served,
        as JWKS and metadata are. Raises one of STORE_ERRORS when nothing is held and the store is out of reach.
        """
        polled = self._poll is not None and self._poll.start()
        self._lookout.keep_fresh(polled=polled, may_be_old=not for_signing)
        if for_signing:
            self._restored.check()
        cache = self._cache
        view = cache.realm(path) or cache.ended_realm(path)
        if view is None and not cache.lacks_realm(path):
            view = self._once(
                path,
                partial(self._read_realm, path),
                lambda: cache.realm(path) or cache.ended_realm(path),
                lambda: cache.lacks_realm(path),
            )
            if for_signing:
                self._restored.check()
        return None if view is not None and view.ended and for_signing else view

    def _read_realm(self, path: str) -> RealmView | None:
        with self._database.read() as connection:
            if self._cache.moment is None:  # no look succeeded yet, which would have heard of it
                self._restored.heard(restore.pending(connection))
            moment = changes.now_at(connection)
            view = self._reader.realm(connection, path)
        self._cache.put_realm(moment, path, view)
        return view

    def held(self, path: str) -> RealmView | None:
        """The realm as this process last read it, if it holds it; asks nobody."""
        return self._cache.realm(path)

    def client(self, realm_id: int, client_id: str) -> Client | None:
        """The client of this name in the realm, or None. Raises one of STORE_ERRORS."""
        if len(client_id) > MAX_CLIENT_ID or not (client_id.isascii() and client_id.isprintable()):
            return None  # nobody's, not worth remembering, and no text that every store takes (#41)
        cache = self._cache
        client = cache.client(realm_id, client_id)
        if client is None and not cache.lacks_client(realm_id, client_id):
            client = self._once(
                (realm_id, client_id),
                partial(self._read_client, realm_id, client_id),
                lambda: cache.client(realm_id, client_id),
                lambda: cache.lacks_client(realm_id, client_id),
            )
        return client

    def _read_client(self, realm_id: int, client_id: str) -> Client | None:
        with self._database.read() as connection:
            moment = changes.now_at(connection)
            client = client_store.find(connection, realm_id, client_id)
        self._cache.put_client(moment, realm_id, client_id, client)
        return client

    def _once(
        self,
        key: str | tuple[int, str],
        read: Callable[[], Found | None],
        held: Callable[[], Found | None],
        lacks: Callable[[], bool],
    ) -> Found | None:
        """What `read` reads, by one thread for all that want it now: a crowd at a cold process asks the store once.

        One whose other failed, took too long, or read what was changed meanwhile and is not held reads for itself.
        """
        found: list[Found | None] = []
        with suppress(NotDone):
            self._reading.join(key, lambda: found.append(read()), COLD_PATIENCE)
        if found:
            return found[0]
        again = held()
        return again if again is not None or lacks() else read()

    def status_list(self, view: RealmView, number: int) -> SignedList | None:
        """A status list of a realm, as it is after every change that was heard of; None where there is none.

        Of one that nobody here knows, the store is asked first: another node may have begun it a moment ago. Raises
        SnapshotTooOld, one of STORE_ERRORS, and TemporarilyUnavailableError when nothing signs.
        """
        self._lookout.keep_younger(self._list_age)
        self._restored.check()
        if not self._has_list(view.realm.id, number):
            self._look_again()
            now = self.realm(view.realm.path, for_signing=False)
            if now is None or not self._has_list(now.realm.id, number):
                if not self._lookout.reachable:
                    raise SnapshotTooOld
                return None
            view = now
        return self._lists.signed(view, number, self._looked_at)

    def status_lists(self, view: RealmView) -> Sequence[int]:
        """The numbers of the status lists that somebody may hold a live token of. Raises as status_list() does."""
        self._lookout.keep_younger(self._list_age)
        self._restored.check()
        return self._lists.numbers(view.realm.id, self._looked_at, every=True).named()

    def _has_list(self, realm_id: int, number: int) -> bool:
        looked_at = self._looked_at
        return any(number in self._lists.numbers(realm_id, looked_at, every=every) for every in (False, True))

    def _look_again(self) -> None:
        """One look for all who ask at a time, and not at once again after it."""

        def look() -> None:
            if self._monotonic() - self._looked_again >= LOOKS_APART:
                self._lookout.look_anew()
                self._looked_again = self._monotonic()

        with suppress(NotDone):
            self._looking_again.join("", look, LOOK_SECONDS)

    def use_first(self, what: str, whose: int, name: str, until: int) -> bool:
        """Whether nobody used this before, over all processes and nodes (issuer/registry/single_use.py)."""
        return self._single_use.first(what, whose, name, until)

    def directory(self, realm: Realm, address: str | None) -> Directory:
        """The clients of one realm, for the authentication of one that asks from `address`."""
        return Directory(
            self.client, realm, self._verifier, self._failures, address, self._outside, self._single_use.first
        )

    def age(self) -> float:
        """Seconds since the store was last read; infinite before the first good look."""
        return self._lookout.age()

    def measures(self) -> RegistryMeasures:
        """How this process stands with the store, now; asks nobody."""
        realms, clients, absent = self._cache.measures()
        good = self._lookout.good
        last = good if good != NEVER else None
        pending = self._restored.pending
        return RegistryMeasures(self.age(), last, self._lookout.reachable, realms, clients, absent, pending)

    def _look(self) -> None:
        """Hears of what changed, and reads again what is worth it. Raises one of STORE_ERRORS.

        Where the store's history is another than the one that is held, nothing of it is believed, and every process is
        told. What is held is published on, until somebody has seen to it.
        """
        held = self._cache.moment
        looked_at = self._clock()
        with self._database.read(within=LOOK_SECONDS) as connection:
            moment, changed = changes.since(connection, held)
            replaced = held is not None and changed is None and changes.replaced(connection, held, moment)
            ask = held is None or moment != held or self._restored.pending
            pending = restore.pending(connection) if ask else None
            touched = self._lists.touched(connection, changed)
            fresh = self._reader.readable(connection, self._cache.worth_reading(changed or ()))
            revoked: Sequence[RevokedIndex] = ()
            if held is not None and moment != held:
                revoked = revoked_store.later_than(connection, held.generation)
        if held is not None and (broken := gap(held, moment, changed, replaced=replaced)):
            if replaced:
                self._restored.noticed(broken, held, moment)
                return
            log.event(broken, held=held.generation, found=moment.generation, level="WARNING")
        # Before the keys, so that no list of before is signed with what is new.
        self._lists.heard(moment.generation, touched, revoked)
        self._cache.absorb(moment, changed, fresh, revoked)
        self._looked_at = looked_at
        # Last: whoever is served again is served what is there now.
        self._restored.heard(pending)
