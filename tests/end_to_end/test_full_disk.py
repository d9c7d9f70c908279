"""A production server whose disk fills up, or is read-only: it answers as ever, and no worker dies of it (#201, #209)."""

import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.support.disks import full, read_only, small_disk
from tests.support.issuer import KEK
from tests.support.process import Deployment, post, until

NUMBERS = count()
FORM = {"grant_type": "client_credentials"}
INVALID_CLIENT = {"error": "invalid_client", "error_description": "Client authentication failed"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", "4m") as folder:
        yield folder


def children(pid: int) -> set[int]:
    """The processes that this one started and that live."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {int(child) for task in tasks for child in (task / "children").read_text().split()}


def descriptors(pids: set[int]) -> dict[int, int]:
    return {pid: sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) for pid in pids}


class Node:
    """The credentials and the two questions of a client at a real server."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.secret = deployment.run("clients create svc --scope read --default-scope read")["client_secret"]

    def ask(self, secret: str, client_id: str = "svc") -> int:
        answer = post(self.deployment.issuer() + "/access_token", FORM, (client_id, secret))
        assert answer.headers["Content-Type"] == "application/json"
        if answer.status == 401:
            assert answer.json() == INVALID_CLIENT
        return answer.status

    def wrong(self, times: int = 30) -> set[int]:
        """Of many names, so that their counters lie all over the file."""
        return {self.ask("no-such-secret", name) for _ in range(times) for name in ("svc", f"nobody-{next(NUMBERS)}")}

    def right(self, times: int = 10) -> set[int]:
        return {self.ask(self.secret) for _ in range(times)}


@pytest.mark.parametrize("before", ["first failure", "none"])
def test_201_209_a_disk_that_fills_up_changes_no_answer_kills_no_worker_and_leaks_nothing(
    disk: Path, before: str
) -> None:
    node = Node(Deployment(disk, AUTH_FAILURES_PER_MINUTE="1000"))
    with node.deployment.gunicorn() as server:
        until(lambda: node.deployment.answers("/readyz"))
        assert node.right() == {200}
        if before == "none":
            assert node.wrong() == {401}
        workers = until(lambda: len(children(server.pid)) == 2 and children(server.pid))
        with full(disk):
            assert node.wrong() == {401}
            held = descriptors(workers)
            for _ in range(3):
                assert node.wrong() == {401}
                assert node.right() == {200}
            assert descriptors(workers) == held
            assert children(server.pid) == workers
            # A worker that starts now finds no room for anything, and is as good as its siblings.
            os.kill(min(workers), signal.SIGKILL)
            until(lambda: len(children(server.pid) - workers) == 1)
            assert node.right(20) | node.wrong() == {200, 401}
        assert node.right() == {200}
        assert children(server.pid) > workers - {min(workers)}
    # What waited to be written was written at the end, since there was room again.
    assert node.deployment.run("clients show svc")["last_used_at"] is not None


def test_209_an_instance_folder_that_is_read_only_costs_one_warning_a_worker(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "node", DATABASE_URL=f"sqlite:///{tmp_path}/outside.db", KEK=KEK)
    deployment.run("db upgrade")
    deployment.run("realms create /")
    node = Node(deployment)
    with small_disk(deployment.folder / "instance") as folder:
        read_only(folder)
        with deployment.gunicorn() as server:
            workers = until(lambda: len(children(server.pid)) == 2 and children(server.pid))
            assert (node.wrong(5), node.right()) == ({401}, {200})
            held = descriptors(workers)
            assert (node.wrong(5), node.right()) == ({401}, {200})
            assert (descriptors(workers), children(server.pid)) == (held, workers)
        said = deployment.log.read_text()
        assert 1 <= said.count("failures_not_shared") <= 2
        assert said.count('failures_not_shared reason="Read-only file system"') == said.count("failures_not_shared")
        assert list(folder.iterdir()) == []


def test_187_209_an_embedded_database_on_a_read_only_disk_is_503_until_it_can_be_written(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "node")
    with small_disk(deployment.folder / "instance", "4m") as folder:
        folder.chmod(0o700)
        node = Node(deployment)
        read_only(folder)
        with deployment.gunicorn() as server:
            workers = until(lambda: len(children(server.pid)) == 2 and children(server.pid))
            assert (node.right(), node.wrong(5)) == ({503}, {503})

            def settled() -> dict[int, int] | None:
                """What is open once both workers have begun, which one may do while the other answers everybody."""
                before = descriptors(workers)
                assert (node.right(), node.wrong(5)) == ({503}, {503})
                return before if descriptors(workers) == before else None

            held = until(settled)
            for _ in range(3):
                assert (node.right(), node.wrong(5)) == ({503}, {503})
                assert (descriptors(workers), children(server.pid)) == (held, workers)
            refused = deployment.command("clients create other --json")
            assert (refused.returncode, len(refused.stdout.splitlines())) == (6, 1)
            read_only(folder, on=False)
            assert (node.right(), node.wrong(5)) == ({200}, {401})
