"""Threads around the key cache: what is decided is done, and nobody is left waiting."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from realmint import KeyPolicy, Unavailable
from realmint.key_source import KeySource
from realmint.messages import Request, Response, TransportError
from realmint.reach import Reach
from realmint.single_flight import Start, beside, here
from tests.support.clock import FakeClock
from tests.support.fake_issuer import ISSUER, JWKS_URI, FakeIssuer


def ignore(_name: str, _fields: Mapping[str, Any]) -> None:
    """Listens to nothing."""


def source(transport: Any, listener: Any = ignore, wait: float = 1.5, start: Start = beside) -> KeySource:
    return KeySource(Reach(ISSUER), transport, KeyPolicy(wait=wait), FakeClock().monotonic, listener, start=start)


def test_a_transport_that_breaks_is_a_failed_fetch_and_what_it_said_is_not_logged(
    fake: FakeIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [ZeroDivisionError("a fault of its own")]

    def transport(request: Request) -> Response:
        if broken:
            raise broken.pop()
        return fake(request)

    clock = FakeClock()
    keys = KeySource(Reach(ISSUER), transport, KeyPolicy(), clock.monotonic, ignore)
    with pytest.raises(Unavailable):
        keys.key(fake.forge.material.kid)
    assert caplog.messages == ["the transport raised ZeroDivisionError, which is no TransportError"]
    clock.advance(1)
    assert keys.key(fake.forge.material.kid).kid == fake.forge.material.kid


@pytest.mark.parametrize("fault", [MemoryError, KeyboardInterrupt])
def test_a_fetch_that_could_not_set_out_is_no_fetch_that_is_waited_for(
    fake: FakeIssuer, fault: type[BaseException]
) -> None:
    faults = [fault()]

    def start(run: Callable[[], None]) -> None:
        if faults:
            raise faults.pop()
        run()

    keys = source(fake, start=start)
    with pytest.raises(fault):
        keys.key(fake.forge.material.kid)
    assert keys.key(fake.forge.material.kid).kid == fake.forge.material.kid


def test_a_listener_that_breaks_loses_no_keys_and_is_logged(fake: FakeIssuer, caplog: pytest.LogCaptureFixture) -> None:
    def listener(_name: str, _fields: Mapping[str, Any]) -> None:
        raise ZeroDivisionError("a fault of its own")

    keys = source(fake, listener, start=here)
    keys.refresh()
    assert caplog.messages == ["on_event raised for keys.refreshed"]
    assert (keys.health()["state"], keys.health()["keys"]) == ("fresh", 1)
    assert keys.key(fake.forge.material.kid).kid == fake.forge.material.kid


@pytest.mark.parametrize("down", [False, True])
def test_who_waited_hears_what_came_of_it(fake: FakeIssuer, down: bool) -> None:
    entered, go = threading.Event(), threading.Event()
    waiting = threading.Barrier(5)

    def transport(request: Request) -> Response:
        entered.set()
        assert go.wait(10)
        if down:
            raise TransportError("ConnectTimeoutError")
        return fake(request)

    keys, heard = source(transport, wait=10), []

    def need() -> None:
        if entered.is_set():
            waiting.wait(10)
        try:
            heard.append(keys.key(fake.forge.material.kid).kid)
        except Unavailable as refused:
            heard.append(refused.reason)

    first = threading.Thread(target=need)
    first.start()
    assert entered.wait(10)
    others = [threading.Thread(target=need) for _ in range(4)]
    for thread in others:
        thread.start()
    waiting.wait(10)
    go.set()
    for thread in [first, *others]:
        thread.join(10)
    assert heard == ["keys_unreachable" if down else fake.forge.material.kid] * 5


def test_167_a_refresh_is_not_content_with_a_fetch_that_set_out_before_it(fake: FakeIssuer) -> None:
    entered, go = threading.Event(), threading.Event()

    def transport(request: Request) -> Response:
        answer = fake(request)
        if request.url == JWKS_URI and not entered.is_set():
            entered.set()
            assert go.wait(10)
        return answer

    keys, stolen = source(transport, wait=10), fake.forge.material.kid
    early = threading.Thread(target=keys.refresh)
    early.start()
    assert entered.wait(10)
    fake.rotate(keep=False)  # its answer is written already
    asked = threading.Thread(target=keys.refresh)
    asked.start()
    go.set()
    for thread in (early, asked):
        thread.join(10)
    assert fake.fetches() == 2
    assert keys.at_hand(stolen) is None
    assert keys.at_hand(fake.forge.material.kid) is not None


def test_a_good_key_is_had_while_another_call_fetches(fake: FakeIssuer) -> None:
    keys = source(fake)
    keys.refresh()
    fake.gate = threading.Event()
    stalled = threading.Thread(target=keys.refresh)
    stalled.start()
    assert keys.key(fake.forge.material.kid).kid == fake.forge.material.kid
    fake.gate.set()
    stalled.join(10)
    assert fake.fetches() == 2
