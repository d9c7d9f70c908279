"""The file that failures are counted in: full, damaged, taken away or held up, it costs no answer and no descriptor."""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from issuer import log
from issuer.secret_checks.counters import SIZE
from issuer.secret_checks.failures import FailureLimit
from tests.issuer.conftest import Lines
from tests.support.disks import full, small_disk

NOW = 600
LIMIT = 3
NAMES = [f"client-{n}" for n in range(600)]
"""Enough to have a counter on every page of the file."""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", "1m") as folder:
        yield folder


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def shared(one: FailureLimit, other: FailureLimit, now: int, name: str = "svc") -> bool:
    """Whether what one counts, the other knows."""
    for _ in range(LIMIT - 1):
        one.note(1, name, now)
    other.note(1, name, now)
    return one.wait(1, name, now) > 0 and other.wait(1, name, now) > 0


def pair(path: Path) -> tuple[FailureLimit, FailureLimit]:
    return FailureLimit(path, LIMIT), FailureLimit(path, LIMIT)


def check_counts_alone(limit: FailureLimit) -> None:
    """By two of three names: one in a hundred shares its counter with one of those that were counted before."""

    def waits(name: str) -> list[int]:
        found = []
        for _ in range(LIMIT):
            found.append(limit.wait(1, name, NOW))
            limit.note(1, name, NOW)
        return [*found, limit.wait(1, name, NOW)]

    assert [waits(name) for name in ("alone", "by itself", "with nobody")].count([0] * LIMIT + [60]) >= 2


def test_46_a_full_disk_is_counted_in_memory_with_one_warning_and_shared_again_within_a_minute(
    small: Path, lines: Lines
) -> None:
    log.LOGGER.setLevel(logging.INFO)  # before any application has set it
    one, other = pair(small / "instance" / "failures")
    with full(small):
        open_before = descriptors()
        for name in NAMES:
            one.note(1, name, NOW)
            other.note(1, name, NOW + 59)
        check_counts_alone(one)
        check_counts_alone(other)
        assert descriptors() == open_before
        assert [line.split(" ", 2)[2].strip() for line in lines.text] == [
            'failures_not_shared reason="No space left on device"'
        ] * 2
    assert not shared(one, other, NOW + 59, "too soon")
    assert shared(one, other, NOW + 60 + 59)
    assert [line.split()[2] for line in lines.text[2:]] == ["failures_shared_again"] * 2
    assert descriptors() == open_before + 2
    one.close()
    other.close()
    assert descriptors() == open_before


def test_46_a_disk_that_fills_up_later_finds_every_counter_in_its_place(small: Path, lines: Lines) -> None:
    one, other = pair(small / "failures")
    one.note(1, "first", NOW)
    with full(small):
        for name in NAMES:
            assert shared(one, other, NOW, name)
    assert lines.text == []
    assert (small / "failures").stat().st_size == SIZE
    assert (small / "failures").stat().st_blocks * 512 >= SIZE
    one.close()
    other.close()


@pytest.mark.parametrize("content", [b"", b"x", b"k" * 16, b"k" * (SIZE - 1), b"k" * (SIZE + 1), b"\0" * SIZE], ids=len)
def test_46_a_damaged_file_is_made_anew_for_everybody(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "failures"
    path.write_bytes(content)
    one, other = pair(path)
    assert shared(one, other, NOW)
    assert path.stat().st_size == SIZE
    assert any(path.read_bytes()[:16])
    one.close()
    other.close()


@pytest.mark.parametrize("fate", ["cut short", "emptied", "deleted", "replaced"])
def test_46_a_file_that_is_spoilt_while_it_is_used_kills_nobody_and_is_shared_again(tmp_path: Path, fate: str) -> None:
    path = tmp_path / "failures"
    one, other = pair(path)
    assert shared(one, other, NOW, "before")
    if fate == "replaced":
        (tmp_path / "another").write_bytes(b"x")
        (tmp_path / "another").rename(path)
    elif fate == "deleted":
        path.unlink()
    else:
        os.truncate(path, 0 if fate == "emptied" else 5000)
    for name in NAMES:
        for limit in (one, other):
            limit.wait(1, name, NOW)
            limit.note(1, name, NOW)
    check_counts_alone(one)
    assert shared(one, other, NOW + 60)
    assert path.stat().st_size == SIZE
    one.close()
    other.close()


@pytest.mark.parametrize("thing", ["folder", "pipe", "link", "device"])
def test_46_whatever_stands_in_the_place_of_the_file_is_left_alone(tmp_path: Path, lines: Lines, thing: str) -> None:
    path, elsewhere = tmp_path / "failures", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"not to be touched")
    if thing == "folder":
        path.mkdir()
    elif thing == "pipe":
        os.mkfifo(path)
    elif thing == "link":
        path.symlink_to(elsewhere)
    else:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))  # /dev/null
    limit, before = FailureLimit(path, LIMIT), descriptors()
    check_counts_alone(limit)
    assert (len(lines.text), descriptors()) == (1, before)
    assert elsewhere.read_bytes() == b"not to be touched"


def test_46_a_process_that_stopped_with_the_lock_holds_nobody_up(tmp_path: Path, lines: Lines) -> None:
    path = tmp_path / "failures"
    one, other = pair(path)
    assert shared(one, other, NOW, "before")
    with path.open("rb") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        check_counts_alone(one)
        assert "failures_not_shared" in lines.text[0]
    assert shared(one, other, NOW + 60)
    one.close()
    other.close()


def test_200_forked_children_count_together_whatever_lock_their_parent_held(tmp_path: Path) -> None:
    limit = FailureLimit(tmp_path / "failures", 10**6)
    limit.note(1, "svc", NOW)

    def child() -> int:
        limit.note(1, "svc", NOW)
        held = descriptors()
        for _ in range(299):
            limit.note(1, "svc", NOW)
        os._exit(descriptors() - held)

    # Somebody of the parent's is in the middle of it when each of them is forked.
    with limit._lock:
        children = [os.fork() or child() for _ in range(4)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
    exact, one_more = FailureLimit(tmp_path / "failures", 1201), FailureLimit(tmp_path / "failures", 1202)
    for other in (exact, one_more):
        other.note(1, "another", NOW)
    assert (exact.wait(1, "svc", NOW), one_more.wait(1, "svc", NOW)) == (60, 0)
    for each in (limit, exact, one_more):
        each.close()


def test_200_children_that_cannot_share_a_file_share_the_memory_of_their_parent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    limit = FailureLimit(tmp_path / "file" / "failures", LIMIT)
    for _ in range(LIMIT):
        pid = os.fork()
        if pid == 0:
            limit.note(1, "svc", NOW)
            os._exit(0)
        os.waitpid(pid, 0)
    assert limit.wait(1, "svc", NOW) == 60


def test_46_threads_that_open_the_file_at_once_open_it_once(tmp_path: Path) -> None:
    limit, before, start = FailureLimit(tmp_path / "failures", 10**6), descriptors(), threading.Barrier(8)

    def count() -> None:
        start.wait()
        limit.note(1, "svc", NOW)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert descriptors() == before + 1
    limit.close()
