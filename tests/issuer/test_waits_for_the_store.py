"""No wait for PostgreSQL is endless, and what ends one ends nothing else (#190)."""

import os
import resource
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from app import create_app
from issuer.storage.deadline import Deadlines
from issuer.storage.engine import STORE_ERRORS
from issuer.storage.postgresql import READ_SECONDS, bound_every_wait
from tests.support import postgres
from tests.support.fake_postgres import hang_up, logging_in, say_nothing
from tests.support.meanwhile import listening
from tests.support.process import ROOT


@contextmanager
def taking(number: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A pair of sockets that are connected, the first of which has this free number as its descriptor."""
    with ExitStack() as stack:
        while True:
            pair = socket.socketpair()
            for end in pair:
                stack.enter_context(end)
                end.settimeout(5)
            for end, other in (pair, pair[::-1]):
                if end.fileno() == number:
                    yield end, other
                    return
            assert min(end.fileno() for end in pair) < number


def usable(ends: tuple[socket.socket, socket.socket]) -> bool:
    end, other = ends
    end.sendall(b"ping")
    other.sendall(b"pong")
    return (end.recv(9), other.recv(9)) == (b"pong", b"ping")


def test_190_the_wait_of_a_first_connection_that_failed_ends_no_other_socket_that_gets_its_number() -> None:
    numbers: list[int] = []
    with logging_in(hang_up, say_nothing) as url:
        engine = create_engine(url)
        bound_every_wait(engine, first_seconds=0.5)
        event.listen(engine, "connect", lambda connection, _: numbers.append(connection.fileno()), insert=True)
        with pytest.raises(DBAPIError):
            engine.connect()
        with taking(numbers[0]) as foreign:
            # The next first connection waits in vain; when its deadline has come, that of the one before has, too.
            with pytest.raises(DBAPIError):
                engine.connect()
            assert usable(foreign)
        engine.dispose()


def test_190_a_wait_that_nobody_ends_ends_with_its_own_socket_and_shuts_it_when_it_is_still_open() -> None:
    deadlines = Deadlines()
    (stale, far), (last, other) = socket.socketpair(), socket.socketpair()
    number = stale.fileno()
    deadlines.begin(1, number, 0.1)
    deadlines.begin(2, last.fileno(), 0.2)
    stale.close()
    with far, last, other, taking(number) as foreign:
        other.settimeout(5)
        assert other.recv(1) == b""  # shut, and so the first wait is over as well
        assert usable(foreign)
        far.settimeout(5)
        assert far.recv(1) == b""  # nothing of the socket that was closed is left open


def descriptors(of: socket.socket) -> int:
    """How many this process has of the socket."""
    all_there_are = Path("/proc/self/fd")
    mine = (all_there_are / str(of.fileno())).readlink()
    return sum(entry.is_symlink() and entry.readlink() == mine for entry in all_there_are.iterdir())


def test_190_a_wait_costs_no_descriptor_once_it_has_ended_in_whatever_way() -> None:
    deadlines = Deadlines()
    waiting, far = socket.socketpair()
    with waiting, far:
        for _ in range(5):
            deadlines.begin(1, waiting.fileno(), 60)  # again before it has ended
        assert descriptors(waiting) <= 2
        deadlines.end(1)
        deadlines.end(1)
        assert descriptors(waiting) == 1
        deadlines.begin(1, waiting.fileno(), 0.05)
        far.settimeout(5)
        assert far.recv(1) == b""
        deadlines.end(1)
        assert descriptors(waiting) == 1


def test_190_a_wait_on_what_is_no_socket_leaves_no_descriptor_behind() -> None:
    deadlines = Deadlines()
    reading, writing = os.pipe()
    deadlines.begin(1, reading, 0.05)
    os.close(reading)
    alone = select.poll()
    alone.register(writing, 0)
    assert alone.poll(5000) == [(writing, select.POLLERR)]  # nobody has the other end any more
    os.close(writing)


@contextmanager
def no_descriptor_left() -> Iterator[Callable[[bool], None]]:
    """This process can have no further one until the block ends, or a call says otherwise."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def limit(on: bool) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]) if on else before)

    limit(True)
    try:
        yield limit
    finally:
        limit(False)


def test_190_a_wait_is_ended_though_the_process_has_no_descriptor_left() -> None:
    deadlines = Deadlines()
    waiting, far = socket.socketpair()
    with waiting, far:
        far.settimeout(5)
        deadlines.begin(1, waiting.fileno(), 0.3)
        with no_descriptor_left():
            assert far.recv(1) == b""
            with pytest.raises(OSError):
                deadlines.begin(1, waiting.fileno(), 60)


@pytest.fixture
def engine(postgres_server: postgres.Server) -> Iterator[Engine]:
    """One whose waits are bounded, on a database with an empty table `kept`, and with a connection in its pool."""
    url = postgres_server.url(postgres_server.create_database()).replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url)
    bound_every_wait(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept (number int)"))
    yield engine
    engine.dispose()


def kept(engine: Engine) -> list[int]:
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT number FROM kept")))


@pytest.mark.parametrize("commits", [True, False])
def test_190_a_statement_or_a_commit_that_can_have_no_bound_is_an_error_of_the_store_and_changes_nothing(
    engine: Engine, commits: bool
) -> None:
    with no_descriptor_left() as limit, pytest.raises(STORE_ERRORS) as error:
        limit(False)
        with engine.begin() as connection:
            if not commits:
                limit(True)
            connection.execute(text("INSERT INTO kept VALUES (1)"))
            limit(True)
    assert isinstance(error.value.orig, OSError)
    assert kept(engine) == []


def test_190_a_rollback_that_can_have_no_bound_hides_no_other_error_and_changes_nothing(engine: Engine) -> None:
    with no_descriptor_left() as limit, pytest.raises(ZeroDivisionError):
        limit(False)
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO kept VALUES (1)"))
            limit(True)
            1 // 0  # noqa: B018
    assert kept(engine) == []


def test_190_a_server_that_hangs_up_after_each_login_is_an_error_of_the_store(engine: Engine) -> None:
    """As a pooler is that knows the user and has no server."""
    engine.dispose()
    with listening(engine, "checkout", lambda connection, *_: connection.close(), insert=True):
        for _ in range(2):
            with pytest.raises(STORE_ERRORS):
                kept(engine)
    assert kept(engine) == []


FORKED = """
import os, socket
from issuer.storage.engine import STORE_ERRORS
from issuer.storage.deadline import Deadlines

deadlines = Deadlines()
waiting, far = socket.socketpair()
last, other = socket.socketpair()
before = len(os.listdir("/proc/self/fd"))
deadlines.begin(1, waiting.fileno(), 60)
pid = os.fork()
if pid == 0:
    left = len(os.listdir("/proc/self/fd"))
    # A wait of the child's own is ended by a thread of its own.
    deadlines.begin(2, last.fileno(), 0.1)
    os._exit(0 if left == before and other.recv(1) == b"" else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
far.sendall(b"answer")
assert waiting.recv(9) == b"answer"
deadlines.end(1)
os._exit(0)
"""


def test_200_a_forked_child_closes_the_descriptors_of_its_parents_waits_and_ends_none_of_them() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", FORKED],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["serve", "run"])
def test_190_a_server_that_is_a_program_of_its_own_waits_as_a_server_does(tmp_path: Path, name: str) -> None:
    # With a command's patience, a minute, a store that hangs would hold every thread of it.
    group = click.Group("server")

    @group.command(name)
    def serve() -> None:
        app = create_app(instance_path=str(tmp_path))
        click.echo(app.extensions["realmint"].database.read_seconds)

    assert CliRunner().invoke(group, [name]).output.strip() == str(READ_SECONDS)
