"""A token that the issuer called inactive is not let in by an answer from before."""

from collections.abc import Callable
from typing import Any

import pytest

from realmint import Introspection, InvalidToken, ResourceServer, Unavailable
from realmint.transport import Request, Response
from tests.support.clock import FakeClock
from tests.support.fake_issuer import INTROSPECT, FakeIssuer, ok

OPAQUE = "opaque-0123456789"


def active(fake: FakeIssuer, clock: FakeClock) -> dict[str, Any]:
    return {**fake.forge.claims, "iat": clock.now, "nbf": clock.now, "exp": clock.now + 600}


def reason(api: ResourceServer, **more: Any) -> str:
    with pytest.raises((InvalidToken, Unavailable)) as refused:
        api.validate(OPAQUE, **more)
    return refused.value.reason


def test_173_what_a_live_question_found_out_is_held_against_the_token_on_every_route(
    make_api: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    api = make_api(introspection=Introspection("orders-api", "s", mode="opaque", stale_if_error=60))
    fake.active[OPAQUE] = active(fake, clock)
    assert api.validate(OPAQUE)
    del fake.active[OPAQUE]
    assert reason(api, live=True) == "inactive"
    assert reason(api) == "inactive"
    fake.down = True
    clock.advance(11)
    assert reason(api) == "introspection_unreachable"


def test_173_an_answer_that_comes_late_revives_no_token_that_was_refused_meanwhile(
    make_api: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    api = make_api(introspection=Introspection("orders-api", "s", mode="opaque", stale_if_error=60))
    found = active(fake, clock)
    whole = fake.answers[INTROSPECT]

    def overtaken(_: Request) -> Response:
        fake.answers[INTROSPECT] = whole
        clock.advance(0.5)
        assert reason(api, live=True) == "inactive"
        return ok({"active": True, **found})

    fake.answers[INTROSPECT] = overtaken
    assert api.validate(OPAQUE)  # who asked before hears what was true then
    assert reason(api) == "inactive"
    assert fake.fetches(INTROSPECT) == 2


@pytest.mark.parametrize("status", [400, 413, 414, 422, 431])
def test_174_what_an_issuer_will_not_answer_about_one_token_keeps_it_from_no_other(
    make_api: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock, status: int
) -> None:
    api = make_api(introspection=Introspection("orders-api", "s", mode="opaque"))
    fake.active[OPAQUE] = active(fake, clock)
    whole = fake.answers[INTROSPECT]
    fake.answers[INTROSPECT] = lambda asked: (
        Response(status, {}, b"") if b"strange" in (asked.body or b"") else whole(asked)
    )
    for number in range(40):  # which anybody can send
        with pytest.raises(Unavailable) as refused:
            api.validate(f"strange-{number}")
        assert refused.value.reason == "introspection_failed"
    assert api.validate(OPAQUE).source == "introspection"
