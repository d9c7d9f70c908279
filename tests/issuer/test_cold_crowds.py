"""A hundred first requests at once, at a process that holds nothing: the store is asked as often as by one."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from issuer.registry import view
from tests.support.issuer import Caller, Issuer

CROWD = 100
READER = "--scope read --default-scope read"


@contextmanager
def statements(issuer: Issuer) -> Iterator[list[str]]:
    """What the engine of this process sends: the first words of each statement. The driver's own are not among them."""
    sent: list[str] = []
    engine = issuer.runtime.database.engine

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        sent.append(" ".join(statement.split())[:200])

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


def crowd(ask: Callable[[], Any]) -> list[Any]:
    """What each of them got, who all ask at the same moment."""
    barrier = threading.Barrier(CROWD)

    def one(_: int) -> Any:
        barrier.wait(30)
        return ask()

    with ThreadPoolExecutor(CROWD) as pool:
        return list(pool.map(one, range(CROWD)))


@pytest.fixture
def cold(make_issuer: Callable[..., Issuer], database_url: str) -> tuple[Issuer, Issuer]:
    """An issuer that made the store, and a process on it that has answered nobody yet."""
    first = make_issuer("first", database_url).setup()
    node = make_issuer("cold", database_url)
    node.http.get(node.address("/nowhere"))  # what Flask and the drivers do once
    return first, node


def tokens(node: Issuer, caller: Caller) -> list[int]:
    def ask() -> int:
        client = node.app.test_client()  # each thread one of its own
        form = {"grant_type": "client_credentials", "client_id": caller.client_id, "client_secret": caller.secret}
        return client.post(node.address("/access_token"), data=form).status_code

    return crowd(ask)


def test_a_crowd_of_first_token_requests_reads_realm_keys_client_and_secrets_once(
    cold: tuple[Issuer, Issuer], make_issuer: Callable[..., Issuer], database_url: str
) -> None:
    first, node = cold
    caller = first.client(options=READER)
    with statements(node) as alone:
        node.token(caller)
    crowded = make_issuer("crowded", database_url)
    crowded.http.get(crowded.address("/nowhere"))
    with statements(crowded) as sent:
        assert set(tokens(crowded, caller)) == {200}
    assert 3 < len(alone) < 25
    assert len(sent) <= len(alone) + 3, (len(sent), len(alone), sent)


def test_a_crowd_that_guesses_a_name_nobody_has_reads_once_that_there_is_none(cold: tuple[Issuer, Issuer]) -> None:
    first, node = cold
    nobody = Caller("nobody", first.client(options=READER).secret, "/")  # a generated one, which costs no slow check
    with statements(node) as sent:
        assert set(tokens(node, nobody)) <= {401, 429}  # over sixty of them in a minute
    assert len(sent) < 25, sent


def test_a_crowd_at_a_realm_that_is_none_reads_once_that_there_is_none(cold: tuple[Issuer, Issuer]) -> None:
    _, node = cold
    with statements(node) as sent:
        path = node.address("/connect/jwk_uri", "/nowhere")
        assert set(crowd(lambda: node.app.test_client().get(path).status_code)) == {404}
    assert len(sent) < 25, sent


def test_a_crowd_that_asks_for_a_list_has_it_signed_once(cold: tuple[Issuer, Issuer]) -> None:
    first, node = cold
    first.token(first.client(options=READER))
    answers = crowd(lambda: node.app.test_client().get(node.address("/status/0")).data)
    # ES256 signs the same bytes differently each time: one answer is one signature.
    assert len(set(answers)) == 1
    assert answers[0].count(b".") == 2


def test_lists_that_are_being_made_leave_threads_for_tokens(
    cold: tuple[Issuer, Issuer],
) -> None:
    first, node = cold
    caller = first.client(options=READER)
    realms = ["/one", "/two", "/three"]
    for realm in realms:
        first.run(f"realms create {realm}")
        first.token(first.client(f"client{realm[1:]}", READER, realm))
        assert node.http.get(node.address("/status", realm)).status_code == 200  # the realm is known, and no list yet
    node.token(caller)
    node.runtime.served_by(16)  # of which two may make lists
    engine, hold, held = node.runtime.database.engine, threading.Event(), threading.Semaphore(0)

    def slowly(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "revoked" in statement and threading.current_thread().name.startswith("making"):
            held.release()
            assert hold.wait(30)

    event.listen(engine, "before_cursor_execute", slowly)
    answers: dict[str, Any] = {}

    def ask(realm: str) -> None:
        answers[realm] = node.app.test_client().get(node.address("/status/0", realm))

    making = [threading.Thread(target=ask, args=(realm,), name=f"making{realm}") for realm in realms[:2]]
    for thread in making:
        thread.start()
        assert held.acquire(timeout=30)
    ask(realms[2])
    assert (answers[realms[2]].status_code, answers[realms[2]].headers["Retry-After"]) == (503, "1")
    node.token(caller)
    hold.set()
    for thread in making:
        thread.join(30)
    event.remove(engine, "before_cursor_execute", slowly)
    assert {answers[realm].status_code for realm in realms[:2]} == {200}
    ask(realms[2])
    assert answers[realms[2]].status_code == 200


def test_one_whose_other_failed_or_is_slow_reads_for_itself(cold: tuple[Issuer, Issuer]) -> None:
    first, node = cold
    caller = first.client(options=READER)
    engine = node.runtime.database.engine
    lock, failures = threading.Lock(), [1]

    def fail_once(_: Any, __: Any, statement: str, *___: Any) -> None:
        with lock:
            if " client" in statement and failures:
                failures.pop()
                raise ConnectionError("once")

    event.listen(engine, "before_cursor_execute", fail_once)
    answers = tokens(node, caller)
    event.remove(engine, "before_cursor_execute", fail_once)
    assert answers.count(200) >= CROWD - 1
    assert view.COLD_PATIENCE <= 1
