"""What the registry is made of, each part by itself: what is held, when to look, what operators can read off."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from issuer.clients import Client
from issuer.realms import REALM_DEFAULTS, Addresses, Realm
from issuer.registry.cache import ABSENCES, SET_INDEXES, Cache, RealmView
from issuer.registry.lookout import NEVER, Lookout, Looks, SnapshotTooOld, gap
from issuer.storage.changes import Moment
from issuer.storage.revoked import RevokedIndex
from keys.jwks import Snapshot
from tests.support.issuer import Caller, Issuer

READER = "--scope read --default-scope read"


def moment(generation: int) -> Moment:
    return Moment(generation, f"nonce {generation}")


def realm(realm_id: int = 1, path: str = "/a", *, unsealed: bool = True) -> RealmView:
    values: dict[str, Any] = dict(REALM_DEFAULTS)
    own = Realm(
        id=realm_id, path=path, enabled=True, has_imported_secrets=False, status_floor=0, created_at=0, **values
    )
    return RealmView(own, Addresses("https://issuer.example", path), Snapshot(1, {}, {}, b"", "", unsealed), set())


def client(client_id: str = "svc", realm_id: int = 1) -> Client:
    return Client(id=1, realm_id=realm_id, client_id=client_id, enabled=True, created_at=0, last_used_at=None)


@pytest.fixture
def cache() -> Cache:
    """One that heard of ten changes, and holds a realm with a client, and an absence of either."""
    made = Cache(realms=3, clients=3)
    made.absorb(moment(10), [], {})
    made.put_realm(moment(10), "/a", realm())
    made.put_realm(moment(10), "/none", None)
    made.put_client(moment(10), 1, "svc", client())
    made.put_client(moment(10), 1, "nobody", None)
    return made


def held(cache: Cache) -> list[bool]:
    """Whether the realm, the client, and their absences are held."""
    return [
        cache.realm("/a") is not None,
        cache.client(1, "svc") is not None,
        cache.lacks_realm("/none"),
        cache.lacks_client(1, "nobody"),
    ]


def test_a_revoked_token_is_noted_where_its_realm_is_held_and_drops_nothing(cache: Cache) -> None:
    view = cache.realm("/a")
    assert view is not None
    heard = [RevokedIndex(1, 7, 11), RevokedIndex(1, 9, 12), RevokedIndex(2, 8, 13)]
    cache.absorb(moment(13), [], {}, heard)
    assert held(cache) == [True] * 4
    assert cache.realm("/a") is view
    assert view.set_indexes == {7, 9}
    assert "7" not in repr(view).partition("set_indexes")[2]


def test_what_is_noted_of_one_realm_is_bounded(cache: Cache) -> None:
    view = cache.realm("/a")
    assert view is not None
    view.set_indexes.update(range(SET_INDEXES))
    cache.absorb(moment(11), [], {}, [RevokedIndex(1, SET_INDEXES + 1, 11)])
    assert len(view.set_indexes) == SET_INDEXES


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ([], [True] * 4),
        ([(1, "svc")], [True, False, True, True]),
        ([(1, "nobody")], [True, True, True, False]),
        ([(1, None)], [False] * 4),  # and every absence of a realm: a new one's path is not in the log
        ([(2, None)], [True, True, False, True]),
        ([(2, "svc")], [True] * 4),
        ([(None, None)], [False] * 4),
        (None, [False] * 4),
    ],
)
def test_a_change_drops_just_what_it_is_about(cache: Cache, changed: Any, left: list[bool]) -> None:
    assert held(cache) == [True] * 4
    cache.absorb(moment(11), changed, {})
    assert held(cache) == left
    assert cache.moment == moment(11)


@pytest.mark.parametrize(("read_at", "kept"), [(10, False), (11, True), (12, True)])
def test_187_what_was_read_before_a_change_is_not_put_in_place_after_it_was_dropped(
    cache: Cache, read_at: int, kept: bool
) -> None:
    cache.absorb(moment(11), [(None, None)], {})
    cache.put_realm(moment(read_at), "/a", realm())
    cache.put_realm(moment(read_at), "/none", None)
    cache.put_client(moment(read_at), 1, "svc", client())
    cache.put_client(moment(read_at), 1, "nobody", None)
    assert held(cache) == [kept] * 4


def test_what_was_loaded_before_the_first_look_is_dropped_by_it() -> None:
    cache = Cache(realms=3, clients=3)
    assert cache.moment is None
    cache.put_realm(moment(5), "/a", realm())
    cache.put_client(moment(5), 1, "svc", client())
    assert held(cache)[:2] == [True, True]
    cache.absorb(moment(5), [], {})
    assert held(cache)[:2] == [False, False]


def test_a_realm_that_changed_and_was_read_again_is_held_as_it_is_now(cache: Cache) -> None:
    newer = realm()
    assert cache.worth_reading([(1, None), (2, None), (1, "svc")]) == ["/a"]
    cache.absorb(moment(11), [(1, None)], {"/a": newer})
    assert cache.realm("/a") is cache.last_view("/a") is newer
    assert cache.client(1, "svc") is None
    assert cache.worth_reading([(1, "svc")]) == []


def test_a_realm_that_is_gone_is_known_to_be_and_leaves_no_signer_behind(cache: Cache) -> None:
    cache.absorb(moment(11), [(1, None)], {"/a": None})
    assert cache.lacks_realm("/a")
    assert cache.realm("/a") is cache.last_view("/a") is None


def test_the_view_before_outlives_what_is_dropped(cache: Cache) -> None:
    before = cache.realm("/a")
    cache.absorb(moment(11), None, {})
    assert cache.realm("/a") is None
    assert cache.last_view("/a") is before is not None


def test_a_realm_with_a_key_that_did_not_open_is_read_again_until_it_does(cache: Cache) -> None:
    cache.put_realm(moment(10), "/a", realm(unsealed=False))
    assert cache.worth_reading([]) == ["/a"]
    cache.absorb(moment(10), [], {"/a": realm()})
    assert cache.worth_reading([]) == []


def test_no_more_realms_are_read_again_than_are_held_however_many_did_not_open(cache: Cache) -> None:
    for n in range(100):
        cache.put_realm(moment(10), f"/{n}", realm(100 + n, f"/{n}", unsealed=False))
    assert sorted(cache.worth_reading([(199, None), (100, None)])) == ["/97", "/98", "/99"]
    assert len(cache._unopened) == 3
    assert cache.measures()[0].evicted == 98


def test_187_a_busy_realm_hears_of_its_changes_however_many_others_came_and_went(cache: Cache) -> None:
    for n in range(2, 20):
        cache.put_realm(moment(10), f"/{n}", realm(n, f"/{n}"))
        assert cache.realm("/a") is not None  # used all the time
    assert cache.worth_reading([(1, None)]) == ["/a"]
    cache.absorb(moment(11), [(1, None)], {})
    assert cache.realm("/a") is None


def test_a_flood_of_names_that_nobody_has_evicts_nobody_who_is_there(cache: Cache) -> None:
    for n in range(ABSENCES + 10):
        cache.put_realm(moment(10), f"/{n}", None)
        cache.put_client(moment(10), 1, f"{n}", None)
    assert held(cache)[:2] == [True, True]
    realms, clients, absent = cache.measures()
    assert (realms.evicted, clients.evicted, absent) == (0, 0, 2 * ABSENCES)


LOOKS = Looks(refresh=2, max_age=20)


@pytest.mark.parametrize(
    ("now", "tried", "due", "too_old"),
    [
        (101.9, 100, False, False),
        (102, 100, True, False),
        (102, 101.5, False, False),  # somebody has just tried in vain
        (119.9, 118.9, True, False),
        (120, 100, True, True),
        (120, 119.5, False, True),
    ],
)
def test_when_a_request_looks_and_when_it_is_refused(now: float, tried: float, due: bool, too_old: bool) -> None:
    looks = replace(LOOKS, good=100, tried=tried)
    young = looks.young(now, polled=False)
    assert (not young and looks.due(now), looks.too_old(now)) == (due, too_old)
    assert young == (now < 102)  # the warm path asks for no more
    assert looks.young(now, polled=True) == (now < 120)  # where a thread looks


def test_before_the_first_good_look_every_load_finds_out_for_itself() -> None:
    assert LOOKS.age(5) == float("inf")
    assert LOOKS.due(5)
    assert not LOOKS.too_old(5)


@pytest.mark.parametrize(("now", "wait"), [(103.9, 0), (104, 1.5), (105, 0.5), (106, 0)])
def test_who_finds_a_look_under_way_waits_after_a_quiet_time_only_and_never_long(now: float, wait: float) -> None:
    assert replace(LOOKS, good=100).patience(now, started=103.5) == wait


@pytest.mark.parametrize(
    ("found", "changed", "said"),
    [
        (12, [(1, None)], None),
        (10, [], None),
        (9, None, "store_went_back"),
        (10, None, "store_went_back"),
        (11, None, "changes_missed"),
    ],
)
def test_188_a_history_that_does_not_follow_is_called_by_what_it_is(found: int, changed: Any, said: str | None) -> None:
    assert gap(moment(10), Moment(found, "another"), changed) == said


class Watched:
    """A lookout on a clock that is told, over a store that can be out of reach."""

    def __init__(self) -> None:
        self.now = 100.0
        self.fault: Exception | None = None
        self.looked = 0
        self.lookout = Lookout(self._look, LOOKS, lambda: self.now)

    def _look(self) -> None:
        self.looked += 1
        if self.fault is not None:
            raise self.fault

    def keep_fresh(self, *, may_be_old: bool = False) -> int:
        """How often it was looked."""
        before = self.looked
        self.lookout.keep_fresh(polled=False, may_be_old=may_be_old)
        return self.looked - before


@pytest.mark.parametrize("fault", [OperationalError("", None, Exception("away")), RecursionError(), TypeError()])
def test_190_a_store_out_of_reach_is_asked_once_a_second_and_what_is_held_ends_after_ten_refreshes(
    fault: Exception,
) -> None:
    """As is one in which somebody wrote what no look can make anything of."""
    store = Watched()
    assert (store.lookout.good, store.lookout.age()) == (NEVER, float("inf"))
    assert [store.keep_fresh() for _ in range(3)] == [1, 0, 0]
    store.fault = fault
    store.now = 102
    assert [store.keep_fresh() for _ in range(3)] == [1, 0, 0]
    assert not store.lookout.reachable
    assert store.lookout.good == 100
    store.now = 120
    for _ in range(2):
        with pytest.raises(SnapshotTooOld):
            store.keep_fresh()
    assert store.looked == 3
    assert store.keep_fresh(may_be_old=True) == 0
    store.fault, store.now = None, 121
    assert store.keep_fresh() == 1
    assert (store.lookout.reachable, store.lookout.good) == (True, 121)


def test_one_looks_and_the_others_go_on_with_what_is_young() -> None:
    looking, go_on = threading.Event(), threading.Event()
    looked = []

    def look() -> None:
        looked.append(threading.current_thread())
        looking.set()
        assert go_on.wait(10)

    lookout = Lookout(look, replace(LOOKS, good=100), lambda: 102.0)
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(lookout.keep_fresh, polled=False, may_be_old=False)
        assert looking.wait(10)
        lookout.keep_fresh(polled=False, may_be_old=False)  # comes back though nobody has answered
        assert not leader.done()
        go_on.set()
        leader.result(10)
    assert len(looked) == 1


def test_an_operator_can_read_how_a_process_stands_with_the_store(stored_issuer: Issuer) -> None:
    registry, clock = stored_issuer.runtime.registry, stored_issuer.clock
    before = registry.measures()
    assert (before.snapshot_age, before.last_good_look) == (float("inf"), None)
    caller = stored_issuer.client(options=READER)
    stored_issuer.token(caller)
    stored_issuer.token_response(Caller("nobody", caller.secret))
    looked = clock.monotonic()
    clock.advance(1)
    now = registry.measures()
    assert (now.snapshot_age, now.last_good_look, now.store_reachable) == (1, looked, True)
    assert (now.realms.count, now.clients.count, now.absent) == (1, 1, 1)
    assert (now.realms.size >= 1024, now.clients.size >= 20_000) == (True, True)
    assert (now.realms.evicted, now.clients.evicted) == (0, 0)


def test_who_needs_to_know_how_things_stand_now_waits_for_no_look_that_began_before() -> None:
    first, second, go_on = threading.Event(), threading.Event(), threading.Event()

    def look() -> None:
        if first.is_set():
            second.set()
        first.set()
        assert go_on.wait(10)

    lookout = Lookout(look, Looks(refresh=20, max_age=200), lambda: 0.0)
    polling = threading.Thread(target=lookout.look)
    polling.start()
    assert first.wait(10)
    asking = threading.Thread(target=lookout.look_anew)
    asking.start()
    assert not second.is_set()
    go_on.set()
    for thread in (polling, asking):
        thread.join(10)
    assert second.is_set()
