"""What may be used once (registry/single_use.py), on both engines: who is first, whatever happens meanwhile."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from authlib.oauth2 import OAuth2Error
from sqlalchemy import Connection, event, func, select, text

from issuer.registry.single_use import MOST_AT_ONCE, SingleUse, digest
from issuer.storage.engine import STORE_ERRORS, Database
from issuer.storage.tables import used_once
from issuer.storage.used_once import Mark, prune, take
from tests.support.issuer import Issuer

MARGIN = 120
WAIT = 10
"""Seconds that a test waits for another thread before it fails."""


class Desk:
    """A database, and who asks it; `began` how many transactions so far, each of which stops where `gate` is shut."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.database: Database = issuer.runtime.database
        self.clock = issuer.clock
        self.gate = threading.Event()
        self.gate.set()
        self.stopped = threading.Event()
        self.began = 0
        self.raises: BaseException | None = None

    def single_use(self, margin: int = MARGIN, **options: Any) -> SingleUse:
        return SingleUse(self.database, self.clock.wall, self.clock.monotonic, margin, **options)

    def rows(self) -> dict[bytes, int]:
        with self.database.read() as connection:
            return {bytes(row[0]): row[1] for row in connection.execute(select(used_once))}

    def statement(
        self, _connection: Connection, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool
    ) -> None:
        if not statement.startswith("INSERT INTO used_once"):
            return
        self.began += 1
        self.stopped.set()
        self.gate.wait(WAIT)
        if self.raises is not None:
            error, self.raises = self.raises, None
            raise error

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Shuts the gate until the block ends."""
        self.gate.clear()
        self.stopped.clear()
        try:
            yield
        finally:
            self.gate.set()


@pytest.fixture
def desk(stored_issuer: Issuer) -> Iterator[Desk]:
    desk = Desk(stored_issuer)
    event.listen(desk.database.engine, "before_cursor_execute", desk.statement)
    yield desk
    desk.gate.set()
    event.remove(desk.database.engine, "before_cursor_execute", desk.statement)


def queued(single_use: SingleUse, number: int) -> None:
    """Waits until so many stand behind the one that writes."""
    for _ in range(WAIT * 1000):
        with single_use._lock:
            if len(single_use._queue) >= number:
                return
        threading.Event().wait(0.001)
    raise AssertionError(f"{len(single_use._queue)} of {number} came")


def crowd(
    desk: Desk, single_use: SingleUse, names: list[str], pool: ThreadPoolExecutor
) -> tuple["Future[bool]", list["Future[bool]"]]:
    """The one that writes first, alone, and those who came while it did."""
    until = desk.clock.now + 60
    leader = pool.submit(single_use.first, "x", 1, "leader", until)
    assert desk.stopped.wait(WAIT)
    return leader, [pool.submit(single_use.first, "x", 1, name, until) for name in names]


def test_70_of_many_threads_with_one_name_one_is_first_and_with_their_own_all_are(desk: Desk) -> None:
    single_use, until = desk.single_use(), desk.clock.now + 60
    with ThreadPoolExecutor(32) as pool:
        same = [pool.submit(single_use.first, "x", 1, "a", until) for _ in range(200)]
        own = [pool.submit(single_use.first, "x", 1, f"n{number}", until) for number in range(200)]
    assert sum(each.result() for each in same) == 1
    assert all(each.result() for each in own)
    assert len(desk.rows()) == 201
    assert desk.began <= 400
    assert not single_use.first("x", 1, "a", until + 1000)


def test_70_who_comes_meanwhile_shares_the_next_transaction_and_of_several_alike_one_is_first(desk: Desk) -> None:
    single_use = desk.single_use()
    names = ["a", "b", "a", "leader", "a", *(f"n{number}" for number in range(30))]
    with ThreadPoolExecutor(64) as pool:
        with desk.stopping():
            leader, others = crowd(desk, single_use, names, pool)
            queued(single_use, len(names))
        assert leader.result(WAIT) is True
        first = [each.result(WAIT) for each in others]
    assert desk.began == 2
    assert (sum(first[at] for at in (0, 2, 4)), first[1], first[3], all(first[5:])) == (1, True, False, True)


def test_a_batch_has_an_end_and_whoever_is_left_leads_the_next(desk: Desk) -> None:
    single_use = desk.single_use()
    many = 2 * MOST_AT_ONCE + 10
    with ThreadPoolExecutor(many + 1) as pool:
        with desk.stopping():
            leader, others = crowd(desk, single_use, [f"n{number}" for number in range(many)], pool)
            queued(single_use, many)
        assert leader.result(WAIT)
        assert all(each.result(WAIT) for each in others)
    assert desk.began == 4
    assert len(desk.rows()) == many + 1


def test_73_of_several_alike_at_once_the_one_that_lives_longest_is_kept_for_as_long(desk: Desk) -> None:
    name, now = digest("x", 1, "a"), desk.clock.now
    for marks in ([300, 60, 200], [60, 300], [300, 60]):
        with desk.database.write() as connection:
            connection.execute(text("DELETE FROM used_once"))
            assert take(connection, [Mark(name, now + life) for life in marks]) == {name}
        assert desk.rows() == {name: now + 300}


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_a_leader_that_dies_takes_nobody_behind_it_along(desk: Desk, error: type[BaseException]) -> None:
    single_use = desk.single_use()
    with ThreadPoolExecutor(32) as pool:
        with desk.stopping():
            leader, others = crowd(desk, single_use, [f"n{number}" for number in range(10)], pool)
            queued(single_use, 10)
            desk.raises = error()
        with pytest.raises(error):
            leader.result(WAIT)
        assert all(each.result(WAIT) for each in others)
    assert single_use.first("x", 1, "leader", desk.clock.now + 60), "it was rolled back"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_those_whose_leader_dies_are_told_that_nobody_knows_and_its_own_end_is_not_theirs(
    desk: Desk, error: type[BaseException]
) -> None:
    single_use = desk.single_use()
    with ThreadPoolExecutor(32) as pool:
        with desk.stopping():
            _, others = crowd(desk, single_use, [f"n{number}" for number in range(10)], pool)
            queued(single_use, 10)
            desk.stopped.clear()
            desk.gate.set()  # the first one ends, and one of the others leads
            desk.gate.clear()
            assert desk.stopped.wait(WAIT)
            desk.raises = error()
        ends = [each.exception(WAIT) for each in others]
    if error is RuntimeError:
        assert {type(each) for each in ends} == {RuntimeError}
    else:
        # The thread that is told to end ends; the others' requests are refused, and may come again.
        assert sorted({type(each).__name__ for each in ends}) == sorted({error.__name__, "TemporarilyUnavailableError"})
        assert [type(each) for each in ends].count(error) == 1
    assert all(single_use.first("x", 1, f"n{number}", desk.clock.now + 60) for number in range(10))


def test_202_a_store_that_fails_is_no_yes_and_no_no_and_all_is_well_once_it_is_back(desk: Desk) -> None:
    single_use, until = desk.single_use(), desk.clock.now + 60
    assert single_use.first("x", 1, "before", until)
    with desk.database.write() as connection:
        connection.execute(text("ALTER TABLE used_once RENAME TO gone"))
    with ThreadPoolExecutor(16) as pool:
        ends = [pool.submit(single_use.first, "x", 1, f"n{number}", until) for number in range(40)]
    assert all(isinstance(each.exception(), STORE_ERRORS) for each in ends)
    with desk.database.write() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO used_once"))
    assert [single_use.first("x", 1, name, until) for name in ("before", "n1", "n1")] == [False, True, False]


def test_202_whoever_waits_for_a_store_that_hangs_gives_up_and_is_not_written_later(desk: Desk) -> None:
    single_use, until = desk.single_use(patience=0.05), desk.clock.now + 60
    with ThreadPoolExecutor(16) as pool:
        with desk.stopping():
            leader, others = crowd(desk, single_use, [f"n{number}" for number in range(8)], pool)
            ends = [each.exception(WAIT) for each in others]
            assert all(isinstance(each, OAuth2Error) and each.status_code == 503 for each in ends)
        assert leader.result(WAIT)
    assert set(desk.rows()) == {digest("x", 1, "leader")}
    assert single_use.first("x", 1, "n1", until)


def test_70_200_a_forked_child_goes_on_by_itself_whoever_wrote_in_its_parent(desk: Desk) -> None:
    single_use, until = desk.single_use(), desk.clock.now + 60

    def connected(_: Connection) -> None:  # before its transaction, whose locks SQLite does not get rid of in a child
        desk.stopped.set()
        desk.gate.wait(WAIT)

    event.listen(desk.database.engine, "engine_connect", connected)
    reads, writes = os.pipe()
    with ThreadPoolExecutor(4) as pool:
        with desk.stopping():
            leader, _ = crowd(desk, single_use, [], pool)
            pid = os.fork()
            if pid == 0:  # the child, where the leader is not
                desk.gate = threading.Event()
                desk.gate.set()
                os.read(reads, 1)  # until the parent has ended its transaction
                try:
                    got = [single_use.first("x", 1, name, until) for name in ("leader", "mine", "mine")]
                    os._exit(0 if got == [False, True, False] else 1)
                except BaseException:
                    os._exit(2)
        assert leader.result(WAIT)
        os.write(writes, b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(reads)
    os.close(writes)
    event.remove(desk.database.engine, "engine_connect", connected)
    assert not single_use.first("x", 1, "mine", until)


def test_73_a_clock_that_leaps_ahead_and_back_forgets_nothing(desk: Desk) -> None:
    single_use = desk.single_use()
    for leap in (61, 3600, 10**7):
        until, name = desk.clock.now + 60, f"a{leap}"
        assert single_use.first("x", 1, name, until)
        desk.clock.step(leap)
        for number in range(20):
            assert single_use.first("x", 1, f"{name}-{number}", desk.clock.now + 60)
        desk.clock.step(-leap)
        assert not single_use.first("x", 1, name, until)
        desk.clock.step(-leap)  # behind, too
        assert not single_use.first("x", 1, name, until)
        desk.clock.step(leap)


def test_73_a_clock_that_was_set_right_for_good_lets_no_marks_pile_up(desk: Desk) -> None:
    single_use = desk.single_use()
    desk.clock.step(10**9)
    for day in range(6):
        for number in range(10):
            assert single_use.first("x", 1, f"{day}-{number}", desk.clock.now + 60)
        desk.clock.advance(86400)
    for number in range(10):
        assert single_use.first("x", 1, f"last-{number}", desk.clock.now + 60)
    assert len(desk.rows()) <= 20


def test_73_a_mark_is_kept_until_its_end_and_the_margin_and_goes_with_the_next(desk: Desk) -> None:
    for late, kept in ((-1, True), (0, True), (1, False)):
        single_use = desk.single_use()
        single_use.first("x", 1, f"a{late}", desk.clock.now + 60)
        desk.clock.advance(60 + MARGIN + late)
        single_use.first("x", 1, f"b{late}", desk.clock.now + 60)
        assert (digest("x", 1, f"a{late}") in desk.rows()) is kept
        desk.clock.advance(60 + MARGIN + 1)


def test_196_what_is_kept_is_bounded_under_traffic_and_old_heaps_go_away_with_it(desk: Desk) -> None:
    single_use = desk.single_use(20)
    most = 0
    for number in range(120):
        single_use.first("x", 1, f"n{number}", desk.clock.now + 10)
        desk.clock.advance(1)
        if number % 10 == 0:
            most = max(most, len(desk.rows()))
    assert most <= 10 + 20 + 3
    with desk.database.write() as connection:
        old = [Mark(number.to_bytes(32), desk.clock.now - 1 - number) for number in range(100)]
        assert len(take(connection, old)) == 100
    for number in range(70):
        single_use.first("x", 1, f"m{number}", desk.clock.now + 10)
    assert not {mark.digest for mark in old} & set(desk.rows())


def test_pruning_takes_the_oldest_first_and_no_more_than_it_is_told(desk: Desk) -> None:
    with desk.database.write() as connection:
        take(connection, [Mark(number.to_bytes(32), number) for number in range(10)])
        assert prune(connection, 5, 3) == 3
        assert connection.scalar(select(func.min(used_once.c.expires_at))) == 3
        assert prune(connection, 5, 3) == 2
        assert prune(connection, 5, 3) == 0
    assert sorted(desk.rows().values()) == [5, 6, 7, 8, 9]


def test_71_no_two_of_kind_owner_and_name_come_to_the_same_mark() -> None:
    marks = [("x", 1, "1"), ("x", 11, ""), ("x", 1, "\x001"), ("x1", 1, ""), ("", 1, "x"), ("x", 0, "1"), ("y", 1, "1"),
             ("x", 1, "\ud800"), ("x", 1, "a" * 255 + "b"), ("x", 1, "a" * 256)]  # fmt: skip
    assert len({digest(*each) for each in marks}) == len(marks)
    assert {len(digest(*each)) for each in marks} == {32}
