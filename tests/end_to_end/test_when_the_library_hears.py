"""A client is disabled on one node: when a resource server that reads the lists of the other refuses its token.

`python -m pytest -s -m soak tests/end_to_end/test_when_the_library_hears.py` prints when, over 20 runs in real seconds.
"""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from realmint import InvalidToken, ResourceServer, Unavailable
from tests.support import postgres
from tests.support.cluster import ISSUER, MARGIN, REAL, Cluster, Times, cluster
from tests.support.nginx import WITHOUT_NGINX
from tests.support.process import until

pytestmark = WITHOUT_NGINX
SECOND, MINUTE = 1.0, 60.0
RATES = {SECOND: "one request a second", MINUTE: "one request a minute"}
QUICK = Times(1, 1)


@dataclass
class Api:
    """A resource server as its author would make it, asked about one token every `pause` seconds by its own thread."""

    token: str
    at: str
    pause: float
    answers: list[tuple[float, str]] = field(default_factory=list)
    """When each was given, on time.monotonic(), and what: nothing where the token was let in, else the reason."""
    failed: BaseException | None = None

    def __post_init__(self) -> None:
        self._guard = ResourceServer(ISSUER, ISSUER, reach_at=self.at)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        self._guard.close()
        if self.failed is not None:
            raise self.failed

    @property
    def refuses(self) -> bool:
        return bool(self.answers and self.answers[-1][1])

    def let_in_until(self, since: float) -> float:
        return max(0.0, *(at - since for at, said in self.answers if not said))

    def refused_from(self, since: float) -> float:
        return next(at for at, said in self.answers if said) - since

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due += self.pause
                said = self._ask()
                self.answers.append((time.monotonic(), said))
        except BaseException as error:
            self.failed = error

    def _ask(self) -> str:
        try:
            self._guard.validate(self.token)
        except (InvalidToken, Unavailable) as error:
            return error.reason
        return ""


@dataclass
class Run:
    """One client and the APIs that hold its token; `typed` is when the command began that disabled it."""

    client: str
    apis: list[Api]
    typed: float = 0.0


@contextmanager
def running(there: Cluster, names: list[str], rates: list[float], at: str) -> Iterator[list[Run]]:
    """A client and its APIs each second, so that each list has another age later, and each API another moment."""
    tokens = [there.token(name) for name in names]
    runs = [Run(name, [Api(token, at, pause) for pause in rates]) for name, token in zip(names, tokens, strict=True)]
    began = time.monotonic()
    try:
        for number, run in enumerate(runs):
            time.sleep(max(0.0, began + number - time.monotonic()))
            for api in run.apis:
                api.start()
        until(lambda: all(api.answers for run in runs for api in run.apis), 30)
        # The next request of the rare ones comes in the seconds in which the news does.
        time.sleep(max(0.0, began + (max(rates) if max(rates) > SECOND else 0) - time.monotonic()))
        yield runs
    finally:
        for run in runs:
            for api in run.apis:
                api.stop()


def disable(there: Cluster, runs: list[Run]) -> None:
    for run in runs:
        run.typed = time.monotonic()
        there.run(f"clients disable {run.client}")
        time.sleep(0.1)
    until(lambda: all(api.refuses for run in runs for api in run.apis), 6 * there.times.cut_off)
    asked = {id(api): len(api.answers) for run in runs for api in run.apis if api.pause == SECOND}
    until(lambda: all(len(a.answers) > asked[id(a)] + 2 for run in runs for a in run.apis if a.pause == SECOND), 30)


def check(runs: list[Run], bound: float) -> None:
    """In time and for good; and nobody was told that it could not be said."""
    for run in runs:
        for api in run.apis:
            assert {said for _, said in api.answers} == {"", "revoked"}
            assert [bool(said) for _, said in api.answers] == sorted(bool(said) for _, said in api.answers)
            assert api.let_in_until(run.typed) <= bound, (run.client, api.pause)


def figures(runs: list[Run], title: str, bound: float) -> str:
    lines = [f"{title} (bound {bound:g} s)", f"{'':26}{'let in until':>18}{'first refused':>18}"]
    lines.append(f"{'':26}" + f"{'p50':>10}{'max':>8}" * 2)
    for number, api in enumerate(runs[0].apis):
        until_when = [run.apis[number].let_in_until(run.typed) for run in runs]
        from_when = [run.apis[number].refused_from(run.typed) for run in runs]
        both = "".join(f"{statistics.median(each):10.2f}{max(each):8.2f}" for each in (until_when, from_when))
        lines.append(f"{RATES[api.pause]:26}{both}")
    return "\n".join(lines)


def test_the_library_refuses_the_token_of_a_client_that_was_disabled_on_another_node_in_time(
    tmp_path: Path, postgres_server: postgres.Server
) -> None:
    with (
        cluster(tmp_path, postgres_server, QUICK) as there,
        running(there, [f"client-{number}" for number in range(3)], [SECOND], there.second) as runs,
    ):
        disable(there, runs)
    check(runs, QUICK.calm + MARGIN)


@pytest.mark.soak
def test_the_library_refuses_it_in_time_at_one_request_a_second_and_at_one_a_minute(
    tmp_path: Path, postgres_server: postgres.Server, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = list(RATES)
    with cluster(tmp_path, postgres_server, REAL) as there:
        with running(there, [f"calm-{number}" for number in range(20)], rates, there.second) as calm:
            disable(there, calm)
        with running(there, [f"dark-{number}" for number in range(20)], rates, there.plain) as dark:
            there.between.cut()
            disable(there, dark)
        there.between.mend()
    with capsys.disabled():
        print("\n" + figures(calm, "every node in touch with the database", REAL.calm))
        print("\n" + figures(dark, "one of two behind an address cut off from it", REAL.cut_off))
    check(calm, REAL.calm)
    check(dark, REAL.cut_off)
