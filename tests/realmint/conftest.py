"""A resource server in front of an issuer without a socket."""

from collections.abc import Callable
from typing import Any

import pytest

from realmint import ResourceServer
from tests.support.clock import FakeClock
from tests.support.fake_issuer import ISSUER, FakeIssuer

AUDIENCE = "https://orders.example"


@pytest.fixture
def fake() -> FakeIssuer:
    return FakeIssuer()


@pytest.fixture
def events() -> list[tuple[str, Any]]:
    return []


@pytest.fixture
def make_api(fake: FakeIssuer, clock: FakeClock, events: list[tuple[str, Any]]) -> Callable[..., ResourceServer]:
    def make(**options: Any) -> ResourceServer:
        given = {"issuer": ISSUER, "audience": AUDIENCE, "transport": fake} | options
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
