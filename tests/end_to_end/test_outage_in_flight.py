"""PostgreSQL is stopped and started while everything is asked of the workers at once: design 2's table, row by row."""

import base64
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from tests.end_to_end.test_store_outage import MARGIN, node_on, own_postgres
from tests.support import postgres
from tests.support.issuer import claims
from tests.support.process import post, until

__all__ = ["own_postgres"]
FORM = {"grant_type": "client_credentials"}
PAUSE = 0.04
"""Seconds between two requests of a kind: two workers are kept busy, and two cores not full."""
Credentials = tuple[str, str]


@dataclass(frozen=True)
class Answer:
    started: float
    ended: float
    status: int
    body: bytes


@dataclass
class Flow:
    """One kind of request, again and again over connections of its own; every answer."""

    ask: Callable[[], Any]
    answers: list[Answer] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(PAUSE):
            started = time.monotonic()
            answer = self.ask()
            self.answers.append(Answer(started, time.monotonic(), answer.status, answer.data))

    def since(self, instant: float) -> list[Answer]:
        return [answer for answer in self.answers if answer.started >= instant]

    def statuses(self, since: float, until: float = float("inf")) -> set[int]:
        """Of what was asked and answered between two instants."""
        return {answer.status for answer in self.since(since) if answer.ended < until}


class Traffic:
    """What APIs and clients of one issuer do: `revoked` and `stored` are what was acknowledged."""

    def __init__(self, issuer: str, signed: Credentials, opaque: Credentials) -> None:
        self.issuer, self.signed, self.opaque = issuer, signed, opaque
        self.revoked: list[str] = []
        self.stored: list[str] = []
        self.live = self.token(signed)
        self._victims = [self.token(signed) for _ in range(8)]
        self.list = str(claims(self.live)["status"]["status_list"]["uri"])
        self.flows = {
            "token": Flow(lambda: post(f"{issuer}/access_token", FORM, signed)),
            "opaque": Flow(self._store),
            "introspection": Flow(lambda: post(f"{issuer}/introspect", {"token": self.live}, signed)),
            "revocation": Flow(self._revoke),
            "list": Flow(lambda: get(self.list)),
            "JWKS": Flow(lambda: get(f"{issuer}/connect/jwk_uri")),
            "metadata": Flow(lambda: get(f"{issuer}/.well-known/oauth-authorization-server")),
        }

    def token(self, credentials: Credentials) -> str:
        answer = post(f"{self.issuer}/access_token", FORM, credentials)
        assert answer.status == 200, answer.data
        return str(answer.json()["access_token"])

    def active(self, token: str, credentials: Credentials) -> bool:
        answer = post(f"{self.issuer}/introspect", {"token": token}, credentials)
        assert answer.status == 200, answer.data
        return bool(answer.json()["active"])

    def _revoke(self) -> Any:
        """One that is known to be issued; while the store is away the same one again."""
        answer = post(f"{self.issuer}/token/revoke", {"token": self._victims[-1]}, self.signed)
        if answer.status == 200:
            self.revoked.append(self._victims.pop())
            fresh = post(f"{self.issuer}/access_token", FORM, self.signed)
            if fresh.status == 200:
                self._victims.append(str(fresh.json()["access_token"]))
        return answer

    def _store(self) -> Any:
        answer = post(f"{self.issuer}/access_token", FORM, self.opaque)
        if answer.status == 200:
            self.stored.append(str(answer.json()["access_token"]))
        return answer

    @contextmanager
    def flowing(self) -> Iterator[None]:
        stop = threading.Event()
        threads = [threading.Thread(target=flow.run, args=(stop,)) for flow in self.flows.values()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)


def get(url: str) -> Any:
    return urllib3.request("GET", url, headers={"Connection": "close"}, retries=False, timeout=10)


def test_125_190_with_everything_in_flight_each_row_of_the_table_holds_and_nothing_acknowledged_is_lost(
    tmp_path: Path, own_postgres: postgres.Server
) -> None:
    deployment, signed = node_on(own_postgres.url(own_postgres.create_database()), tmp_path)
    made = deployment.run("clients create opaque --scope read --default-scope read --token-format opaque")
    with deployment.gunicorn("--workers 2"):
        traffic = Traffic(deployment.issuer(), signed, ("opaque", made["client_secret"]))
        flows = traffic.flows
        with traffic.flowing():
            until(lambda: all(len(flow.answers) > 20 for flow in flows.values()), 60)
            crashed = time.monotonic()
            own_postgres.crash()
            gone = time.monotonic()
            # Three refreshes after the last good look there is no list, so that another node is asked.
            until(lambda: flows["list"].since(gone + 3 + MARGIN) and flows["opaque"].since(gone + 3 + MARGIN), 30)
            acknowledged = len(traffic.revoked), len(traffic.stored)
            assert not deployment.answers("/readyz")
            assert deployment.answers("/healthz")
            restarting = time.monotonic()
            own_postgres.restart()
            back = time.monotonic()
            for flow in flows.values():
                until(lambda flow=flow: len(flow.since(back + 1 + MARGIN)) > 5, 60)
        assert deployment.answers("/readyz")
        for name, flow in flows.items():
            assert flow.statuses(0, crashed) == {200}, name
            # Of what was in flight, an answer; of what came later, the table's.
            assert flow.statuses(0) <= {200, 503}, name
            assert flow.statuses(back + 1 + MARGIN) == {200}, name
        for name in ("introspection", "revocation", "opaque"):
            assert flows[name].statuses(gone, restarting) == {503}, name
        for name in ("JWKS", "metadata"):
            assert flows[name].statuses(0) == {200}
            assert len({answer.body for answer in flows[name].answers}) == 1
        assert flows["token"].statuses(0, crashed + 10 - 1) == {200}
        # A worker that looked just before the crash answers for three refreshes, less the one between two looks.
        assert flows["list"].statuses(0, crashed + 3 - 1) == {200}
        assert flows["list"].statuses(gone + 3 + MARGIN, restarting) == {503}
        assert (len(traffic.revoked), len(traffic.stored)) > acknowledged > (20, 20)
        check_kept(traffic)
    log = deployment.log.read_text()
    assert "Traceback" not in log, log


def check_kept(traffic: Traffic) -> None:
    """What was acknowledged: each revoked token is dead, in the list too, and each opaque one is there."""
    assert [token for token in traffic.revoked if traffic.active(token, traffic.signed)] == []
    assert [token for token in traffic.stored if not traffic.active(token, traffic.opaque)] == []
    assert traffic.active(traffic.live, traffic.signed)
    until(lambda: not [token for token in traffic.revoked if not listed(traffic, token)], 5)


def listed(traffic: Traffic, token: str) -> bool:
    """Whether the list says that the token is dead."""
    where = claims(token)["status"]["status_list"]
    assert where["uri"] == traffic.list
    packed = claims(get(traffic.list).data.decode())["status_list"]["lst"]
    bits = zlib.decompress(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    return bool(bits[where["idx"] // 8] >> where["idx"] % 8 & 1)
