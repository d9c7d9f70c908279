"""A production server whose PostgreSQL goes away: it signs for a bounded time, publishes on, and comes back by itself."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from tests.support import postgres
from tests.support.issuer import KEK
from tests.support.load import Load
from tests.support.process import Deployment, post, until

MARGIN = 1.5
"""Seconds on top of a bound, for two busy cores."""


@pytest.fixture
def own_postgres(postgres_server: postgres.Server) -> Iterator[postgres.Server]:
    """A server that nobody else is on."""
    server = postgres.Server(postgres_server.binaries)
    yield server
    server.stop()


def node_on(url: str, folder: Path) -> tuple[Deployment, tuple[str, str]]:
    """A node with a root realm, and the credentials of a client there."""
    deployment = Deployment(folder, DATABASE_URL=url, KEK=KEK, SNAPSHOT_REFRESH="1", LOG_LEVEL="ERROR")
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

    with deployment.gunicorn("--workers 2"), Load([issuer], credentials).running() as load:
        until(lambda: len(load.answers) > 50)
        before = published()
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
        assert not deployment.answers("/readyz")
        assert deployment.answers("/healthz")
        restarting = time.monotonic()
        own_postgres.restart()
        back = time.monotonic()
        until(lambda: len(load.since(back + 1 + MARGIN)) > 100)
        assert deployment.answers("/readyz")
        rotated = deployment.run("keys rotate")["rotated"][0]["active"]
        until(lambda: load.answers[-1].kid == rotated, 5)
    # Signed on from memory for 10 x SNAPSHOT_REFRESH since each worker's last look, which was at most one before.
    assert {answer.status for answer in load.answers if answer.ended < crashed + 10 - 1} == {200}
    dark = [answer for answer in load.since(gone + 10 + MARGIN) if answer.ended < restarting]
    assert {answer.status for answer in dark} == {503}
    assert {answer.body for answer in dark} == {dark[0].body}
    assert '"temporarily_unavailable"' in dark[0].body
    assert {answer.status for answer in load.since(back + 1 + MARGIN)} == {200}


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
