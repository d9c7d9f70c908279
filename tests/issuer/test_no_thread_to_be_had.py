"""A thread that cannot be started, as at a limit of processes, costs what needed it once, and is tried again."""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from issuer import log
from issuer.registry.marks import Marks
from issuer.registry.poll import Poll
from issuer.secret_checks.slow_lane import SlowLane
from issuer.secrets import TooManyAttempts
from issuer.storage.deadline import Deadlines
from issuer.storage.engine import STORE_ERRORS
from issuer.storage.postgresql import bound_every_wait
from realmint.protocol.threads import NoThread, start_daemon
from tests.issuer.conftest import Lines
from tests.support import postgres
from tests.support.issuer import Issuer
from tests.support.process import ROOT


class Threads:
    """Starts them, but for the first `without`."""

    def __init__(self, without: int) -> None:
        self.without = without
        self.started: list[str] = []

    def __call__(self, target: Callable[..., Any], name: str, *args: Any) -> None:
        if self.without:
            self.without -= 1
            raise NoThread("can't start new thread")
        start_daemon(target, name, *args)
        self.started.append(name)


def test_190_a_wait_without_a_watcher_is_not_begun_and_the_next_one_has_its_bound() -> None:
    deadlines = Deadlines(threads := Threads(1))
    waiting, far = socket.socketpair()
    with waiting, far:
        far.settimeout(5)
        with pytest.raises(OSError):
            deadlines.begin(1, waiting.fileno(), 0.05)
        assert threads.started == []
        deadlines.begin(1, waiting.fileno(), 0.05)
        assert far.recv(1) == b""


def test_190_a_watcher_that_ended_has_a_successor() -> None:
    made: list[threading.Thread] = []

    def start(target: Callable[..., Any], name: str) -> None:
        def run(first: bool) -> None:
            if first:
                sys.setprofile(lambda frame, *_: fail_in(frame.f_code.co_name))
            with contextlib.suppress(MemoryError):
                target()

        made.append(threading.Thread(target=run, args=(not made,), name=name, daemon=True))
        made[-1].start()

    def fail_in(function: str) -> None:
        if function == "_shut":
            raise MemoryError

    deadlines = Deadlines(start)
    waiting, far = socket.socketpair()
    with waiting, far:
        far.settimeout(5)
        deadlines.begin(1, waiting.fileno(), 0)
        made[0].join(10)
        deadlines.begin(2, waiting.fileno(), 0.05)
        assert far.recv(1) == b""
        assert len(made) == 2


def asking(server: postgres.Server, threads: Threads) -> Engine:
    engine = create_engine(server.url("postgres").replace("postgresql:", "postgresql+psycopg:"))
    bound_every_wait(engine, start_thread=threads)
    return engine


def ask(engine: Engine, statement: str = "SELECT 1") -> Any:
    with engine.begin() as connection:
        return connection.scalar(text(statement))


@pytest.mark.parametrize("without", range(1, 6))
def test_190_what_cannot_be_bounded_is_an_error_of_the_store_and_leaves_the_pool_whole(
    postgres_server: postgres.Server, without: int
) -> None:
    engine = asking(postgres_server, threads := Threads(without))
    while threads.without:
        left = threads.without
        with pytest.raises(STORE_ERRORS) as error:
            ask(engine)
        assert isinstance(error.value.orig, NoThread)
        assert threads.without < left
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert ask(engine) == 1
    assert threads.started == ["realmint-deadlines"]
    engine.dispose()


def test_a_poll_that_cannot_be_started_is_said_once_and_started_by_a_later_request(lines: Lines) -> None:
    log.LOGGER.setLevel("INFO")  # whatever ran before
    looked = threading.Event()
    poll = Poll(looked.set, 0.01, threads := Threads(3))
    assert [poll.start() for _ in range(5)] == [False, False, False, True, True]
    assert looked.wait(5)
    poll.close()
    assert threads.started == ["realmint-poll"]
    assert [line.split(" ", 1)[1] for line in lines.text] == ["warning poll_not_started", "info poll_started"]


def marked(issuer: Issuer) -> set[int | None]:
    with issuer.runtime.database.read() as connection:
        return set(connection.scalars(text("SELECT last_used_at FROM client_credentials")))


def test_a_mark_without_a_thread_waits_for_one_and_is_said_once(issuer: Issuer, lines: Lines) -> None:
    issuer.client()
    with issuer.runtime.database.read() as connection:
        secret_id = connection.scalar(text("SELECT credential_id FROM client_credentials"))
    marks = Marks(issuer.runtime.database, threads := Threads(2))
    for now in (100, 200, 300):
        marks.used(secret_id, now)
    assert threads.started == ["realmint-marks"]
    assert [line.split(" ", 1)[1] for line in lines.text if "marks" in line] == ["warning marks_not_started"]
    marks.close()
    assert marked(issuer) == {300}


def test_a_mark_that_never_had_a_thread_is_written_at_the_end(issuer: Issuer) -> None:
    issuer.client()
    with issuer.runtime.database.read() as connection:
        secret_id = connection.scalar(text("SELECT credential_id FROM client_credentials"))
    marks = Marks(issuer.runtime.database, Threads(1))
    marks.used(secret_id, 100)
    marks.close()
    assert marked(issuer) == {100}


def test_201_a_slow_check_without_a_thread_is_refused_and_takes_nobodys_place() -> None:
    lane = SlowLane(1, start_thread=Threads(1))
    with pytest.raises(TooManyAttempts) as refused:
        lane.run("a", lambda: "checked")
    assert (refused.value.reason, refused.value.retry_after) == ("no_thread", 1)
    assert lane.run("b", lambda: "checked") == "checked"


class OneTurn(threading.Event):
    """Time comes once, and then the end."""

    turns = 1

    def wait(self, timeout: float | None = None) -> bool:
        self.turns -= 1
        return self.turns < 0


def test_a_batch_that_fails_in_a_way_nobody_thought_of_does_not_end_the_thread(issuer: Issuer, lines: Lines) -> None:
    marks = Marks(issuer.runtime.database, lambda target, _name, _wake: turns.append(target))
    turns: list[Callable[[threading.Event], None]] = []
    marks.used("no such secret", 10**30)  # too large for the column of any database
    turns[0](OneTurn())
    assert [line.split()[1:3] for line in lines.text if "marks" in line] == [["error", "marks_failed"]]


# No thread can be started from `without_threads` on, until `with_threads`: its stack would be larger than what is left
# of the address space.
LIMITED = """
import os, resource, sys, threading
from collections import Counter
from pathlib import Path

NONE = resource.getrlimit(resource.RLIMIT_AS)

def without_threads():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    threading.stack_size(1 << 32)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 31), NONE[1]))

def with_threads():
    threading.stack_size(0)
    resource.setrlimit(resource.RLIMIT_AS, NONE)

def running():
    return Counter(thread.name for thread in threading.enumerate() if thread.name != "realmint-slow-checks")
"""
SERVED = """
from realmint.protocol import monotonic, system_clock
from tests.support.issuer import Caller, Issuer
from tests.support.process import until

class Real:
    wall, monotonic = staticmethod(system_clock), staticmethod(monotonic)

def serving():
    return Issuer(Path(sys.argv[1]), Real, sys.argv[2], LOG_LEVEL="WARNING", SNAPSHOT_REFRESH="1")

first = serving().setup()
caller = first.client()
first.run("clients create legacy --scope read --secret-stdin", "legacy-secret")
legacy = Caller("legacy", "legacy-secret")
first.runtime.close()
before = running()
issuer = serving()
without_threads()
refused = [issuer.token_response(caller, scope="read").status_code for _ in range(2)]
if issuer.runtime.database.is_sqlite:
    assert refused == [200, 200], refused
    response = issuer.token_response(legacy, scope="read")
    assert (response.status_code, response.headers["Retry-After"]) == (429, "1"), response.text
    # No thread hears of changes: requests look, long before what is held is ten times SNAPSHOT_REFRESH old.
    first.run("clients disable svc")
    until(lambda: issuer.token_response(caller, scope="read").status_code == 401, 5)
else:
    assert refused == [503, 503], refused
assert running() == before, running()
with_threads()
assert issuer.token_response(legacy, scope="read").status_code == 200
watched = [] if issuer.runtime.database.is_sqlite else ["realmint-deadlines"]
assert running() - before == Counter(["realmint-poll", "realmint-marks", *watched]), running()
os._exit(0)
"""
LOOKED_UP = """
import socket
from realmint.lookups import Lookups

lookups = Lookups(lambda *_, **__: ["found"])
without_threads()
for _ in range(2):
    try:
        lookups.addresses("issuer.example", 443, 5)
    except TimeoutError:
        raise
    except OSError:
        continue
    raise AssertionError
with_threads()
assert lookups.addresses("issuer.example", 443, 5) == ["found"]
os._exit(0)
"""


def limited(story: str, *arguments: str) -> tuple[int, str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED + story, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, [line.partition("Z ")[2] or line for line in done.stderr.splitlines()]


def test_a_process_at_its_limit_of_threads_answers_what_it_can_and_is_whole_when_the_limit_is_gone(
    database_url: str, tmp_path: Path
) -> None:
    code, said, lines = limited(SERVED, str(tmp_path / "instance"), database_url)
    assert (code, said) == (0, ""), lines
    expected = ["warning poll_not_started", "warning marks_not_started"]
    if not database_url.startswith("sqlite"):
        expected = ["warning unavailable"] * 2  # the database was not even looked at
    assert [" ".join(line.split()[:2]) for line in lines] == expected, lines


def test_170_a_name_that_no_thread_can_look_up_is_a_failed_look_up_and_asked_for_anew() -> None:
    assert limited(LOOKED_UP) == (0, "", [])
