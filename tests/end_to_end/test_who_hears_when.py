"""A client is disabled on one node, and APIs that read status lists from another hear of it in time, and for good.

`python -m pytest -s -m soak tests/end_to_end/test_who_hears_when.py` prints when, over 20 runs in real seconds.
"""

import statistics
import time
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.api_reader import Api, ApiReader, jwks_of
from tests.support.cluster import MARGIN, REAL, SCALED, Cluster, Times, cluster
from tests.support.nginx import WITHOUT_NGINX
from tests.support.process import until

pytestmark = WITHOUT_NGINX
BUSY, IDLE = 0.05, 3.1
"""Seconds between two requests of an API; an idle one's are scaled as `ttl` is."""
CACHE = 2
"""Seconds for which nginx serves what it may serve for one: it counts whole seconds of the clock."""


@dataclass
class Watched:
    """One client, the APIs that hold a token of it, by name, and when it was disabled.

    The commit is between `typed` and `done`, of time.monotonic().
    """

    client: str
    apis: dict[str, Api] = field(default_factory=dict)
    typed: float = 0.0
    done: float = 0.0

    def accepted_until(self, name: str) -> float:
        """Seconds after the command began at which the last request was let in."""
        return max(0.0, *(each.at - self.typed for each in self.apis[name].answers if not each.refuses))

    def refused_from(self, name: str) -> float:
        """Seconds after the command began of the first refusal."""
        return next(each.at for each in self.apis[name].answers if each.refuses) - self.typed

    def heard(self) -> bool:
        """Whether every API refuses now. Raises what ended one of them."""
        for api in self.apis.values():
            api.check()
        return all(api.answers[-1].refuses for api in self.apis.values())

    def check(self, served: float, ttl: float) -> None:
        """No list of before came out later than `served` seconds after the commit, none was used for longer than `ttl`
        but while there was no other to be had, and what was refused once is refused for good.
        """
        for name, api in self.apis.items():
            old = [each for each in api.reader.fetches if each.refuses is False]
            assert old[-1].started - self.done <= served, name
            then = api.reader.fetches[len([*takewhile(lambda each: each.refuses is not True, api.reader.fetches)])]
            failed = [each for each in api.reader.fetches if old[-1].ended < each.started < then.started]
            failing = then.ended - failed[0].started if failed else 0
            assert self.accepted_until(name) <= old[-1].ended - self.typed + ttl + failing + MARGIN, name
            told = [answer.refuses for answer in api.answers]
            assert told == sorted(told), f"{name}: it lives again"


def watch(there: Cluster, names: list[str], *, calm: bool) -> list[Watched]:
    """Clients with a token each, which four APIs check: busy and idle, through the cache and past it."""
    direct = there.second if calm else there.plain
    made = [Watched(name) for name in names]
    jwks = jwks_of(f"{there.plain}/oauth2/realms/root")
    scale = there.times.scale
    for number, each in enumerate(made):
        token = there.token(each.client)
        for at, where in ((direct, "no cache"), (there.cached, "shared cache")):
            for how, pause in (("busy", BUSY), ("idle", IDLE * scale)):
                # So that in one run after the other another part of `ttl` is over when the client is disabled.
                first = scale * ((number * 0.618 + 0.31 * (how == "idle")) % 1)
                each.apis[f"{how}, {where}"] = Api(ApiReader(token, at, jwks, scale, first), pause).start()
    until(lambda: all(api.answers for each in made for api in each.apis.values()), 60)
    return made


def disable(there: Cluster, watched: list[Watched], apart: float) -> None:
    """One after the other, about so many seconds apart."""
    for each in watched:
        each.typed = time.monotonic()
        there.run(f"clients disable {each.client}")
        each.done = time.monotonic()
        time.sleep(apart)


def hear(there: Cluster, watched: list[Watched]) -> None:
    """Until every API refuses, and then until each has fetched anew, after more than `ttl`."""
    try:
        until(lambda: all(each.heard() for each in watched), 6 * there.times.cut_off)
    except AssertionError:
        deaf = [
            (each.client, name, api.answers[-1], api.reader.fetches[-8:])
            for each in watched for name, api in each.apis.items() if not api.answers[-1].refuses
        ]  # fmt: skip
        raise AssertionError(f"at {time.monotonic()} these still let it in: {deaf}") from None
    apis = [api for each in watched for api in each.apis.values()]
    fetched = {api: len(api.reader.fetches) for api in apis}
    until(lambda: all(len(api.reader.fetches) > fetched[api] for api in apis), 30 + 3 * there.times.ttl)
    for api in apis:
        api.stop()


def figures(watched: list[Watched], title: str, bound: float) -> str:
    """One line for each kind of API."""
    lines = [
        f"{title} (bound {bound:g} s)",
        f"{'':22}{'let in until':>22}{'first refused':>22}",
        f"{'':22}{'p50':>11}{'max':>11}{'p50':>11}{'max':>11}",
    ]
    for name in watched[0].apis:
        columns = [
            [kind(name) for kind in kinds]
            for kinds in zip(*((w.accepted_until, w.refused_from) for w in watched), strict=True)
        ]
        lines.append(f"{name:30}" + "".join(f"{statistics.median(each):8.2f}{max(each):8.2f}" for each in columns))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("times", "runs"), [(SCALED, 3), pytest.param(REAL, 20, marks=pytest.mark.soak)], ids=["3 runs", "20 runs"]
)
def test_every_api_hears_of_a_disabled_client_in_time_and_for_good(
    tmp_path: Path, postgres_server: postgres.Server, times: Times, runs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    served = 3 * times.refresh + CACHE + MARGIN
    with cluster(tmp_path, postgres_server, times) as there:
        calm = watch(there, [f"calm-{number}" for number in range(runs)], calm=True)
        disable(there, calm, apart=0.5)
        hear(there, calm)
        dark: list[Watched] = []
        for first in range(0, runs, 5):
            some = watch(there, [f"dark-{number}" for number in range(first, min(first + 5, runs))], calm=False)
            there.between.cut()
            disable(there, some, apart=0.2)
            hear(there, some)
            there.between.mend()
            dark += some
            until(lambda: there.nodes[1].answers("/readyz"), 30)
    for each in (*calm, *dark):
        each.check(served, times.ttl)
    with capsys.disabled():
        print("\n" + figures(calm, "every node in touch with the database", times.calm))
        print("\n" + figures(dark, "one of two behind an address cut off from it", times.cut_off))
    if times is REAL:  # of scaled ones the parts that do not scale would be too large a share
        for found, bound in ((calm, times.calm), (dark, times.cut_off)):
            assert max(each.accepted_until(name) for each in found for name in each.apis) <= bound
