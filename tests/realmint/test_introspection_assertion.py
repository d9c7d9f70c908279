"""An API that shows the introspection endpoint an assertion that somebody else signed."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from realmint import AssertionFile, Introspection, ResourceServer, Unavailable
from realmint.client_assertion import AssertionUnavailable
from realmint.testing import FakeIssuer
from realmint.testing.assertions import KeyClient
from tests.support.asking import AUDIENCE, CLIENT, KEY, asking, form, reason, sent
from tests.support.client_keys import CURVED, pem

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
def issuer() -> FakeIssuer:
    return FakeIssuer()


@pytest.fixture
def client(issuer: FakeIssuer) -> KeyClient:
    return issuer.demand_key(CLIENT, KEY.public_jwk)


@pytest.fixture
def make_asking(issuer: FakeIssuer) -> Callable[..., ResourceServer]:
    return partial(asking, issuer)


def test_a_file_that_rotates_in_place_is_what_each_request_shows(
    issuer: FakeIssuer, client: KeyClient, make_asking: Callable[..., ResourceServer], tmp_path: Path
) -> None:
    projected = tmp_path / "token"
    api = make_asking(client_assertion=AssertionFile(projected))
    for _ in range(3):
        projected.write_text(KEY.assertion(CLIENT, issuer.issuer, issuer.clock.wall()) + "\n")
        assert api.validate(issuer.issue(audience=AUDIENCE)).source == "introspection"
    assert client.refused == []
    shown_each = [form(request) for request in sent(issuer)]
    assert {(one["client_id"][0], one["client_assertion_type"][0]) for one in shown_each} == {(CLIENT, TYPE)}
    assert len({one["client_assertion"][0] for one in shown_each}) == 3


@pytest.mark.parametrize("how", ["validate", "avalidate"])
def test_a_file_that_cannot_be_read_is_503_and_one_warning_and_is_used_as_soon_as_it_can(
    issuer: FakeIssuer,
    client: KeyClient,
    make_asking: Callable[..., ResourceServer],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    how: str,
) -> None:
    projected = tmp_path / "token"
    api = make_asking(client_assertion=AssertionFile(projected))
    token = issuer.issue(audience=AUDIENCE)

    def validate() -> Any:
        return api.validate(token) if how == "validate" else asyncio.run(api.avalidate(token))

    for _ in range(50):  # of which none is a reason to ask the issuer less often
        with pytest.raises(Unavailable) as refused:
            validate()
        found = refused.value
        assert (found.reason, found.status, found.retry_after, found.__cause__) == (
            "introspection_assertion",
            503,
            1,
            None,
        )
    assert sent(issuer) == []
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0] == (
        f"there is no client_assertion to show {issuer.issuer}/introspect: {str(projected)!r}: No such file or directory;"
        " every token that has to be asked about is answered 503 until there is one"
    )
    assert api.health()["introspection"]["state"] == "closed"
    projected.write_text(KEY.assertion(CLIENT, issuer.issuer, issuer.clock.wall()))
    assert validate().source == "introspection"


def test_174_while_there_is_no_assertion_the_last_good_answer_is_used_as_in_an_outage(
    issuer: FakeIssuer, client: KeyClient, make_asking: Callable[..., ResourceServer], tmp_path: Path
) -> None:
    projected = tmp_path / "token"
    projected.write_text(KEY.assertion(CLIENT, issuer.issuer, issuer.clock.wall()))
    api = make_asking("opaque", stale_if_error=20, client_assertion=AssertionFile(projected))
    token = issuer.issue_opaque(audience=AUDIENCE)
    assert api.validate(token)
    projected.unlink()
    issuer.clock.advance(29)
    assert api.validate(token)
    issuer.clock.advance(1)
    assert reason(api, token) == "introspection_assertion"


def test_174_the_one_try_that_an_endpoint_is_given_is_not_lost_for_want_of_an_assertion(
    issuer: FakeIssuer, client: KeyClient, make_asking: Callable[..., ResourceServer], tmp_path: Path
) -> None:
    projected = tmp_path / "token"
    projected.write_text(KEY.assertion(CLIENT, issuer.issuer, issuer.clock.wall()))
    api = make_asking(client_assertion=AssertionFile(projected))
    token = issuer.issue(audience=AUDIENCE)
    issuer.introspection.fail()
    for _ in range(6):
        assert reason(api, token) == "introspection_failed"
    assert api.health()["introspection"]["state"] == "open"
    projected.unlink()
    issuer.introspection.mend()
    issuer.clock.advance(2)
    assert reason(api, token) == "introspection_assertion"
    projected.write_text(KEY.assertion(CLIENT, issuer.issuer, issuer.clock.wall()))
    assert api.validate(token).source == "introspection"
    assert api.health()["introspection"]["state"] == "closed"


def raising(error: Exception) -> Callable[[], str]:
    def broken() -> str:
        raise error

    return broken


@pytest.mark.parametrize(
    ("made", "words"),
    [(raising(RuntimeError("e30.secret.x")), "RuntimeError"), (raising(AssertionUnavailable("the agent is away")), "the agent is away"),
     (lambda: None, "empty"), (lambda: b"e30.secret.x", "not a signed JWT"), (lambda: "e30.secret", "not a signed JWT"),
     (lambda: "e30.secret." + "x" * 16384, "not a signed JWT"), (lambda: "", "empty")],
)  # fmt: skip
def test_161_what_a_function_returns_or_raises_instead_of_an_assertion_is_503_and_quoted_nowhere(
    issuer: FakeIssuer,
    make_asking: Callable[..., ResourceServer],
    caplog: pytest.LogCaptureFixture,
    made: Any,
    words: str,
) -> None:
    api = make_asking(client_assertion=made)
    assert reason(api, issuer.issue(audience=AUDIENCE)) == "introspection_assertion"
    assert words in caplog.text
    assert "secret" not in caplog.text
    assert sent(issuer) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [({}, "one of client_secret, client_key, client_assertion"), ({"client_secret": ""}, "one of client_secret, client_key"),
     ({"client_secret": "a", "client_key": KEY}, "not client_secret and client_key"),
     ({"client_secret": "a", "client_assertion": AssertionFile("x")}, "not client_secret and client_assertion"),
     ({"client_key": KEY, "client_assertion": AssertionFile("x")}, "not client_key and client_assertion"),
     ({"client_secret": "a", "client_key": KEY, "client_assertion": AssertionFile("x")}, "client_secret and client_key and client_assertion"),
     ({"client_key": pem(CURVED).decode()}, "must be a ClientKey"), ({"client_assertion": "e30.e30.x"}, "must be an AssertionFile"),
     ({"client_id": "", "client_key": KEY}, "needs a client_id")],
)  # fmt: skip
def test_an_api_shows_one_thing_and_no_other(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as refused:
        Introspection(**{"client_id": CLIENT, **options})
    assert words in str(refused.value)
    assert "PRIVATE" not in str(refused.value)


def test_settings_show_which_key_it_is_and_nothing_of_a_secret_or_an_assertion() -> None:
    assert f"client_key=ClientKey(kid={KEY.kid!r}, alg='ES256')" in repr(Introspection(CLIENT, client_key=KEY))
    assert "e30" not in repr(Introspection(CLIENT, client_assertion="e30.{}.x".format))
    assert "s3cret" not in repr(Introspection(CLIENT, "s3cret"))
