"""An API that checks one token by its status list, as the draft says: `ttl` is honoured, a failure is borne.

It holds one connection. After an error or a time-out it closes that and tries at once on a new one; both again each
second for ten, then less often. One try at a time could meet the same node behind a balancer again and again, where the
others who ask come in step. Until the list it holds expires it goes on with that (design 3.1, "When"). It knows nothing
of `seq`, so that nothing but what the servers do keeps a dead token from living again.
"""

import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import jwt
import urllib3

from tests.support.status_reader import bit, read_list

TIMEOUT, PATIENT, SLOW = 1.0, 10.0, 10.0
"""Seconds: for a fetch; for which it is tried each second; between two tries after that."""


@dataclass(frozen=True)
class Fetch:
    """One try to have the list, in instants of time.monotonic(). refuses: what it says of the token; None: nothing."""

    started: float
    ended: float
    refuses: bool | None


@dataclass(frozen=True)
class Checked:
    """What the API said to one request, and when."""

    at: float
    refuses: bool


class ApiReader:
    """The check. at: where the issuer is reached. scale: what becomes of each `ttl`, and first_scale of the first."""

    def __init__(self, token: str, at: str, jwks: Any, scale: float, first_scale: float) -> None:
        where = jwt.decode(token, options={"verify_signature": False})["status"]["status_list"]
        self._index, self._uri = where["idx"], where["uri"]
        self._address = at + urlsplit(self._uri).path
        self._jwks = jwks
        self._scale, self._next_scale = scale, first_scale
        self._pool = urllib3.PoolManager(retries=False, timeout=TIMEOUT, maxsize=1)
        self._due, self._failing_since = 0.0, None
        self.fetches: list[Fetch] = []
        self._list: dict[str, Any] = {"exp": 0}

    def refuses(self) -> bool | None:
        """Whether the token is refused; None while no list is held that has not expired, and the answer is 503."""
        if time.monotonic() >= self._due and not self._try():
            if self._failing_since is None:
                self._failing_since = self.fetches[-1].started
            self._try()
        return bool(bit(self._list["array"], self._index)) if time.time() < self._list["exp"] else None

    def _try(self) -> bool:
        started, answer = time.monotonic(), None
        with suppress(urllib3.exceptions.HTTPError):
            answer = self._pool.request("GET", self._address, headers={"Accept-Encoding": "gzip"})
        ended = time.monotonic()
        if answer is None or answer.status != 200:
            self._pool.clear()
            self.fetches.append(Fetch(started, ended, None))
            patient = self._failing_since is None or ended - self._failing_since < PATIENT
            self._due = started + (TIMEOUT if patient else SLOW)
            return False
        self._list = read_list(answer.data, self._jwks, self._uri)
        self.fetches.append(Fetch(started, ended, bool(bit(self._list["array"], self._index))))
        self._due, self._failing_since = ended + self._list["ttl"] * self._next_scale, None
        self._next_scale = self._scale
        return True

    def close(self) -> None:
        self._pool.clear()


class Api:
    """Asks a reader every `pause` seconds from a thread of its own, from start() to stop()."""

    def __init__(self, reader: ApiReader, pause: float) -> None:
        self.reader = reader
        self.pause = pause
        self.answers: list[Checked] = []
        self.failed: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> "Api":
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        self.reader.close()
        self.check()

    def check(self) -> None:
        """Raises what ended it."""
        if self.failed is not None:
            raise self.failed

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if (refuses := self.reader.refuses()) is not None:
                    self.answers.append(Checked(time.monotonic(), refuses))
                self._stop.wait(self.pause)
        except BaseException as error:
            self.failed = error


def jwks_of(address: str) -> Any:
    """The key set of an issuer that is reached there."""
    return json.loads(urllib3.request("GET", f"{address}/connect/jwk_uri", retries=False).data)
