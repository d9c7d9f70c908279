"""Standard output that is closed, full or read by nobody: a clear error that says what to do, and never exit 0."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.process import ROOT, Deployment


def redirected(deployment: Deployment, line: str, where: str) -> "subprocess.CompletedProcess[str]":
    """Runs `flask LINE` with its standard output redirected as a shell says."""
    command = shlex.join(deployment.command_line(line))
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} {where}"], cwd=ROOT, env=deployment.environ, stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    made = Deployment(tmp_path_factory.mktemp("unshown"))
    made.run("clients create svc")
    return made


@pytest.mark.parametrize("json_option", ["", " --json"])
def test_a_secret_that_could_not_be_shown_names_what_to_do(deployment: Deployment, json_option: str) -> None:
    name = f"full{len(json_option)}"
    result = redirected(deployment, f"clients create {name}{json_option}", "> /dev/full")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr
    (secret,) = deployment.run(f"clients secrets list {name}")
    assert "No space left on device" in result.stderr
    assert f"flask clients secrets add {name}" in result.stderr
    assert f"flask clients secrets revoke {name} {secret['secret_id']}" in result.stderr
    before = deployment.run("clients secrets list svc")
    result = redirected(deployment, f"clients secrets add svc{json_option}", "> /dev/full")
    assert result.returncode == 1
    (added,) = [s["secret_id"] for s in deployment.run("clients secrets list svc") if s not in before]
    assert f"flask clients secrets revoke svc {added}" in result.stderr


@pytest.mark.parametrize("line", ["clients create closed", "clients secrets add svc"])
def test_nothing_is_made_that_would_be_shown_once_when_standard_output_is_closed(
    deployment: Deployment, line: str
) -> None:
    before = deployment.run("clients list"), deployment.run("clients secrets list svc")
    result = redirected(deployment, line, ">&-")
    assert result.returncode == 1
    assert "closed, and nothing was made" in result.stderr
    assert "Traceback" not in result.stderr
    assert (deployment.run("clients list"), deployment.run("clients secrets list svc")) == before


def test_a_reader_that_went_away_is_told_of_too(deployment: Deployment) -> None:
    result = redirected(deployment, "clients create gone", "| true")
    # It may have read before it went; if not, nobody thinks that all is well.
    assert (result.returncode, "flask clients secrets add gone" in result.stderr) in ((0, False), (1, True))
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("line", "where"),
    [("keys rotate", "> /dev/full"), ("keys list --json", "> /dev/full"), ("realms create /full --json", "> /dev/full"),
     ("clients disable svc", "> /dev/full"), ("clients enable svc", ">&-"), ("db upgrade", "> /dev/full"),
     ("keys list", ">&-"), ("keys list --realm /nobody --json", "> /dev/full")],
)  # fmt: skip
def test_any_answer_that_cannot_be_written_is_an_error_without_a_traceback(
    deployment: Deployment, line: str, where: str
) -> None:
    result = redirected(deployment, line, where)
    assert result.returncode in (1, 4)
    assert "Error: " in result.stderr
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


def test_a_first_start_whose_output_is_closed_or_full_loses_nobody_a_secret(tmp_path: Path) -> None:
    for name, where in (("closed", ">&-"), ("full", "> /dev/full")):
        deployment = Deployment(tmp_path / name)
        command = shlex.join(deployment.command_line(f"run --port {deployment.port}"))
        with deployment.process(["bash", "-c", f"exec {command} {where}"]):
            kept = json.loads((tmp_path / name / "instance" / "first-client.json").read_text())
            assert kept["client_id"] == "myClient"
            assert "Traceback" not in deployment.log.read_text()
