"""Fixtures that all tests share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import postgres
from tests.support.clock import FakeClock
from tests.support.issuer import Issuer

# A machine that does other things besides is no fault of what is tested.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_issuer(tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., Issuer]]:
    """Makes issuers with settings of the test's own; all are closed at its end."""
    made: list[Issuer] = []

    def make(name: str = "instance", database_url: str | None = None, **settings: str) -> Issuer:
        made.append(Issuer(tmp_path / name, clock, database_url, **settings))
        return made[-1]

    yield make
    for issuer in made:
        issuer.runtime.close()


@pytest.fixture
def issuer(make_issuer: Callable[..., Issuer]) -> Issuer:
    """An issuer on its embedded database, with the root realm."""
    made = make_issuer()
    made.runtime.boot()
    return made


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    binaries = postgres.find_binaries()
    if binaries is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have a PostgreSQL server: apt-get install postgresql")
        pytest.skip("no PostgreSQL server binary on this machine (apt-get install postgresql)")
    server = postgres.Server(binaries)
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: postgres.Server = request.getfixturevalue("postgres_server")
    return server.url(server.create_database())


@pytest.fixture
def stored_issuer(database_url: str, make_issuer: Callable[..., Issuer]) -> Issuer:
    """An issuer on each database engine, set up by its two commands."""
    return make_issuer("instance", database_url).setup()


@pytest.fixture
def second_node(stored_issuer: Issuer, database_url: str, make_issuer: Callable[..., Issuer]) -> Issuer:
    """Another node on the same database as stored_issuer, in this process but with its own snapshot."""
    return make_issuer("second", database_url)
