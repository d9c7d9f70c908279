"""Keys under real threads, event loops and forks: nobody waits for an issuer whose good keys are at hand."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from realmint import InvalidToken, KeyPolicy, ResourceServer, Unavailable
from realmint.key_source import KeySource
from realmint.messages import Request, Response
from realmint.probing import JOINERS, PROBES
from realmint.reach import Reach
from realmint.single_flight import here
from tests.support.clock import FakeClock
from tests.support.fake_issuer import ISSUER, FakeIssuer
from tests.support.forge import encode

PATIENT = KeyPolicy(wait=10)
"""A caller who waits for a fetch waits for so long that nobody could take it for none."""


class Watched:
    """A source of keys, warm, whose fetches can be waited for: when one asks, and when one has landed."""

    def __init__(self, fake: FakeIssuer, clock: FakeClock) -> None:
        self.asked, self.landed = threading.Semaphore(0), threading.Semaphore(0)
        self._fake = fake
        self.keys = KeySource(
            Reach(ISSUER),
            self._send,
            PATIENT,
            clock.monotonic,
            lambda *_: None,
            clock=clock.wall,
            landed=self.landed.release,
        )
        self.keys.refresh()
        self.kid = fake.forge.material.kid
        assert self.asked.acquire(timeout=10)
        assert self.asked.acquire(timeout=10)
        assert self.landed.acquire(timeout=10)

    def _send(self, request: Request) -> Response:
        self.asked.release()
        return self._fake(request)


@contextmanager
def hanging(fake: FakeIssuer) -> Iterator[None]:
    """The issuer answers nothing until the end of the block."""
    fake.gate = threading.Event()
    try:
        yield
    finally:
        fake.gate.set()
        fake.gate = None


def test_162_d2_d3_ten_thousand_names_over_eight_threads_cause_two_fetches_and_good_tokens_pass(
    make_api: Callable[..., ResourceServer], fake: FakeIssuer
) -> None:
    api = make_api(background=True)
    good = fake.forge.token()
    assert api.validate(good).client_id == "svc"
    before = fake.fetches()
    head, _, tail = good.partition(".")
    assert encode(fake.forge.header) == head
    flooded, said, passed = threading.Event(), [], []

    def flood(start: int) -> None:
        for number in range(start, 10_000, 8):
            # The signature is never looked at, as there is no key for it.
            named = encode({**fake.forge.header, "kid": f"unknown-{number}"})
            try:
                api.validate(f"{named}.{tail}")
            except (InvalidToken, Unavailable) as refused:
                said.append(refused.status)

    def use() -> None:
        while not flooded.is_set():
            passed.append(api.validate(good).client_id)

    user = threading.Thread(target=use)
    user.start()
    floods = [threading.Thread(target=flood, args=(start,)) for start in range(8)]
    for thread in floods:
        thread.start()
    for thread in floods:
        thread.join(60)
    flooded.set()
    user.join(10)
    api.close()
    assert fake.fetches() - before <= 2
    # 503 at most for those who waited in vain, should a thread have stalled for so long.
    assert len(said) == 10_000
    assert said.count(401) >= 10_000 - PROBES * (1 + JOINERS)
    assert passed
    assert set(passed) == {"svc"}


def test_162_d4_a_good_token_passes_while_eight_bad_ones_wait_for_an_issuer_that_hangs(
    fake: FakeIssuer, clock: FakeClock
) -> None:
    watched = Watched(fake, clock)
    keys, refused = watched.keys, []

    def bad(number: int) -> None:
        try:
            keys.key(f"unknown-{number}")
        except (InvalidToken, Unavailable) as error:
            refused.append(error.status)

    with hanging(fake):
        threads = [threading.Thread(target=bad, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        assert watched.asked.acquire(timeout=10)
        for _ in range(100):
            assert keys.key(watched.kid) is keys.at_hand(watched.kid)
        assert refused == []
    for thread in threads:
        thread.join(10)
    assert refused == [401] * 8


def test_168_a_refresh_ahead_that_hangs_is_felt_by_nobody(fake: FakeIssuer, clock: FakeClock) -> None:
    watched = Watched(fake, clock)
    keys, key = watched.keys, watched.keys.at_hand(watched.kid)
    assert key is not None
    clock.advance(270)
    with hanging(fake):
        keys.upkeep()
        assert watched.asked.acquire(timeout=10)
        assert keys.health()["state"] == "soft"
        assert keys.key(key.kid) is key
        clock.advance(30 + 10)  # past the ttl, and past the wait that all callers share
        assert keys.health()["state"] == "stale"
        assert keys.at_hand(key.kid) is key
        assert keys.key(key.kid) is key
    assert watched.landed.acquire(timeout=10)
    assert keys.health()["state"] == "fresh"
    assert keys.key(key.kid) is key


def test_168_stale_keys_of_a_source_that_fails_are_had_at_once_and_the_next_try_is_beside(
    fake: FakeIssuer, clock: FakeClock
) -> None:
    watched = Watched(fake, clock)
    keys, kid = watched.keys, watched.kid
    fake.down = True
    clock.advance(300)
    assert keys.key(kid).kid == kid  # who comes first waits for the failure
    assert watched.landed.acquire(timeout=10)
    fake.down = False
    clock.advance(1)
    with hanging(fake):
        assert [keys.key(kid).kid for _ in range(20)] == [kid] * 20
    assert watched.landed.acquire(timeout=10)
    assert keys.health()["state"] == "fresh"
    assert fake.fetches() == 3


def test_174_on_an_event_loop_good_keys_pass_and_a_cancelled_caller_cancels_nothing(
    fake: FakeIssuer, clock: FakeClock
) -> None:
    watched = Watched(fake, clock)
    keys, kid = watched.keys, watched.kid

    async def story() -> None:
        await keys.arefresh()
        with hanging(fake):
            impatient, patient = (asyncio.create_task(keys.akey("unknown")) for _ in range(2))
            await asyncio.sleep(0)
            impatient.cancel()
            assert (await keys.akey(kid)).kid == kid
            assert [key.kid for key in await keys.afitting("ES256")] == [kid]
            assert not patient.done()
        with pytest.raises(InvalidToken):
            await patient

    asyncio.run(story())
    assert keys.health()["state"] == "fresh"
    assert fake.fetches() == 3


def test_167_what_a_status_list_tells_is_fetched_beside_and_waits_for_nothing(
    fake: FakeIssuer, clock: FakeClock
) -> None:
    watched = Watched(fake, clock)
    keys, old = watched.keys, watched.kid
    fake.rotate(keep=False)
    with hanging(fake):
        keys.told_kids(frozenset({fake.forge.material.kid}))
        assert keys.at_hand(old) is not None
    watched.landed.acquire(timeout=10)  # told_kids() itself has somebody look again
    assert watched.landed.acquire(timeout=10)
    assert keys.at_hand(old) is None
    with pytest.raises(InvalidToken):
        keys.key(old)
    assert keys.at_hand(fake.forge.material.kid) is not None
    fetches = fake.fetches()
    for _ in range(5):
        keys.told_kids(frozenset({fake.forge.material.kid}))
    assert fake.fetches() == fetches


def test_200_each_child_of_a_fork_refreshes_at_a_moment_of_its_own(fake: FakeIssuer, clock: FakeClock) -> None:
    """So that the workers of a server that loads before it forks do not ask their issuer all at once."""
    keys = KeySource(Reach(ISSUER), fake, KeyPolicy(), clock.monotonic, lambda *_: None, start=here)
    keys.refresh()
    moments = {round(keys.upkeep(), 3)}
    for _ in range(3):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, str(round(keys.upkeep(), 3)).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as said:
            moments.add(float(said.read()))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert all(216 <= moment <= 264 for moment in moments)
    assert len(moments) > 1
