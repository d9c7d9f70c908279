"""A resource server in front of an issuer without a socket."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from realmint import ResourceServer
from tests.support.clock import FakeClock
from tests.support.fake_issuer import ISSUER, FakeIssuer

AUDIENCE = "https://orders.example"


@pytest.fixture(autouse=True)
def _a_logger_that_no_issuer_set_up() -> Iterator[None]:
    """Both write to `realmint`, an issuer in ways of its own, and no API shares a process with one."""
    logger = logging.getLogger("realmint")
    handlers, level, propagate = logger.handlers, logger.level, logger.propagate
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)
    yield
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.fixture
def fake(clock: FakeClock) -> FakeIssuer:
    fake = FakeIssuer()
    fake.clock = clock.wall
    return fake


@pytest.fixture
def events() -> list[tuple[str, Any]]:
    return []


@pytest.fixture
def make_api(fake: FakeIssuer, clock: FakeClock, events: list[tuple[str, Any]]) -> Callable[..., ResourceServer]:
    def make(**options: Any) -> ResourceServer:
        given = {"issuer": ISSUER, "audience": AUDIENCE, "transport": fake, "background": False} | options
        return ResourceServer(
            **given,
            clock=clock.wall,
            monotonic=clock.monotonic,
            on_event=lambda name, more: events.append((name, more)),
        )

    return make


@pytest.fixture
def api(make_api: Callable[..., ResourceServer]) -> ResourceServer:
    return make_api()
