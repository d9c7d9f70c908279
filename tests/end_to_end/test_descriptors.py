"""Few descriptors, and more connections than there are: neither server ends, spins or hangs."""

import os
import resource
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.process import ROOT, Deployment, until
from tests.support.raw import heard

pytestmark = pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit of util-linux is not installed")
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def workers(server: "subprocess.Popen[bytes]") -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


def busy(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("name", ["ours", "gthread"])
def test_with_fewer_descriptors_than_connections_nobody_is_lost_and_nothing_ends(tmp_path: Path, name: str) -> None:
    deployment = Deployment(tmp_path)
    limit = "--nofile=300:300"
    with deployment.served_by(name, wrap=["prlimit", limit]) as server:
        assert deployment.answers("/readyz")
        (worker,) = workers(server)
        assert resource.prlimit(worker, resource.RLIMIT_NOFILE) == (300, 300)
        with ExitStack() as stack:
            for _ in range(400):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", deployment.port), 10))
                connection.setblocking(False)
            until(lambda: len(list(Path(f"/proc/{worker}/fd").iterdir())) > 100)
            before = busy(worker)
            # It waits for those that are idle to be cut off, in their turn, and is answered.
            assert heard(deployment.port, GET, seconds=90).statuses == [200]
            assert busy(worker) - before < 5
            assert len(list(Path(f"/proc/{worker}/fd").iterdir())) < 300
        until(lambda: deployment.answers("/readyz"))
        assert workers(server) == [worker]
    assert "Traceback" not in deployment.log.read_text()


def test_a_soft_limit_is_raised_to_the_hard_one(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with deployment.production("--workers 1", wrap=["prlimit", "--nofile=256:2000"]) as server:
        assert resource.prlimit(workers(server)[0], resource.RLIMIT_NOFILE) == (2000, 2000)


def test_with_next_to_none_the_start_says_so(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    ended = subprocess.run(
        ["prlimit", "--nofile=200:200", *deployment.production_line()], cwd=ROOT, env=deployment.environ,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "may open 200 files" in ended.stderr
    assert "Traceback" not in ended.stderr
