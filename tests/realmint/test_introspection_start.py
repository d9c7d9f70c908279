"""A question that could not be sent."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from realmint import Introspection, KeyPolicy
from realmint.introspection import IntrospectionClient
from realmint.introspection_desk import CALLS
from realmint.key_source import KeySource
from realmint.reach import Reach
from tests.support.clock import FakeClock
from tests.support.fake_issuer import ISSUER, FakeIssuer


def ignore(_name: str, _fields: Mapping[str, Any]) -> None:
    """Listens to nothing."""


def test_a_question_that_could_not_be_sent_takes_no_place_and_may_be_asked_again(fake: FakeIssuer) -> None:
    faults = [MemoryError() for _ in range(2 * CALLS)]
    clock = FakeClock()

    def start(run: Callable[[], None]) -> None:
        if faults:
            raise faults.pop()
        run()

    reach = Reach(ISSUER)
    keys = KeySource(reach, fake, KeyPolicy(), clock.monotonic, ignore)
    settings = Introspection("orders-api", "s", mode="opaque")
    client = IntrospectionClient(settings, keys, reach, fake, clock.wall, clock.monotonic, ignore, start=start)
    fake.active["opaque-1"] = fake.forge.claims
    while faults:
        with pytest.raises(MemoryError):
            client.ask("opaque-1", None)
        clock.advance(60)
    assert client.ask("opaque-1", None)["client_id"] == "svc"
