"""How PostgreSQL is reached: by names that nobody resolves, at hosts that say nothing, by a process out of descriptors."""

import os
import re
import resource
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from issuer.storage.engine import STORE_ERRORS
from issuer.storage.postgresql import CONNECT, bound_every_wait
from realmint.protocol import monotonic
from tests.issuer.conftest import READER
from tests.support import postgres
from tests.support.issuer import Issuer
from tests.support.meanwhile import listening
from tests.support.relay import Relay


@pytest.fixture
def port(postgres_server: postgres.Server) -> Iterator[int]:
    """Where the server is to be had by TCP."""
    relay = Relay(postgres_server.socket)
    yield relay.port
    relay.close()


def reaching(where: str, resolve: Callable[..., Any] = socket.getaddrinfo) -> Engine:
    engine = create_engine(f"postgresql+psycopg://realmint@{where}", connect_args=CONNECT)
    bound_every_wait(engine, resolve=resolve)
    return engine


@contextmanager
def silent(number: int) -> Iterator[Sequence[int]]:
    """The ports of so many hosts that take a connection and say nothing."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        yield [listener.getsockname()[1] for listener in listeners]


def test_190_a_name_that_the_resolver_does_not_answer_for_is_an_error_of_the_store_within_seconds() -> None:
    answered = threading.Event()

    def resolve(*_: Any, **__: Any) -> Any:
        answered.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "in vain")

    began = monotonic()
    with pytest.raises(STORE_ERRORS, match=r"db\.example could not be looked up"):
        reaching("db.example/postgres", resolve).connect()
    assert monotonic() - began < 5
    answered.set()


@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_NONAME, "unknown"), UnicodeError("too long")])
def test_190_a_name_that_is_unknown_is_an_error_of_the_store(error: Exception) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        raise error

    with pytest.raises(STORE_ERRORS, match=re.escape(f"{error}")):
        reaching("db.example/postgres", resolve).connect()


def test_a_host_is_reached_at_the_address_of_its_name_and_known_by_that_name(port: int) -> None:
    """Which is what its certificate is checked against."""

    def resolve(host: str, *_: Any, **__: Any) -> Any:
        assert host == "db.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    engine = reaching(f"db.example:{port}/postgres", resolve)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        assert (driver.info.host, driver.info.hostaddr) == ("db.example", "127.0.0.1")
    engine.dispose()


@pytest.mark.parametrize("lives", [True, False])
def test_190_several_hosts_that_say_nothing_take_no_longer_than_a_few_seconds_together(port: int, lives: bool) -> None:
    began = monotonic()
    with silent(4) as ports:
        all_of_them = "&".join(f"host=127.0.0.1:{each}" for each in [*ports, *([port] if lives else [])])
        engine = reaching(f"/postgres?{all_of_them}")
        if lives:
            with engine.connect() as connection:
                assert connection.scalar(text("SELECT 1")) == 1
        else:
            with pytest.raises(STORE_ERRORS):
                engine.connect()
    assert monotonic() - began < 6
    engine.dispose()


def test_190_of_several_names_one_that_is_unknown_holds_no_other_up(port: int) -> None:
    def resolve(host: str, *_: Any, **__: Any) -> Any:
        if host == "gone.example":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0))]

    for hosts in (("gone.example", "127.0.0.1"), ("127.0.0.1", "gone.example")):
        engine = reaching("/postgres?" + "&".join(f"host={host}:{port}" for host in hosts), resolve)
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT 1")) == 1
        engine.dispose()


@contextmanager
def descriptors_left(number: int) -> Iterator[None]:
    """This process can have just so many further ones until the block ends."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free: list[int] = []
    try:
        free += [os.dup(0) for _ in range(number + 1)]
        limit = free[-1]
    finally:
        for descriptor in free:
            os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_190_a_process_that_has_too_few_descriptors_for_a_connection_answers_503(
    make_issuer: Callable[..., Issuer], postgres_server: postgres.Server, number: int
) -> None:
    issuer = make_issuer("instance", postgres_server.url(postgres_server.create_database())).setup()
    caller = issuer.client(options=f"{READER} --scope am-introspect-all-tokens")
    token = issuer.token(caller)
    assert issuer.introspect(caller, token).json["active"] is True
    issuer.runtime.database.engine.dispose()
    with descriptors_left(number):
        status = issuer.introspect(caller, token).status_code
    assert status == 503 if number < 2 else status in {200, 503}
    assert issuer.introspect(caller, token).json["active"] is True


def test_190_what_the_system_says_of_waiting_is_an_error_of_the_store_and_the_connection_is_replaced(
    postgres_server: postgres.Server,
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no descriptor to wait by")

    engine = create_engine(postgres_server.url("postgres").replace("postgresql:", "postgresql+psycopg:"))
    bound_every_wait(engine)
    with engine.connect() as connection:
        with listening(engine, "do_execute", fail), pytest.raises(STORE_ERRORS):
            connection.execute(text("SELECT 1"))
        assert connection.invalidated
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()
