"""A production server whose PostgreSQL goes away: it signs for a bounded time, publishes on, and comes back by itself."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest
import urllib3

from tests.support import postgres
from tests.support.issuer import KEK, claims
from tests.support.load import Load, ask
from tests.support.process import Deployment, post, until
from tests.support.relay import relay

MARGIN = 1.5
"""Seconds on top of a bound, for two busy cores."""


@pytest.fixture
def own_postgres(postgres_server: postgres.Server) -> Iterator[postgres.Server]:
    """A server that nobody else is on."""
    server = postgres.Server(postgres_server.binaries)
    yield server
    server.stop()


def node_on(url: str, folder: Path, **settings: str) -> tuple[Deployment, tuple[str, str]]:
    """A node with a root realm, and the credentials of a client there."""
    values = {"SNAPSHOT_REFRESH": "1", "LOG_LEVEL": "ERROR"} | settings
    deployment = Deployment(folder, DATABASE_URL=url, KEK=KEK, **values)
    deployment.run("db upgrade")
    deployment.run("realms create /")
    made = deployment.run("clients create svc --scope read --default-scope read")
    return deployment, ("svc", made["client_secret"])


def test_187_190_workers_without_the_store_stop_signing_in_time_go_on_publishing_and_recover_without_restart(
    tmp_path: Path, own_postgres: postgres.Server
) -> None:
    url = own_postgres.url(own_postgres.create_database())
    deployment, credentials = node_on(url, tmp_path)
    issuer = deployment.issuer()

    def published() -> set[tuple[int, bytes]]:
        return {
            (answer.status, answer.data)
            for path in ("/connect/jwk_uri", "/.well-known/oauth-authorization-server")
            for _ in range(8)  # over connections of their own: any worker may answer
            for answer in [urllib3.request("GET", issuer + path, headers={"Connection": "close"}, retries=False)]
        }

    def lists() -> set[int]:
        every = (f"{issuer}/status", claims(load.answers[0].token)["status"]["status_list"]["uri"])
        asked = [urllib3.request("GET", uri, headers={"Connection": "close"}, retries=False) for uri in every * 4]
        return {answer.status for answer in asked}

    with deployment.gunicorn("--workers 2"), Load([issuer], credentials).running() as load:
        until(lambda: len(load.answers) > 50)
        before = published()
        until(lambda: lists() == {200})
        assert {status for status, _ in before} == {200}
        assert len(before) == 2
        crashed = time.monotonic()
        own_postgres.crash()
        gone = time.monotonic()
        # What cannot be looked up afresh is not answered from memory.
        refused = post(f"{issuer}/introspect", {"token": load.answers[-1].token}, credentials)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        until(lambda: load.answers[-1].status == 503)
        until(lambda: len(load.since(gone + 10 + MARGIN)) > 100)
        assert published() == before
        assert lists() == {503}  # three refreshes after the last good look, so that another node is asked
        assert not deployment.answers("/readyz")
        assert deployment.answers("/healthz")
        restarting = time.monotonic()
        own_postgres.restart()
        back = time.monotonic()
        until(lambda: len(load.since(back + 1 + MARGIN)) > 100)
        assert deployment.answers("/readyz")
        assert lists() == {200}
        # Nothing that was issued meanwhile is lost, and nothing that was acknowledged.
        assert introspection(deployment, load.answers[-1].token, credentials)[0] == 200
        rotated = deployment.run("keys rotate")["rotated"][0]["active"]
        until(lambda: load.answers[-1].kid == rotated, 5)
    # Signed on from memory for 10 x SNAPSHOT_REFRESH since each worker's last look, which was at most one before.
    assert {answer.status for answer in load.answers if answer.ended < crashed + 10 - 1} == {200}
    dark = [answer for answer in load.since(gone + 10 + MARGIN) if answer.ended < restarting]
    assert {answer.status for answer in dark} == {503}
    assert {answer.body for answer in dark} == {dark[0].body}
    assert '"temporarily_unavailable"' in dark[0].body
    assert {answer.status for answer in load.since(back + 1 + MARGIN)} == {200}


def introspection(deployment: Deployment, token: str, credentials: tuple[str, str]) -> tuple[int, float]:
    """The status of an introspection over a connection of its own, and how long it took."""
    started = time.monotonic()
    answer = post(f"{deployment.issuer()}/introspect", {"token": token}, credentials)
    return answer.status, time.monotonic() - started


def test_190_connections_that_are_swallowed_while_new_ones_pass_cost_no_token_and_are_replaced(
    tmp_path: Path, own_postgres: postgres.Server
) -> None:
    database = own_postgres.create_database()
    with relay(own_postgres.socket) as between:
        url = f"postgresql://realmint@127.0.0.1:{between.port}/{database}"
        deployment, credentials = node_on(url, tmp_path, SNAPSHOT_REFRESH="2")
        with deployment.gunicorn("--workers 2"), Load([deployment.issuer()], credentials).running() as load:
            until(lambda: len(load.answers) > 50)
            token = load.answers[-1].token
            for _ in range(3):
                assert introspection(deployment, token, credentials)[0] == 200
                between.swallow()
                swallowed = time.monotonic()
                # The first to use a dead connection finds out within seconds, and all of its age go with it.
                found = [introspection(deployment, token, credentials) for _ in range(4)]
                assert max(took for _, took in found) < 5 + MARGIN
                until(lambda: introspection(deployment, token, credentials)[0] == 200, 10)
                until(lambda: deployment.answers("/readyz"), 10)
                assert time.monotonic() - swallowed < 15
            rotated = deployment.run("keys rotate --force --reason test")["rotated"][0]["active"]
            until(lambda: load.answers[-1].kid == rotated, 5)
    assert load.failed == []


def test_190_a_server_that_is_stopped_is_503_for_introspection_in_time_and_costs_no_token(
    tmp_path: Path, own_postgres: postgres.Server
) -> None:
    deployment, credentials = node_on(own_postgres.url(own_postgres.create_database()), tmp_path, SNAPSHOT_REFRESH="2")
    with deployment.gunicorn("--workers 2"), Load([deployment.issuer()], credentials).running() as load:
        until(lambda: len(load.answers) > 50)
        token = load.answers[-1].token
        assert introspection(deployment, token, credentials)[0] == 200
        with own_postgres.hanging():
            hung = time.monotonic()
            found = [introspection(deployment, token, credentials) for _ in range(3)]
            assert {status for status, _ in found} == {503}
            assert max(took for _, took in found) < 5 + MARGIN
            until(lambda: load.since(hung + 8))
            assert not deployment.answers("/readyz")
        until(lambda: introspection(deployment, token, credentials)[0] == 200, 10)
        until(lambda: deployment.answers("/readyz"), 10)
    assert load.failed == []
    # While it hung, nobody waited for it: the thread of each process did.
    assert max(answer.ended - answer.started for answer in load.since(hung)) < 1.5


def test_190_a_store_that_hangs_holds_up_no_token_while_what_is_held_may_be_used(
    tmp_path: Path, own_postgres: postgres.Server
) -> None:
    deployment, credentials = node_on(own_postgres.url(own_postgres.create_database()), tmp_path)
    with deployment.gunicorn("--workers 2"), Load([deployment.issuer()], credentials).running() as load:
        until(lambda: len(load.answers) > 50)
        with own_postgres.hanging():
            hung = time.monotonic()
            # The one thread of each process that asks the store hangs with it. By now that is long enough for the
            # others to wait for it, once, and they have waited.
            until(lambda: load.since(hung + 5))
        thawed = time.monotonic()
        until(lambda: len(load.since(thawed + 1 + MARGIN)) > 50)
    meanwhile = [answer for answer in load.since(hung + 3) if answer.ended < thawed]
    # Held up by SNAPSHOT_REFRESH each, the two threads left would have had four answers.
    assert len(meanwhile) > 20
    assert load.failed == []


def test_190_tokens_are_issued_while_every_thread_that_may_wait_waits_for_the_store(
    tmp_path: Path, own_postgres: postgres.Server
) -> None:
    url = own_postgres.url(own_postgres.create_database())
    # Long enough that what is held may be used for all of it.
    deployment, credentials = node_on(url, tmp_path, SNAPSHOT_REFRESH="60")
    with deployment.production("--workers 1"):
        token = ask(deployment.issuer(), credentials).token
        assert introspection(deployment, token, credentials)[0] == 200

        def ask_about_it() -> int:
            body = urlencode({"token": token, "client_id": credentials[0], "client_secret": credentials[1]})
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            path = f"{deployment.issuer()}/introspect"
            return urllib3.request("POST", path, body=body, headers=form, timeout=40, retries=False).status

        with own_postgres.hanging(), ThreadPoolExecutor(40) as asking:
            waiting = [asking.submit(ask_about_it) for _ in range(40)]
            with Load([deployment.issuer()], credentials, threads=2).running() as load:
                until(lambda: len(load.answers) > 100)
            assert {each.result() for each in waiting} == {503}
    assert load.failed == []
    # Where a thread was all that answers, each of them stood behind the last of those forty.
    assert max(answer.ended - answer.started for answer in load.answers) < 1
