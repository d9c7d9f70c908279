"""Where nobody may wait, what is at hand is answered and everything else is left undone, to be done elsewhere."""

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from issuer.serving.threads import Threads
from issuer.waiting import WouldWait, never_here
from realmint.protocol.threads import NoThread
from tests.support.issuer import Issuer, claims


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json["error"]


def test_a_token_is_at_hand_once_its_realm_and_its_client_are(issuer: Issuer) -> None:
    svc = issuer.client(options="--scope read --default-scope read")
    other = issuer.client("other")
    with never_here(), pytest.raises(WouldWait):
        issuer.token(svc)
    first = issuer.token(svc)
    with never_here():
        assert issuer.token(svc) != first
        wrong = {**svc.post, "client_secret": other.secret, "grant_type": "client_credentials"}
        assert refused(issuer.post("/access_token", wrong)) == (401, "invalid_client")
        assert refused(issuer.post("/access_token", {**svc.post, "grant_type": "x"})) == (400, "unsupported_grant_type")


@pytest.mark.parametrize("what", ["introspect", "revoke", "nobody's name", "a new realm", "Flask's own"])
def test_what_has_to_ask_the_store_or_to_pass_through_flask_is_not_begun(issuer: Issuer, what: str) -> None:
    svc = issuer.client(options="--scope read --default-scope read")
    token = issuer.token(svc)
    issuer.run("realms create /new")
    form = {"client_id": "nobody", "client_secret": "x", "grant_type": "client_credentials"}
    calls: dict[str, Callable[[], Any]] = {
        "introspect": lambda: issuer.introspect(svc, token),
        "revoke": lambda: issuer.revoke(svc, token),
        "nobody's name": lambda: issuer.post("/access_token", form),
        "a new realm": lambda: issuer.post("/access_token", form, realm="/new"),
        "Flask's own": lambda: issuer.app.test_client().get("/healthz"),
    }
    with never_here(), pytest.raises(WouldWait):
        calls[what]()
    assert issuer.introspect(svc, token).json["active"]
    assert calls[what]() is not None  # and done where there is time


def test_a_status_list_is_made_elsewhere_and_is_at_hand_once_it_is(issuer: Issuer) -> None:
    svc = issuer.client(options="--scope read --default-scope read")
    uri = urlsplit(claims(issuer.token(svc))["status"]["status_list"]["uri"]).path
    assert issuer.http.get("/healthz").status_code == 200
    with never_here(), pytest.raises(WouldWait):
        issuer.http.get(uri)
    made = issuer.http.get(uri)
    assert made.status_code == 200
    with never_here():
        assert issuer.http.get(uri).data == made.data


def test_another_thread_waits_as_it_likes(issuer: Issuer) -> None:
    svc = issuer.client(options="--scope read --default-scope read")
    found: list[str] = []
    with never_here():
        other = threading.Thread(target=lambda: found.append(issuer.token(svc)))
        other.start()
        other.join()
    assert len(found) == 1


def test_threads_are_started_as_they_are_needed_up_to_the_most_and_where_none_can_be_had_it_is_said() -> None:
    started: list[threading.Thread] = []
    none_left = True

    def start(target: Callable[[], None], name: str) -> None:
        if none_left:
            raise NoThread
        started.append(threading.Thread(target=target, name=name, daemon=True))
        started[-1].start()

    threads = Threads(3, start)
    with pytest.raises(NoThread):
        threads.do(lambda: None)
    none_left = False
    done, hold = threading.Semaphore(0), threading.Event()

    def work() -> None:
        hold.wait(10)
        done.release()

    for _ in range(10):
        threads.do(work)
    assert len(started) == 3
    none_left = True
    threads.do(work)  # those that are there do it
    threads.do(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    hold.set()
    assert all(done.acquire(timeout=10) for _ in range(11))
    threads.do(work)
    assert done.acquire(timeout=10)
    assert all(each.is_alive() for each in started)
