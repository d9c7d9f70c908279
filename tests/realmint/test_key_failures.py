"""The failures that keys live through (facts: resource_server.md sections 3 and 9), each seen from the door of an API."""

from collections.abc import Callable
from email.utils import formatdate
from itertools import pairwise
from typing import Any

import pytest

from realmint import InvalidToken, KeyPolicy, ResourceServer, Unavailable
from realmint.messages import Request, Response, TransportError
from tests.support.clock import FakeClock
from tests.support.fake_issuer import ISSUER, JWKS_URI, METADATA, FakeIssuer, ok
from tests.support.forge import Forge

Events = list[tuple[str, Any]]


def status(api: ResourceServer, token: str) -> int:
    try:
        api.validate(token)
    except (InvalidToken, Unavailable) as refused:
        return refused.status
    return 200


def fresh(forge: Forge, clock: FakeClock, **changes: Any) -> str:
    return forge.token(iat=clock.now, nbf=clock.now, exp=clock.now + 600, **changes)


def unknown(fake: FakeIssuer, clock: FakeClock, kid: str = "unknown") -> str:
    times = {"iat": clock.now, "nbf": clock.now, "exp": clock.now + 600}
    return fake.forge.token(header={**fake.forge.header, "kid": kid}, **times)


def names(events: Events, *of: str) -> list[str]:
    return [name for name, _ in events if name in of]


def test_166_an_issuer_that_is_down_is_seen_by_nobody_until_the_last_good_keys_are_too_old(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock, events: Events
) -> None:
    """Rows 1 to 3: within ttl, past it, past the limit; a token of an unknown key is 503 throughout, never 401."""
    assert status(api, fresh(fake.forge, clock)) == 200
    fake.down = True
    for seconds, state in ((10, "fresh"), (255, "soft"), (36, "stale"), (3600, "stale"), (10498, "stale")):
        clock.advance(seconds)
        assert api.health()["keys"]["state"] == state
        assert (status(api, fresh(fake.forge, clock)), status(api, unknown(fake, clock))) == (200, 503)
        assert api.health()["ready"] is True
    clock.advance(1)
    for _ in range(3):
        assert (status(api, fresh(fake.forge, clock)), status(api, unknown(fake, clock))) == (503, 503)
        clock.advance(31)
    assert api.health()["ready"] is False
    assert api.health()["keys"]["fault"] == "ConnectTimeoutError"
    assert names(events, "keys.stale", "keys.dead") == ["keys.stale", "keys.dead"]
    fake.down = False
    clock.advance(31)
    assert (status(api, fresh(fake.forge, clock)), status(api, unknown(fake, clock))) == (200, 401)
    assert (api.health()["keys"]["state"], api.health()["keys"]["fault"]) == ("fresh", None)
    fake.down = True
    clock.advance(301)
    assert status(api, fresh(fake.forge, clock)) == 200
    assert names(events, "keys.stale", "keys.dead") == ["keys.stale", "keys.dead", "keys.stale"]  # told of anew


def test_166_keys_that_are_dead_are_asked_for_where_the_metadata_says_then(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    """After a machine was suspended, say: no fetch has failed, and the issuer has moved its keys meanwhile."""
    assert status(api, fresh(fake.forge, clock)) == 200
    address = f"{ISSUER}/keys"
    fake.answers[address] = fake.answers.pop(JWKS_URI)
    fake.answers[METADATA] = lambda _: ok({"issuer": ISSUER, "jwks_uri": address})
    clock.advance(14400)
    assert status(api, fresh(fake.forge, clock)) == 200
    assert (fake.fetches(JWKS_URI), fake.fetches(address)) == (1, 1)


def test_176_metadata_is_read_again_after_a_day_and_bad_metadata_costs_no_good_keys(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    assert status(api, fresh(fake.forge, clock)) == 200
    fake.answers[METADATA] = lambda _: Response(500, {}, b"")
    for _ in range(200):  # more than two days
        clock.advance(900)
        assert status(api, fresh(fake.forge, clock)) == 200
        assert api.health()["keys"]["state"] == "fresh"
    assert 2 <= fake.fetches(METADATA) - 1 <= 200
    fake.answers[METADATA] = lambda _: ok({"issuer": ISSUER, "jwks_uri": "https://evil.example/jwks"})
    clock.advance(900)
    assert status(api, fresh(fake.forge, clock)) == 200
    assert {request.url for request in fake.requests} == {METADATA, JWKS_URI}


def test_172_a_planned_rotation_refuses_nobody_and_causes_no_probe(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock, events: Events
) -> None:
    old, standby = fake.forge, Forge()
    for published in ([old, standby], [old, standby], [standby, old], [standby, old]):
        fake.published, fake.etag = published, f'"{clock.now}"'
        for _ in range(3):
            assert status(api, fresh(old, clock)) == 200
            clock.advance(150)
    for _ in range(3):
        assert status(api, fresh(standby, clock)) == 200
        clock.advance(150)
    assert names(events, "probe.spent", "probe.refused", "key.removed", "keys.replaced") == []


@pytest.mark.parametrize("how", ["at its time", "refresh_keys()"])
def test_167_after_an_emergency_the_old_key_verifies_nothing_from_the_next_request_on_cached_or_not(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock, events: Events, how: str
) -> None:
    """D7, and the row of emergency removal; a key that had not been published before is found with one fetch."""
    old = fake.forge
    cached = fresh(old, clock)
    assert [status(api, cached) for _ in range(2)] == [200, 200]
    fake.rotate(keep=False)
    clock.advance(300 if how == "at its time" else 1)
    if how == "refresh_keys()":
        api.refresh_keys()
    else:
        assert status(api, fresh(fake.forge, clock)) == 200
    before = len(fake.requests)
    assert (status(api, cached), status(api, fresh(old, clock))) == (401, 401)
    assert status(api, fresh(fake.forge, clock)) == 200
    assert len(fake.requests) == before
    assert names(events, "key.removed", "keys.replaced") == ["key.removed", "keys.replaced"]
    fake.down = True  # D6: nothing brings it back, least of all an outage
    for seconds in (300, 3600, 10000):
        clock.advance(seconds)
        assert status(api, fresh(old, clock)) == 401
        assert status(api, fresh(fake.forge, clock)) == 200


def test_167_the_same_name_over_other_material_refuses_the_old_tokens(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    old, other = fake.forge, Forge()
    kid = old.material.kid
    cached = fresh(old, clock)
    assert status(api, cached) == 200
    fake.answers[JWKS_URI] = lambda _: ok({"keys": [{**other.material.public_jwk, "kid": kid}]})
    clock.advance(300)
    assert status(api, fresh(other, clock, header={**other.header, "kid": kid})) == 200
    assert (status(api, cached), status(api, fresh(old, clock))) == (401, 401)


def test_164_d12_a_key_that_cannot_be_used_refuses_those_who_need_it_and_nobody_else(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    weak = Forge()
    fake.extra_keys = [{**weak.material.public_jwk, "use": "enc"}]
    assert (status(api, fresh(fake.forge, clock)), status(api, fresh(weak, clock))) == (200, 401)


@pytest.mark.parametrize(
    ("ahead", "accepted", "alarm"), [(0, 200, None), (20, 200, 20), (-20, 200, -20), (-120, 401, -120)]
)
def test_a_clock_that_is_apart_is_told_of_before_anybody_is_refused(
    api: ResourceServer,
    fake: FakeIssuer,
    clock: FakeClock,
    events: Events,
    ahead: int,
    accepted: int,
    alarm: int | None,
) -> None:
    serve = fake.answers[JWKS_URI]

    def dated(request: Request) -> Response:
        answer = serve(request)
        return answer._replace(headers={**answer.headers, "date": formatdate(clock.now - ahead, usegmt=True)})

    fake.answers[JWKS_URI] = dated
    theirs = clock.now - ahead
    assert status(api, fake.forge.token(iat=theirs, nbf=theirs, exp=theirs + 600)) == accepted
    if accepted == 401:
        with pytest.raises(Unavailable if fake.down else InvalidToken):
            api.validate(fake.forge.token(iat=theirs, nbf=theirs, exp=theirs + 600))
        api.refresh_keys()
    assert [fields["seconds"] for name, fields in events if name == "clock.offset"] == ([alarm] if alarm else [])
    assert api.health()["keys"]["clock_offset"] == ahead


@pytest.mark.parametrize("how", ["503", "no answer", "html"])
def test_162_d1_d3_a_flood_while_the_keys_cannot_be_had_costs_one_fetch_a_step_and_no_good_token(
    make_api: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock, how: str
) -> None:
    api = make_api(keys=KeyPolicy(ttl=600))
    fake.cache_control = "max-age=600"
    good = fake.forge.token()
    assert status(api, good) == 200
    fake.answers[JWKS_URI] = {
        "503": lambda _: Response(503, {}, b""),
        "no answer": _no_answer,
        "html": lambda _: ok(b"<html>"),
    }[how]
    before, failed_at = fake.fetches(), []
    for number in range(600):  # a minute
        fetches = fake.fetches()
        assert status(api, unknown(fake, clock, f"unknown-{number}")) == 503
        if fake.fetches() > fetches:
            failed_at.append(clock.elapsed)
        requests = len(fake.requests)
        assert status(api, good) == 200
        assert len(fake.requests) == requests
        clock.advance(0.1)
    assert fake.fetches() - before <= 7  # 0.5, 1, 2, 4, 8, 16, 30 between them, and two in ten seconds
    pauses = [later - earlier for earlier, later in pairwise(failed_at)]
    assert all(pause > 0.4 * 2**step for step, pause in enumerate(pauses))
    assert all(later - earlier > 9.9 for earlier, later in zip(failed_at, failed_at[2:], strict=False))


def _no_answer(_: Request) -> Response:
    raise TransportError("ConnectTimeoutError")


def test_166_d5_a_spent_budget_keeps_nobody_from_the_stale_keys(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    assert status(api, fresh(fake.forge, clock)) == 200
    fake.down = True
    clock.advance(299)
    for number in range(20):
        assert status(api, unknown(fake, clock, f"unknown-{number}")) == 503
        clock.advance(0.1)
    assert api.health()["keys"]["state"] == "stale"
    for _ in range(100):
        assert status(api, fresh(fake.forge, clock)) == 200
        clock.advance(60)


def test_162_a_token_that_is_older_than_the_keys_and_names_another_causes_no_fetch(
    make_api: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock
) -> None:
    """The tokens of a key that went while this process slept: hundreds of clients bring them for minutes."""
    api, at_once = make_api(), make_api(keys=KeyPolicy(prepublished=False))
    old = fresh(Forge(), clock)
    clock.advance(60)
    for each, fetches in ((api, 1), (at_once, 2)):
        before = fake.fetches()
        assert status(each, fresh(fake.forge, clock)) == 200
        assert status(each, old) == 401
        assert fake.fetches() - before == fetches


def test_173_what_an_unavailable_key_was_refused_for_is_said_as_its_cause(
    api: ResourceServer, fake: FakeIssuer
) -> None:
    fake.answers[JWKS_URI] = lambda _: Response(502, {}, b"a secret of the proxy")
    with pytest.raises(Unavailable) as refused:
        api.validate(fake.forge.token())
    assert str(refused.value.__cause__) == "status 502"
