"""What the logger `realmint` says: what an operator must mend, and how; seldom; and nothing that is secret."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from realmint import Introspection, InvalidToken, ResourceServer, TokenError, Unavailable
from realmint.notices import QUIET_SECONDS, WARNINGS, Notices
from realmint.transport import Response
from tests.support.clock import FakeClock
from tests.support.fake_issuer import INTROSPECT, ISSUER, JWKS_URI, METADATA, FakeIssuer, ok

OPAQUE = "opaque-0123456789"
SECRET = "s+cr:t"


@pytest.fixture(autouse=True)
def _all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "realmint")


@pytest.fixture
def make_asking(make_api: Callable[..., ResourceServer]) -> Callable[..., ResourceServer]:
    return lambda mode="opaque": make_api(introspection=Introspection("orders-api", SECRET, mode=mode))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert {record.name for record in caplog.records} <= {"realmint"}
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def refused(api: ResourceServer, token: str, **more: Any) -> TokenError:
    with pytest.raises((InvalidToken, Unavailable)) as caught:
        api.validate(token, **more)
    return caught.value


def test_a_refusal_is_said_at_info_without_the_token(
    api: ResourceServer, fake: FakeIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    token = fake.forge.token(aud="https://other.example")
    refused(api, token)
    assert caplog.record_tuples == [("realmint", logging.INFO, "refused: status 401, reason audience")]
    assert token not in caplog.text


def test_an_issuer_that_cannot_be_reached_is_warned_of_once_a_minute_with_the_cause(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    fake.down = True
    for _ in range(60):
        refused(api, fake.forge.token())
        clock.advance(1)
    said = [line for line in warnings(caplog) if line.startswith(f"the keys of {ISSUER}")]
    assert len(said) == 1
    assert "ConnectTimeoutError" in said[0]
    clock.advance(31)  # longer than any pause between fetches
    refused(api, fake.forge.token())
    assert len([line for line in warnings(caplog) if line.startswith(f"the keys of {ISSUER}")]) == 2


def test_178_credentials_of_ours_that_are_wrong_are_warned_of_with_what_to_mend_and_never_the_caller_s_fault(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    api = make_asking()
    fake.answers[INTROSPECT] = lambda _: Response(401, {}, b"{}")
    for number in range(4):
        error = refused(api, f"{OPAQUE}-{number}")
        assert (error.status, error.challenge) == (503, None)
    (said,) = warnings(caplog)
    assert said.startswith(f"{INTROSPECT} refuses this API's own credentials (status 401): ")
    assert said.endswith("until client_id and client_secret of Introspection(...) are those of a live client")
    assert SECRET not in caplog.text
    assert OPAQUE not in caplog.text


def test_a_client_without_the_resource_identifier_is_warned_of_with_the_command(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    api = make_asking("live")
    for _ in range(3):
        assert refused(api, fake.forge.token()).reason == "inactive"
    (said,) = warnings(caplog)
    assert said.endswith("flask clients update orders-api --resource-identifier https://orders.example")
    assert "revoked" in said


def test_once_tokens_of_others_were_seen_an_inactive_one_is_no_reason_for_a_warning(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    api = make_asking("live")
    token = fake.forge.token()
    fake.active[token] = dict(fake.forge.claims)
    assert api.validate(token)
    del fake.active[token]
    assert refused(api, token).reason == "inactive"
    assert warnings(caplog) == []


def test_a_token_that_nobody_could_read_and_that_is_inactive_is_no_reason_for_a_warning(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(make_asking(), OPAQUE).reason == "inactive"
    fake.answers[JWKS_URI] = lambda _: Response(500, {}, b"")
    assert refused(make_asking("rescue"), fake.forge.token()).reason == "inactive"
    assert [line for line in warnings(caplog) if "inactive" in line] == []


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "status 404"), (302, "redirects are not followed"), (500, "status 500"), (200, "not a JSON object")],
)
def test_an_endpoint_that_gives_no_answer_is_warned_of_with_the_cause(
    make_asking: Callable[..., ResourceServer],
    fake: FakeIssuer,
    caplog: pytest.LogCaptureFixture,
    status: int,
    words: str,
) -> None:
    fake.answers[INTROSPECT] = lambda _: Response(status, {}, b"<html>")
    api = make_asking()
    refused(api, OPAQUE)
    refused(api, OPAQUE)
    (said,) = warnings(caplog)
    assert said.startswith(f"{INTROSPECT} gave no answer about a token: ")
    assert words in said


def test_an_endpoint_that_is_left_alone_is_said_once_and_nothing_when_it_is_well_again(
    make_asking: Callable[..., ResourceServer], fake: FakeIssuer, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    api = make_asking()
    fake.answers[INTROSPECT], good = lambda _: Response(500, {}, b""), fake.answers[INTROSPECT]
    for _ in range(20):
        refused(api, OPAQUE)
    assert [line for line in warnings(caplog) if "not asked about tokens for a while" in line] == [
        f"{ISSUER} is not asked about tokens for a while, because that keeps failing: introspection_failed"
    ]
    said = len(warnings(caplog))
    fake.answers[INTROSPECT] = good
    clock.advance(2)
    assert refused(api, OPAQUE).reason == "inactive"
    assert len(warnings(caplog)) == said


def test_171_metadata_of_another_issuer_is_warned_of(
    api: ResourceServer, fake: FakeIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    fake.answers[METADATA] = lambda _: ok({"issuer": "https://other.example", "jwks_uri": JWKS_URI})
    refused(api, fake.forge.token())
    (said,) = warnings(caplog)
    assert said.startswith(f"the keys of {ISSUER} could not be fetched: ")
    assert "names another issuer, https://other.example; the issuer must be written exactly as it calls itself" in said


@pytest.mark.parametrize(("seconds", "words"), [(45, "45 s ahead of"), (-120, "120 s behind")])
def test_a_clock_apart_is_warned_of_with_its_direction(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, seconds: int, words: str
) -> None:
    Notices(None, clock.monotonic)("clock.offset", {"issuer": ISSUER, "seconds": seconds})
    (said,) = warnings(caplog)
    assert f"this machine's clock is {words} that of {ISSUER}" in said


@pytest.mark.parametrize("name", list(WARNINGS))
def test_any_warning_can_do_without_any_field(clock: FakeClock, name: str) -> None:
    Notices(None, clock.monotonic)(name, {})


def test_a_warning_comes_once_a_minute_for_each_kind_and_issuer_from_however_many_threads(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    notices = Notices(None, clock.monotonic)

    def say() -> None:
        for issuer in ("https://a.example", "https://b.example"):
            for name in ("keys.stale", "keys.dead"):
                notices(name, {"issuer": issuer})

    def many() -> None:
        threads = [threading.Thread(target=say) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)

    many()
    assert len(warnings(caplog)) == 4
    clock.advance(QUIET_SECONDS - 0.01)
    many()
    assert len(warnings(caplog)) == 4
    clock.advance(0.01)
    many()
    assert len(warnings(caplog)) == 8


def test_every_event_goes_on_to_the_user_whose_exceptions_decide_nothing(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def broken(name: str, _: Any) -> None:
        heard.append(name)
        raise RuntimeError("mine")

    notices = Notices(broken, clock.monotonic)
    for name in ("keys.refreshed", "keys.stale", "token.denied"):
        notices(name, {"issuer": ISSUER})
    assert heard == ["keys.refreshed", "keys.stale", "token.denied"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "ERROR", "INFO", "ERROR"]
