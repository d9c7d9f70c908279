"""Whichever call to the database fails, each endpoint answers rightly or 503, and the next try works (#190, #192)."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.issuer.conftest import READER
from tests.support.broken import Broken
from tests.support.clock import FakeClock
from tests.support.issuer import BASE_URL, Caller, Issuer, claims
from tests.support.stored import everything
from tests.support.wire import headers

Ask = Callable[[Issuer], Any]
RETRY = {"Retry-After": "1"}


class Asks:
    """What is asked of a node, by name, with the right answer: what is 200 and is not that is a lie."""

    def __init__(self, issuer: Issuer) -> None:
        self.signed = issuer.client("signed", READER)
        self.opaque = issuer.client("opaque", f"{READER} --token-format opaque")
        self.texts = {name: [issuer.token(caller) for _ in range(2)] for name, caller in self.callers.items()}
        for name, caller in self.callers.items():
            assert issuer.revoke(caller, self.texts[name][1]).status_code == 200
        uri = claims(self.texts["signed"][0])["status"]["status_list"]["uri"]
        self.list = uri.removeprefix(BASE_URL)

    @property
    def callers(self) -> dict[str, Caller]:
        return {"signed": self.signed, "opaque": self.opaque}

    def reads(self) -> dict[str, Ask]:
        """What writes nothing."""
        asks: dict[str, Ask] = {}
        for name, caller in self.callers.items():
            for which, text in zip(("live", "dead"), self.texts[name], strict=True):
                asks[f"introspection of a {which} {name} one"] = lambda node, caller=caller, text=text: node.introspect(
                    caller, text
                )
        asks["token"] = lambda node: node.token_response(self.signed)
        for name, path in {
            "status list": self.list,
            "aggregation": "/oauth2/realms/root/status",
            "JWKS": "/oauth2/realms/root/connect/jwk_uri",
            "metadata": "/oauth2/realms/root/.well-known/oauth-authorization-server",
        }.items():
            asks[name] = lambda node, path=path: node.http.get(path)
        return asks


def right(name: str, answer: Any) -> bool:
    """Whether an answer of 200 is the truth."""
    if name.startswith("introspection"):
        return bool(answer.json["active"]) is (" live " in name)
    if name == "token":
        return bool(claims(answer.json["access_token"])["client_id"] == "signed")
    if name == "status list":
        return bool(claims(answer.text)["sub"].endswith("/status/0"))
    return {"aggregation": "status_lists", "JWKS": "keys", "metadata": "issuer"}[name] in answer.json


def assert_unavailable(answer: Any) -> None:
    assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable"), answer.text
    assert headers(answer)["Retry-After"] == "1"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Traceback" not in answer.text


@pytest.fixture
def asks(stored_issuer: Issuer) -> Asks:
    return Asks(stored_issuer)


def test_192_whichever_call_fails_what_only_reads_is_right_or_503_and_changes_nothing(
    stored_issuer: Issuer, asks: Asks, database_url: str, make_issuer: Callable[..., Issuer], clock: FakeClock
) -> None:
    node = make_issuer("warm", database_url)
    before = everything(stored_issuer.runtime.database)
    for name, ask in asks.reads().items():
        for call in count(1):
            assert ask(node).status_code == 200, name
            clock.advance(node.runtime.settings.policy.snapshot_refresh)  # it looks again first
            with Broken(node.runtime.database).at(call) as broken:
                answer = ask(node)
            check(name, answer)
            # What may be served from memory is.
            assert answer.status_code == 200 or name.startswith("introspection"), (name, call)
            if broken.calls < call:
                break
        assert call > 1, name
    assert everything(stored_issuer.runtime.database) == before


def check_cold(asks: Asks, starting: Callable[[str], Issuer], names: tuple[str, ...]) -> None:
    """With a process that starts: whichever call of the first request fails, it is 503, and the next try is right.

    What each does before it comes to what it is asked is the same, and is tried with the first of them alone.
    """
    common = 1
    for name in names:
        ask = asks.reads()[name]
        for call in count(common):
            node = starting(f"{names.index(name)}-{call}")
            with Broken(node.runtime.database).at(call) as broken:
                answer = ask(node)
            check(name, answer)
            node.clock.advance(1)  # as Retry-After says
            again = ask(node)
            assert (again.status_code, right(name, again)) == (200, True), (name, call)
            if broken.calls < call:
                assert answer.status_code == 200
                break
        assert call > 10, name
        common = common if common > 1 else call - 3


def check(name: str, answer: Any) -> None:
    if answer.status_code == 200:
        assert right(name, answer), name
    else:
        assert_unavailable(answer)


COLD = ("metadata", "token", "introspection of a live signed one", "introspection of a dead opaque one", "status list")


def test_192_whichever_call_fails_as_a_process_starts_it_is_503_and_the_next_try_is_right(
    make_issuer: Callable[..., Issuer], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    check_cold(Asks(make_issuer("one", url).setup()), lambda name: make_issuer(name, url), COLD)


@pytest.mark.soak
def test_192_the_same_of_every_endpoint_on_both_engines(
    asks: Asks, database_url: str, make_issuer: Callable[..., Issuer]
) -> None:
    names = ("metadata", *(name for name in asks.reads() if name != "metadata"))
    check_cold(asks, lambda name: make_issuer(name, database_url), names)


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_192_whichever_call_fails_an_opaque_token_is_stored_and_answered_or_neither(
    stored_issuer: Issuer, asks: Asks, database_url: str, make_issuer: Callable[..., Issuer], clock: FakeClock,
    warm: bool,
) -> None:  # fmt: skip
    node = make_issuer("warm", database_url)
    for call in count(1):
        if warm:
            node.token(asks.opaque)
            clock.advance(node.runtime.settings.policy.snapshot_refresh)
        else:
            node = make_issuer(f"cold-{call}", database_url)
        before = everything(stored_issuer.runtime.database)
        with Broken(node.runtime.database).at(call) as broken:
            answer = node.token_response(asks.opaque)
        if answer.status_code == 200:
            assert stored_issuer.introspect(asks.opaque, answer.json["access_token"]).json["active"] is True
        else:
            assert_unavailable(answer)
            assert everything(stored_issuer.runtime.database) == before
        assert stored_issuer.introspect(asks.opaque, node.token(asks.opaque)).json["active"] is True
        if broken.calls < call:
            assert answer.status_code == 200
            break
    assert call > 4


@pytest.mark.parametrize("unheard", [False, True], ids=["failed", "unheard"])
def test_125_191_192_whichever_call_fails_an_opaque_token_is_revoked_or_it_is_503_and_not(
    stored_issuer: Issuer, asks: Asks, unheard: bool
) -> None:
    """unheard: the commit was carried out, and nobody heard of it; then the token is dead, and 503 claims nothing."""
    for call in count(1):
        stored_issuer.clock.advance(2)
        token = stored_issuer.token(asks.opaque)
        before = everything(stored_issuer.runtime.database)
        with Broken(stored_issuer.runtime.database).at(call, unheard=unheard) as broken:
            answer = stored_issuer.revoke(asks.opaque, token)
        if answer.status_code != 200:
            assert_unavailable(answer)
            undone = everything(stored_issuer.runtime.database) == before
            assert stored_issuer.introspect(asks.opaque, token).json["active"] is undone
            assert undone or unheard
            assert stored_issuer.revoke(asks.opaque, token).status_code == 200
        assert stored_issuer.introspect(asks.opaque, token).json["active"] is False
        if broken.calls < call:
            assert answer.status_code == 200
            break
    assert call > 6
