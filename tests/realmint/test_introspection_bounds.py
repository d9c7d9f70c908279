"""What asking the issuer costs: how often it is asked, how many at once, and what happens when it fails."""

import asyncio
import email.utils
import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest

from realmint import Introspection, InvalidToken, ResourceServer, Unavailable
from realmint.introspection_cache import MAX_ENTRIES
from realmint.introspection_desk import CALLS
from realmint.transport import Request, Response
from tests.support.clock import FakeClock
from tests.support.fake_issuer import INTROSPECT, FakeIssuer, ok

OPAQUE = "opaque-0123456789"


@pytest.fixture
def make_asking(make_api: Callable[..., ResourceServer]) -> Callable[..., ResourceServer]:
    def make(mode: str = "opaque", **more: Any) -> ResourceServer:
        options = {name: more.pop(name) for name in ("stale_if_error", "endpoint") if name in more}
        return make_api(introspection=Introspection("orders-api", "s+cr:t", mode=mode, **options), **more)  # type: ignore[arg-type]

    return make


def asked(fake: FakeIssuer) -> int:
    return fake.fetches(INTROSPECT)


def active(fake: FakeIssuer, clock: FakeClock, seconds: int = 600) -> dict[str, Any]:
    return {**fake.forge.claims, "iat": clock.now, "nbf": clock.now, "exp": clock.now + seconds}


def reason(api: ResourceServer, token: str = OPAQUE, **more: Any) -> str:
    with pytest.raises((InvalidToken, Unavailable)) as refused:
        api.validate(token, **more)
    return refused.value.reason


def test_173_a_good_answer_is_used_for_ten_seconds(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    api = make_asking()
    fake.active[OPAQUE] = active(fake, clock)
    for seconds, calls in ((0, 1), (9.99, 1), (0.01, 2)):
        clock.advance(seconds)
        assert api.validate(OPAQUE).source == "introspection"
        assert asked(fake) == calls


def test_173_a_good_answer_is_never_used_past_the_token_s_exp(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    api = make_asking(stale_if_error=60)
    fake.active[OPAQUE] = active(fake, clock, seconds=4)
    assert api.validate(OPAQUE)
    clock.advance(3)
    assert api.validate(OPAQUE)
    assert asked(fake) == 1
    clock.advance(1)
    assert api.validate(OPAQUE)  # within the leeway the token is still good, but that is for the issuer to say
    assert asked(fake) == 2
    fake.down = True
    assert reason(api) == "introspection_unreachable"


def test_173_a_bad_answer_is_used_for_ten_seconds_and_no_longer(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    api = make_asking()
    assert reason(api) == "inactive"
    fake.active[OPAQUE] = active(fake, clock)
    clock.advance(9.99)
    assert reason(api) == "inactive"
    assert asked(fake) == 1
    clock.advance(0.01)
    assert api.validate(OPAQUE)


def test_173_what_is_held_of_one_token_is_nothing_to_another_nor_to_another_api(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    fake.active[OPAQUE] = active(fake, clock)
    api = make_asking()
    assert api.validate(OPAQUE, scope="orders:read")
    assert reason(api, "another") == "inactive"
    assert make_asking().validate(OPAQUE)
    assert reason(make_asking(audience="https://other.example")) == "audience"
    assert asked(fake) == 4


def test_173_live_asks_each_time_and_uses_nothing_of_before(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    token = fake.forge.token()
    for api, more in (
        (make_asking("live", stale_if_error=60), {}),
        (make_asking("rescue", stale_if_error=60), {"live": True}),
    ):
        before = asked(fake)
        fake.active[token] = dict(fake.forge.claims)
        assert api.validate(token, **more).source == "introspection"
        assert api.validate(token, **more).source == "introspection"
        del fake.active[token]
        assert reason(api, token, **more) == "inactive"
        fake.active[token] = dict(fake.forge.claims)
        assert api.validate(token, **more)
        assert asked(fake) == before + 4
        fake.answers[INTROSPECT], kept = lambda _: Response(500, {}, b""), fake.answers[INTROSPECT]
        assert reason(api, token, **more) == "introspection_failed"
        fake.answers[INTROSPECT] = kept


def test_173_an_inactive_answer_ends_what_was_held(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    api = make_asking(stale_if_error=60)
    fake.active[OPAQUE] = active(fake, clock)
    assert api.validate(OPAQUE)
    clock.advance(10)
    del fake.active[OPAQUE]
    assert reason(api) == "inactive"
    fake.down = True
    clock.advance(10)
    assert reason(api) == "introspection_unreachable"


@pytest.mark.parametrize("stale_if_error", [0, 20])
def test_174_in_an_outage_a_good_answer_is_used_on_for_as_long_as_was_said(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock, stale_if_error: int
) -> None:
    api = make_asking(stale_if_error=stale_if_error)
    fake.active[OPAQUE] = active(fake, clock)
    assert api.validate(OPAQUE)
    fake.down = True
    clock.advance(10 + stale_if_error - 0.01)
    if stale_if_error:
        assert api.validate(OPAQUE).source == "introspection"
    clock.advance(0.01)
    assert reason(api) == "introspection_unreachable"
    assert reason(api, "another") == "introspection_unreachable"


def test_174_what_is_held_is_bounded_whatever_is_asked(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    api = make_asking()
    held = {"active": True, **active(fake, clock)}
    fake.answers[INTROSPECT] = lambda request: ok(held if b"good" in (request.body or b"") else {"active": False})
    for number in range(MAX_ENTRIES + 50):
        assert reason(api, f"bad-{number}") == "inactive"
        api.validate(f"good-{number}")
    (served,) = api._engine.served.values()
    assert served.introspection is not None
    assert served.introspection.health()["answers"] == 2 * MAX_ENTRIES
    before = asked(fake)
    assert reason(api, f"bad-{MAX_ENTRIES + 49}") == "inactive"
    assert asked(fake) == before
    assert reason(api, "bad-0") == "inactive"
    assert asked(fake) == before + 1


def test_174_a_large_answer_is_used_and_not_kept(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    api = make_asking()
    fake.active[OPAQUE] = {**active(fake, clock), "more": "x" * 9000}
    assert api.validate(OPAQUE)
    assert api.validate(OPAQUE)
    assert asked(fake) == 2


def test_174_five_failures_in_a_row_and_it_is_left_alone_until_one_try_succeeds(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock, events: list[tuple[str, Any]]
) -> None:
    api = make_asking()
    api.refresh_keys()
    fake.answers[INTROSPECT], good = lambda _: Response(500, {}, b""), fake.answers[INTROSPECT]
    for number in range(50):
        assert reason(api, f"t{number}") == "introspection_failed"
    assert asked(fake) == 5
    assert [more["state"] for name, more in events if name == "introspection.breaker"] == ["open"]
    clock.advance(1.2)  # the longest that the first pause can be
    assert reason(api, "t") == "introspection_failed"
    assert reason(api, "t") == "introspection_failed"
    assert asked(fake) == 6
    fake.answers[INTROSPECT] = good
    clock.advance(2.4)
    assert reason(api, "t") == "inactive"
    assert [more["state"] for name, more in events if name == "introspection.breaker"] == ["open", "closed"]


@pytest.mark.rfc("9110", "10.2.3")
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("said", "seconds"), [("7", 7), ("a date in nine seconds", None), ("600", 60)])
def test_174_an_endpoint_that_asks_to_be_left_alone_is(
    make_asking: Callable[..., ResourceServer],
    fake: FakeIssuer,
    clock: FakeClock,
    status: int,
    said: str,
    seconds: int | None,
) -> None:
    if seconds is None:
        said, seconds = email.utils.formatdate(clock.now + 9, usegmt=True), 9
    api = make_asking()
    fake.answers[INTROSPECT] = lambda _: Response(status, {"retry-after": said}, b"")
    with pytest.raises(Unavailable) as refused:
        api.validate(OPAQUE)
    assert refused.value.retry_after == seconds
    clock.advance(seconds - 1)
    assert reason(api, "another") == "introspection_failed"
    assert asked(fake) == 1
    clock.advance(1)
    assert reason(api, "another") == "introspection_failed"
    assert asked(fake) == 2


@pytest.mark.parametrize(
    "said", ["", "soon", "-1", "1.5", "\u0661", "9" * 40, "Sun, 99 Nov 2026", "Sun, 23 Nov 9999999 02:40:07 GMT"]
)
def test_161_174_a_pause_that_makes_no_sense_is_none(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, said: str
) -> None:
    api = make_asking()
    fake.answers[INTROSPECT] = lambda _: Response(503, {"retry-after": said}, b"")
    assert reason(api) == reason(api) == "introspection_failed"
    assert asked(fake) == 2


def test_178_our_own_wrong_credentials_are_503_and_no_storm(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, events: list[tuple[str, Any]]
) -> None:
    api = make_asking()
    fake.answers[INTROSPECT] = lambda _: Response(401, {}, b'{"error":"invalid_client"}')
    for number in range(100):
        assert reason(api, f"t{number}") == "introspection_credentials"
    assert asked(fake) == 5
    assert "s+cr" not in repr(events)


class Gate:
    """Introspection that answers when it is let, and knows how many are in it."""

    def __init__(self, fake: FakeIssuer, document: dict[str, Any]) -> None:
        self.open = threading.Event()
        self.inside = 0
        self._came = threading.Condition()
        self._document = document
        fake.answers[INTROSPECT] = self

    def __call__(self, request: Request) -> Response:
        with self._came:
            self.inside += 1
            self._came.notify_all()
        assert self.open.wait(20)
        token = parse_qs((request.body or b"").decode())["token"][0]
        return ok({**self._document, "active": True, "jti": token})

    def reached(self, calls: int) -> bool:
        with self._came:
            return self._came.wait_for(lambda: self.inside == calls, 20)


def validated(api: ResourceServer, tokens: list[str]) -> tuple[list[threading.Thread], list[str]]:
    """Asks about each in a thread of its own; the outcomes come as they come."""
    outcomes: list[str] = []

    def ask(token: str) -> None:
        try:
            outcomes.append(api.validate(token).jti)
        except Unavailable as error:
            outcomes.append(error.reason)

    threads = [threading.Thread(target=ask, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    return threads, outcomes


def test_174_many_who_ask_about_one_token_at_once_make_one_call(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    api = make_asking(background=True)
    gate = Gate(fake, active(fake, clock))
    threads, outcomes = validated(api, [OPAQUE] * 20)
    assert gate.reached(1)
    gate.open.set()
    for thread in threads:
        thread.join(20)
    assert outcomes == [OPAQUE] * 20
    assert gate.inside == 1
    api.close()


def test_174_no_more_than_thirty_two_calls_are_under_way_and_the_rest_are_503_soon(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    api = make_asking(background=True)
    gate = Gate(fake, active(fake, clock))
    first, good = validated(api, [f"t{number}" for number in range(CALLS)])
    assert gate.reached(CALLS)
    # Those who find no place within 50 ms, and those who find too many waiting before them.
    more, refused = validated(api, [f"more{number}" for number in range(2 * CALLS)])
    for thread in more:
        thread.join(20)
    assert refused == ["introspection_busy"] * 2 * CALLS
    gate.open.set()
    for thread in first:
        thread.join(20)
    assert len(good) == CALLS
    assert gate.inside == CALLS
    assert api.validate("afterwards").jti == "afterwards"
    api.close()


def test_174_an_event_loop_shares_a_call_and_one_that_is_cancelled_cancels_none(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    api = make_asking(background=True)
    gate = Gate(fake, active(fake, clock))

    async def run() -> list[str]:
        tasks = [asyncio.create_task(api.avalidate(OPAQUE)) for _ in range(5)]
        assert await asyncio.to_thread(gate.reached, 1)
        tasks[0].cancel()
        gate.open.set()
        return [(await task).jti for task in tasks[1:]]

    assert asyncio.run(run()) == [OPAQUE] * 4
    assert gate.inside == 1
    assert api.validate(OPAQUE).jti == OPAQUE  # from what the loop was told
    assert gate.inside == 1
    api.close()


def test_174_a_call_has_a_second_in_all(make_asking: Callable[..., ResourceServer], fake: FakeIssuer) -> None:
    assert reason(make_asking()) == "inactive"
    assert fake.requests[-1].seconds == 1.0


def test_161_a_transport_that_raises_anything_is_503_and_quoted_nowhere(
    make_asking: Callable[..., ResourceServer],
    fake: FakeIssuer,
    events: list[tuple[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(request: Request) -> Response:
        raise RuntimeError(json.dumps(dict(request.headers)) + OPAQUE)

    fake.answers[INTROSPECT] = broken
    api = make_asking()
    with pytest.raises(Unavailable) as refused:
        api.validate(OPAQUE)
    assert refused.value.reason == "introspection_unreachable"
    for text in (repr(refused.value.__cause__), repr(events), caplog.text):
        assert OPAQUE not in text
        assert "Basic" not in text


def test_170_the_cause_of_a_failure_stands_behind_the_refusal(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer
) -> None:
    api = make_asking()
    api.refresh_keys()
    fake.down = True
    with pytest.raises(Unavailable) as refused:
        api.validate(OPAQUE)
    assert str(refused.value.__cause__) == "ConnectTimeoutError"
