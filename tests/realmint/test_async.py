"""On an event loop: the same decision, and the loop goes on meanwhile."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from realmint import InsufficientScope, Introspection, InvalidToken, ResourceServer, Unavailable
from tests.support.fake_issuer import FakeIssuer
from tests.support.forge import Forge

Make = Callable[..., ResourceServer]


def test_it_decides_the_same(make_api: Make, fake: FakeIssuer) -> None:
    api = make_api(introspection=Introspection("orders", "secret", mode="opaque"))
    fake.revoke(7)
    fake.active["rmt_0123456789"] = fake.forge.claims

    async def all_of_them() -> None:
        assert (await api.avalidate(fake.forge.token(), scope="orders:read")).source == "local"
        assert (await api.avalidate(fake.status_token(5))).source == "local"
        assert (await api.avalidate("rmt_0123456789")).source == "introspection"
        with pytest.raises(InvalidToken, match="revoked"):
            await api.avalidate(fake.status_token(7))
        with pytest.raises(InvalidToken, match="signature"):
            await api.avalidate(fake.forge.with_signature(bytes(64)))
        with pytest.raises(InsufficientScope):
            await api.avalidate(fake.forge.token(), scope="admin")
        fake.forge, fake.down = Forge(), True
        with pytest.raises(Unavailable):
            await make_api().avalidate(fake.forge.token())

    asyncio.run(all_of_them())


def test_the_loop_goes_on_while_keys_are_fetched_and_callers_share_the_fetch(make_api: Make, fake: FakeIssuer) -> None:
    api = make_api(background=True)
    fake.gate = threading.Event()

    async def calls() -> list[str]:
        tasks = [asyncio.create_task(api.avalidate(fake.forge.token())) for _ in range(8)]
        while not fake.requests:  # noqa: ASYNC110 - the fetch is under way in its thread, and this loop turns
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        assert fake.gate is not None
        fake.gate.set()
        return [token.client_id for token in await asyncio.gather(*tasks)]

    assert asyncio.run(calls()) == ["svc"] * 8
    assert fake.fetches() == 1
    api.close()


def test_a_caller_that_is_cancelled_cancels_no_fetch(make_api: Make, fake: FakeIssuer) -> None:
    api = make_api(background=True)
    fake.gate = threading.Event()

    async def calls() -> str:
        cancelled = asyncio.create_task(api.avalidate(fake.forge.token()))
        while not fake.requests:  # noqa: ASYNC110
            await asyncio.sleep(0)
        other = asyncio.create_task(api.avalidate(fake.forge.token()))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert fake.gate is not None
        fake.gate.set()
        return (await other).client_id

    assert asyncio.run(calls()) == "svc"
    assert fake.fetches() == 1
    api.close()


def test_several_loops_one_after_another_use_one_resource_server(make_api: Make, fake: FakeIssuer) -> None:
    api = make_api(background=True)
    for _ in range(3):
        assert asyncio.run(api.avalidate(fake.forge.token())).client_id == "svc"
    assert fake.fetches() == 1
    api.close()
