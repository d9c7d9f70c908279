"""Clients that send or read slowly, at what `make serve` starts and nothing in front of it: nobody else notices (#17)."""

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import urllib3

from tests.support.load import Load
from tests.support.process import Deployment, until
from tests.support.slow import Slow

WITHIN = 30
"""Seconds after which each of them is cut off."""
ATTEMPTS = 3
"""How often a measurement may be repeated on a machine that others use too."""


class Node:
    def __init__(self, folder: Path) -> None:
        self.deployment = Deployment(folder, LOG_LEVEL="ERROR")
        secret = self.deployment.run("clients create svc --scope read --default-scope read")["client_secret"]
        self.client = ("svc", secret)

    def medians(self, seconds: float) -> tuple[float, float]:
        """Of a token and of /healthz, in seconds; each must be answered with 200."""
        load = Load([self.deployment.issuer()], self.client, threads=2, pause=0.01)
        waits = []
        with load.running():
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                started = time.monotonic()
                assert (
                    urllib3.request("GET", f"{self.deployment.base_url}/healthz", timeout=10, retries=False).status
                    == 200
                )
                waits.append(time.monotonic() - started)
                until(lambda started=started: time.monotonic() > started + 0.01)
        assert load.failed == []
        return statistics.median(answer.ended - answer.started for answer in load.answers), statistics.median(waits)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node(tmp_path_factory.mktemp("slow"))
    with node.deployment.production("--workers 2"):
        node.medians(1)
        yield node


FEW = {"body": 60, "header": 60, "reader": 12}
ALL = {"body": 1000, "header": 1000, "reader": 200}


@pytest.mark.parametrize("drip", [False, True], ids=["which_stop", "a_byte_a_second"])
@pytest.mark.parametrize(
    ("many", "seconds", "bound"),
    [
        pytest.param(FEW, 1, 2.5, id="a_few_on_a_machine_with_more_to_do"),
        pytest.param(ALL, 4, 1.5, id="a_thousand_by_no_more_than_half", marks=pytest.mark.soak),
    ],
)
def test_17_clients_that_send_or_read_slowly_move_nobody_else_and_are_cut_off(
    node: Node, many: dict[str, int], seconds: float, bound: float, drip: bool
) -> None:
    ratios: list[list[float]] = []
    while len(ratios) < ATTEMPTS and (not ratios or max(ratios[-1]) > bound):
        calm = node.medians(seconds)
        with ExitStack() as stack:
            slow = [
                stack.enter_context(Slow(node.deployment.port, kind, number, drip=drip).running())
                for kind, number in many.items()
            ]
            node.medians(0.5)  # what it costs to let them in and to answer what they ask is over
            attacked = node.medians(seconds)
            ratios.append([now / before for now, before in zip(attacked, calm, strict=True)])
            assert all(each.left > each.many * 0.9 for each in slow)  # it was measured while they were there
            print({each.kind: each.many for each in slow}, "token, healthz:", calm, attacked, ratios[-1])
            until(lambda slow=slow: not any(each.left for each in slow), WITHIN + 5)
            for each in slow:
                print(each.kind, "cut off after", min(each.cut), "to", max(each.cut), "seconds")
                assert max(each.cut) < WITHIN
    assert max(ratios[-1]) <= bound, ratios


@pytest.mark.parametrize("kind", ["body", "header", "reader", "greedy reader"])
def test_17_each_kind_alone_is_cut_off_and_what_it_held_is_free_again(node: Node, kind: str) -> None:
    (first, second) = workers(node.deployment)
    many = 4 if kind == "greedy reader" else 40

    def held() -> int:
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (first, second))

    before = held()
    with Slow(node.deployment.port, kind, many, drip=False).running() as slow:
        # Each by its name: of those whom `before` counted one may be closing.
        until(lambda: len(accepted(node.deployment.port) & slow.ports) == many)
        until(lambda: not slow.left, WITHIN)
        until(lambda: not accepted(node.deployment.port) & slow.ports)
        until(lambda: held() <= before + 2)
    assert node.deployment.answers("/healthz")


def accepted(port: int) -> set[int]:
    """The ports of those whose connections to a server are held by a process of its (proc_pid_net(5): it has an inode)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2][-4:], 16) for row in rows if int(row[1][-4:], 16) == port and row[9] != "0"}


def workers(deployment: Deployment) -> list[int]:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"127.0.0.1:{deployment.port}".encode() in (path / "cmdline").read_bytes().split(b"\0"):
                found = (path / "task" / path.name / "children").read_text().split()
                if found:
                    return [int(pid) for pid in found]
        except OSError:
            continue
    raise AssertionError
