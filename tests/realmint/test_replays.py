"""Marks of used proofs: one caller of many is the first, in threads, in processes, across a fork (RFC 9449 section 11.1)."""

import asyncio
import gc
import multiprocessing
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from realmint import DPoPPolicy, InvalidProof, MemoryReplays, Presented, ReplayStore, SQLiteReplays, Unavailable
from realmint.replays import ReplaysFull
from realmint.testing import FakeIssuer

NOW = 1_800_000_000
AUDIENCE = "https://orders.example"
FORK = multiprocessing.get_context("fork")
Make = Callable[[], ReplayStore]


def key(number: int) -> bytes:
    return number.to_bytes(32)


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    return MemoryReplays if request.param == "memory" else lambda: SQLiteReplays(tmp_path / "marks.db")


def test_a_mark_counts_to_its_last_second_and_gives_way_after_it(make: Make) -> None:
    store = make()
    assert store.first(key(1), NOW + 90, NOW)
    for now in (NOW, NOW + 89, NOW + 90):
        assert not store.first(key(1), now + 90, now)
        assert store.first(key(now), now + 90, now)
    assert store.first(key(1), NOW + 181, NOW + 91)
    assert not store.first(key(1), NOW + 181, NOW + 91)


def test_105_of_many_threads_one_is_the_first(make: Make) -> None:
    store, together = make(), threading.Barrier(8)

    def marked(_: int) -> list[bool]:
        together.wait(10)
        return [store.first(key(number), NOW + 90, NOW) for number in range(100)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(marked, range(8)))
    assert [sum(column) for column in zip(*found, strict=True)] == [1] * 100


def in_children(count: int, work: Callable[[], Any]) -> list[Any]:
    """What `work` returns in each of so many forked children, which begin together."""
    together, results = FORK.Barrier(count), FORK.SimpleQueue()

    def run() -> None:
        together.wait(20)
        results.put(work())

    children = [FORK.Process(target=run) for _ in range(count)]
    for child in children:
        child.start()
    found = [results.get() for _ in children]
    for child in children:
        child.join(20)
        assert child.exitcode == 0
    return found


@pytest.mark.parametrize("used_before", [False, True], ids=["made before the fork", "used before it"])
def test_105_of_many_processes_one_is_the_first(tmp_path: Path, used_before: bool) -> None:
    store = SQLiteReplays(tmp_path / "marks.db")
    if used_before:
        assert store.first(key(0), NOW + 90, NOW)
    found = in_children(5, lambda: [store.first(key(number), NOW + 90, NOW) for number in range(200)])
    first = [sum(column) for column in zip(*found, strict=True)]
    assert first == [0 if used_before else 1] + [1] * 199
    assert not any(store.first(key(number), NOW + 90, NOW) for number in range(200))
    with sqlite3.connect(tmp_path / "marks.db") as looked:
        assert looked.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    looked.close()
    store.close()


def test_a_child_leaves_its_parent_s_connections_alone(tmp_path: Path) -> None:
    store = SQLiteReplays(tmp_path / "marks.db")
    assert store.first(key(1), NOW + 90, NOW)
    (inherited,) = store._open

    def child() -> tuple[int, bool]:
        assert store.first(key(2), NOW + 90, NOW)
        gc.collect()
        return len(store._open), inherited in store._open

    assert in_children(1, child) == [(1, False)]
    assert store._open == {inherited}
    assert [store.first(key(number), NOW + 90, NOW) for number in (1, 2, 3)] == [False, False, True]
    store.close()
    assert not store._open


def test_105_a_proof_is_used_once_by_all_processes_of_an_api(tmp_path: Path) -> None:
    issuer = FakeIssuer()
    api = issuer.resource_server(AUDIENCE, dpop=DPoPPolicy(replay=SQLiteReplays(tmp_path / "marks.db")))
    holder = issuer.prover()
    token = issuer.issue(audience=AUDIENCE, bound_to=holder)
    proofs = [holder.proof("GET", AUDIENCE, token) for _ in range(20)]
    api.refresh_keys()

    def let_in() -> list[str]:
        outcomes = []
        for proof in proofs:
            try:
                api.validate(token, presented=Presented("DPoP", [proof], "GET", AUDIENCE))
            except InvalidProof as refused:
                outcomes.append(refused.reason)
            else:
                outcomes.append("in")
        return outcomes

    found = in_children(4, let_in)
    for outcomes in zip(*found, strict=True):
        assert sorted(outcomes) == ["in", *["proof_replayed"] * 3]


def test_the_memory_of_one_process_forgets_what_counts_no_more_and_nothing_else() -> None:
    store = MemoryReplays(3)
    assert [store.first(key(number), NOW + number, NOW) for number in range(3)] == [True] * 3
    with pytest.raises(ReplaysFull):
        store.first(key(3), NOW + 3, NOW)
    assert not store.first(key(2), NOW + 2, NOW)
    assert store.first(key(3), NOW + 3, NOW + 1)
    assert len(store) == 3
    assert store.first(key(4), NOW + 300, NOW + 200)
    assert len(store) == 1


def test_a_file_that_is_full_forgets_nothing(tmp_path: Path) -> None:
    store, number = SQLiteReplays(tmp_path / "marks.db", max_bytes=100_000), 0
    with pytest.raises(sqlite3.OperationalError, match="full"):
        for number in range(10_000):
            assert store.first(key(number), NOW + 90, NOW)
    assert 500 < number < 2000
    assert not any(store.first(key(other), NOW + 90, NOW) for other in range(number))
    assert store.first(key(number), NOW + 200, NOW + 100)
    assert (tmp_path / "marks.db").stat().st_size <= 100_000
    store.close()


def test_old_marks_are_pruned(tmp_path: Path) -> None:
    store = SQLiteReplays(tmp_path / "marks.db")
    for number in range(6000):
        store.first(key(number), NOW + 90, NOW)
    for number in range(3):
        store.first(key(10_000 + number), NOW + 500, NOW + 91)
    with sqlite3.connect(tmp_path / "marks.db") as looked:
        assert looked.execute("SELECT count(*) FROM marks").fetchone() == (3,)
    looked.close()
    store.close()


def test_the_file_is_its_user_s_alone_and_nothing_else_is_left_there(tmp_path: Path) -> None:
    store = SQLiteReplays(tmp_path / "marks.db")
    assert not list(tmp_path.iterdir())
    store.first(key(1), NOW, NOW)
    assert {file.name for file in tmp_path.iterdir()} <= {"marks.db", "marks.db-wal", "marks.db-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    store.close()


@pytest.mark.parametrize("what", ["no folder", "not a database", "a folder", "locked"])
def test_a_file_that_cannot_be_used_is_503_and_lets_nobody_in(tmp_path: Path, what: str) -> None:
    path = tmp_path / "marks.db"
    if what == "no folder":
        path = tmp_path / "nothing" / "marks.db"
    elif what == "a folder":
        path.mkdir()
    elif what == "not a database":
        path.write_bytes(b"x" * 5000)
    issuer = FakeIssuer()
    store = SQLiteReplays(path, wait=0.05)
    api, holder = issuer.resource_server(AUDIENCE, dpop=DPoPPolicy(replay=store)), issuer.prover()
    token = issuer.issue(audience=AUDIENCE, bound_to=holder)
    other = None
    if what == "locked":
        store.first(key(1), NOW, NOW)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
    for _ in range(2):
        shown = Presented("DPoP", [holder.proof("GET", AUDIENCE, token)], "GET", AUDIENCE)
        with pytest.raises(Unavailable) as refused:
            api.validate(token, presented=shown)
        assert (refused.value.reason, shown.proven) == ("replays_failed", None)
    assert not store._open, "what failed is not kept"
    if other is not None:
        other.close()
        api.validate(token, presented=Presented("DPoP", [holder.proof("GET", AUDIENCE, token)], "GET", AUDIENCE))
        store.close()


def test_two_stores_of_one_file_are_one(tmp_path: Path) -> None:
    one, other = (SQLiteReplays(os.fspath(tmp_path / "marks.db")) for _ in range(2))
    assert one.first(key(1), NOW + 90, NOW)
    assert not other.first(key(1), NOW + 90, NOW)
    one.close()
    assert not other.first(key(1), NOW + 90, NOW)
    assert not one.first(key(1), NOW + 90, NOW)
    one.close()
    other.close()


@pytest.mark.parametrize("options", [{"wait": 0}, {"wait": 60}, {"max_bytes": 1}])
def test_a_store_without_bounds_is_none(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="SQLiteReplays"):
        SQLiteReplays("marks.db", **options)
    with pytest.raises(ValueError, match="MemoryReplays"):
        MemoryReplays(0)


@pytest.mark.parametrize("blocks", [True, False, None])
def test_an_event_loop_asks_a_store_that_may_wait_in_a_thread(blocks: bool | None) -> None:
    threads: list[bool] = []

    class Store:
        def first(self, key: bytes, until: int, now: int) -> bool:
            threads.append(threading.current_thread() is threading.main_thread())
            return True

    store, issuer = Store(), FakeIssuer()
    if blocks is not None:
        store.blocks = blocks  # type: ignore[attr-defined]
    api, holder = issuer.resource_server(AUDIENCE, dpop=DPoPPolicy(replay=store)), issuer.prover()
    token = issuer.issue(audience=AUDIENCE, bound_to=holder)
    shown = Presented("DPoP", [holder.proof("GET", AUDIENCE, token)], "GET", AUDIENCE)
    asyncio.run(api.avalidate(token, presented=shown))
    assert threads == [blocks is False]
