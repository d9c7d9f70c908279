"""The status lists that one process holds: read when they are asked for, and signed anew before they are served.

What is decided is pure, in held_list, signed_list and status_bits. A list that a change touches is never served as it
was before, once this process has heard of the change: it is read again first, or, where tokens were revoked, their
bits are set.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy import Connection

from issuer.refusals import TemporarilyUnavailableError, because
from issuer.registry.bounded import Bounded
from issuer.registry.cache import Change, RealmView
from issuer.registry.flights import Flights, Key, NotDone
from issuer.registry.held_list import HeldList, Signing, as_read
from issuer.registry.lookout import SnapshotTooOld
from issuer.registry.signed_list import SignedList, quantum_of
from issuer.registry.status_bits import bits_of
from issuer.slots import address_of, list_of
from issuer.storage import changes, status_lists
from issuer.storage.engine import STORE_ERRORS, Database
from issuer.storage.revoked import RevokedIndex
from issuer.storage.status_lists import LiveLists
from keys.policy import RotationPolicy
from realmint.protocol.fork import in_forked_child
from realmint.protocol.jws import Signer

MANY_CLIENTS = 500
"""Of more that changed at once it is not asked in which lists they are."""
ROOM = 4
"""Lists that are made at a time unless told otherwise: what packing one costs others is a thread and its processor."""
_TRIES = 5
_PATIENCE = 5.0
"""Seconds to wait for another thread that makes what is wanted."""

ListKey = tuple[int, int]
"""The id of a realm, and the number of a list."""


@dataclass(frozen=True)
class Touched:
    """What changes may have touched: every list of some realms, and some lists of others."""

    realms: Collection[int]
    lists: Collection[ListKey]

    def __contains__(self, key: ListKey) -> bool:
        return key[0] in self.realms or key in self.lists


@dataclass(frozen=True)
class _Numbers:
    """Which lists a realm has, as of a quantum of time, for lists die of age alone. stale: there may be more by now."""

    quantum: int
    lists: LiveLists
    stale: bool


class StatusLists:
    """At most `size` lists, and the numbers of the lists of as many realms. A forked child begins with nothing."""

    def __init__(self, database: Database, policy: RotationPolicy, size: int) -> None:
        self._database = database
        self._policy = policy
        self._lists: Bounded[ListKey, HeldList] = Bounded(size)
        self._numbers: Bounded[int, _Numbers] = Bounded(size)
        self._making: Flights[ListKey] = Flights()
        self._counting: Flights[int] = Flights()
        self.room = ROOM
        self._forget()
        in_forked_child(self._forget)

    def _forget(self) -> None:
        # Over each change of what is held and of the generation it is held from. Never over I/O.
        self._holding = threading.Lock()
        self._heard = -1
        self._being_made = 0

    def touched(self, connection: Connection, changed: Sequence[Change] | None) -> Touched | None:
        """What these changes may have touched, for heard(); None for everything."""
        if changed is None or any(realm_id is None for realm_id, _ in changed):
            return None
        realms = {realm_id for realm_id, client_id in changed if realm_id is not None and client_id is None}
        named = {(realm_id, name) for realm_id, name in changed if realm_id is not None and name is not None}
        if len(named) > MANY_CLIENTS:
            return Touched(realms | {realm_id for realm_id, _ in named}, ())
        return Touched(realms, status_lists.of_clients(connection, named) if named else ())

    def heard(self, generation: int, touched: Touched | None, revoked: Iterable[RevokedIndex]) -> None:
        """From now on, nothing is served as it was before these changes, of which `generation` is the last."""
        bits: dict[ListKey, list[RevokedIndex]] = {}
        for each in revoked:
            if not isinstance(each.index, int) or not isinstance(each.generation, int):
                continue  # somebody wrote it there, and it keeps nobody from hearing of the others (#187)
            bits.setdefault((each.realm_id, list_of(each.index)), []).append(each)
        with self._holding:
            self._heard = generation
            for key, held in self._lists.items():
                # What was read after all of them knows them already; where history went back, nothing is known.
                if touched is None or (key in touched and held.read_at < generation):
                    self._lists.put(key, held.no_more())
                elif key in bits:
                    self._lists.put(key, held.with_bits(bits[key]))
            grown = {*touched.realms, *(realm_id for realm_id, _ in touched.lists)} if touched is not None else None
            for realm_id, numbers in self._numbers.items():
                if grown is None or realm_id in grown:
                    self._numbers.put(realm_id, replace(numbers, stale=True))

    def numbers(self, realm_id: int, looked_at: int, *, every: bool) -> LiveLists:
        """Which lists a realm has. Without `every`, those that were added since may be missing.

        looked_at: when the store was last looked at with success. Raises one of STORE_ERRORS, SnapshotTooOld.
        """
        quantum = quantum_of(looked_at)
        held = self._numbers.get(realm_id, None)
        if held is not None and held.quantum == quantum and not (every and held.stale):
            return held.lists
        try:
            _join(self._counting, realm_id, partial(self._count, realm_id, looked_at))
        except (*STORE_ERRORS, SnapshotTooOld):
            if held is None or every:
                raise
        counted = self._numbers.get(realm_id, held)
        if counted is None:
            raise SnapshotTooOld
        return counted.lists

    def _count(self, realm_id: int, looked_at: int) -> None:
        with self._database.read() as connection:
            read_at = changes.now_at(connection).generation
            lists = status_lists.live(connection, realm_id, looked_at, self._policy)
        with self._holding:
            numbers = _Numbers(quantum_of(looked_at), lists, stale=read_at < self._heard)
            self._numbers.put(realm_id, numbers)

    def signed(self, view: RealmView, number: int, looked_at: int) -> SignedList:
        """A list that there is, as this process has heard that it is now.

        looked_at: when the store was last looked at with success, from which its times count. Raises one of
        STORE_ERRORS, SnapshotTooOld, and TemporarilyUnavailableError when nothing signs, or `room` are being made.
        """
        key = (view.realm.id, number)
        kids = tuple(each.kid for each in view.keys.keys)
        signing = Signing(address_of(view.addresses.issuer, number), _signer(view), kids, looked_at)
        for _ in range(_TRIES):
            held = self._lists.get(key, None)
            if held is not None and (ready := signing.ready(held)):
                return ready
            made: list[SignedList] = []
            _join(self._making, key, partial(self._make, key, signing, made))
            if made:
                return made[0]
        raise SnapshotTooOld

    def _make(self, key: ListKey, signing: Signing, made: list[SignedList]) -> None:
        with self._holding:
            if self._being_made >= self.room:
                raise because(TemporarilyUnavailableError(), "lists_being_made")
            self._being_made += 1
        try:
            self._make_in_turn(key, signing, made)
        finally:
            with self._holding:
                self._being_made -= 1

    def _make_in_turn(self, key: ListKey, signing: Signing, made: list[SignedList]) -> None:
        for _ in range(_TRIES):
            held, heard = self._lists.get(key, None), self._heard
            read = self._read(key, held) if held is None or held.stale else held
            kept, signed = signing.signed(read, heard)
            with self._holding:
                # Unless a change of it was heard of meanwhile. What was just read may be younger than what was heard.
                if self._lists.get(key, None) is held and (read is held or read.read_at >= self._heard):
                    self._lists.put(key, kept)
                    made.append(signed)
                    return
        raise SnapshotTooOld

    def _read(self, key: ListKey, held: HeldList | None) -> HeldList:
        """The list as the store has it now."""
        with self._database.read() as connection:
            read_at = changes.now_at(connection).generation
            state = status_lists.state(connection, *key)
        bits = bits_of(key[1], state.floor, enabled=state.enabled, dead=state.dead, revoked=state.revoked)
        return as_read(held, bits, read_at)


def _join(flights: Flights[Key], key: Key, work: Callable[[], None]) -> None:
    try:
        flights.join(key, work, _PATIENCE)
    except NotDone:
        raise SnapshotTooOld from None


def _signer(view: RealmView) -> Signer:
    """The active key of the realm's first algorithm; while that has none, of the next that has."""
    signer = next(filter(None, map(view.keys.signing_key, (*view.realm.signing_algs, *view.keys.signers))), None)
    if signer is None:
        raise because(TemporarilyUnavailableError(), "no_signing_key")
    return signer
