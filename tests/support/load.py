"""Token requests at real servers from several threads, all the time, each answer recorded."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from urllib.parse import urlencode

import urllib3

from tests.support.issuer import header

FORM = urlencode({"grant_type": "client_credentials"})
PAUSE = 0.015
"""Seconds between two requests of a thread: load enough to keep every worker warm, and two cores not full."""


@dataclass(frozen=True)
class Answer:
    """What a token request got; instants of time.monotonic(). `token` is empty unless `status` is 200."""

    started: float
    ended: float
    node: str
    status: int
    body: str
    token: str

    @property
    def kid(self) -> str:
        return str(header(self.token)["kid"]) if self.token else ""


def ask(node: str, credentials: tuple[str, str]) -> Answer:
    """One token request over a connection of its own, so that any worker may take it; 0 is no answer at all."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Connection": "close"}
    headers |= urllib3.make_headers(basic_auth=":".join(credentials))
    started = time.monotonic()
    try:
        with urllib3.PoolManager(retries=False, timeout=10) as pool:
            response = pool.request("POST", f"{node}/access_token", body=FORM, headers=headers)
            status, body = response.status, response.data.decode()
            token = str(response.json()["access_token"]) if status == 200 else ""
    except urllib3.exceptions.HTTPError as error:
        status, body, token = 0, repr(error), ""
    return Answer(started, time.monotonic(), node, status, body, token)


class Load:
    """Threads that ask `nodes` in turn. `seen` gets every answer, in the thread that got it."""

    def __init__(
        self,
        nodes: Sequence[str],
        credentials: tuple[str, str],
        seen: Callable[[Answer], None] = lambda _: None,
        *,
        threads: int = 4,
        pause: float = PAUSE,
    ) -> None:
        self.answers: list[Answer] = []
        self._nodes = nodes
        self._credentials = credentials
        self._seen = seen
        self._threads = threads
        self._pause = pause
        self._stop = threading.Event()

    @property
    def failed(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status != 200]

    def since(self, instant: float) -> list[Answer]:
        """What was asked at `instant` or later."""
        return [answer for answer in self.answers if answer.started >= instant]

    @contextmanager
    def running(self) -> Iterator["Load"]:
        threads = [threading.Thread(target=self._run, args=(number,)) for number in range(self._threads)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(30)

    def _run(self, first: int) -> None:
        for number in count(first):
            if self._stop.wait(self._pause):
                return
            answer = ask(self._nodes[number % len(self._nodes)], self._credentials)
            self.answers.append(answer)
            self._seen(answer)
