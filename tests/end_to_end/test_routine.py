"""The routine as README.md has it: the cron line as pasted, quiet when all is well, and never on another database."""

import json
import re
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.support.process import BIN, ROOT, Deployment

CRON_PATH = "/usr/bin:/bin"


def cron_line() -> str:
    """The command of README.md's cron line."""
    (line,) = re.findall(r"^17 4 \* \* \*  (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    return str(line)


def run_by_cron(deployment: Deployment, folder: Path, settings: str) -> "subprocess.CompletedProcess[str]":
    """The line as cron runs it: by sh, with nothing in the environment but a short PATH."""
    (folder / "realmint.env").write_text(settings)
    (folder / "checkout").mkdir(exist_ok=True)
    for name in ("app.py", "issuer", "keys", "realmint"):
        if not (folder / "checkout" / name).exists():
            (folder / "checkout" / name).symlink_to(ROOT / name)
    (folder / "checkout" / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
    if not (folder / "checkout" / ".venv" / "bin" / "flask").exists():
        (folder / "checkout" / ".venv" / "bin" / "flask").symlink_to(BIN / "flask")
    line = cron_line().replace("/etc/realmint.env", str(folder / "realmint.env"))
    line = line.replace("/srv/realmint", str(folder / "checkout"))
    assert str(folder / "realmint.env") in line
    assert str(folder / "checkout") in line
    environ = {"PATH": CRON_PATH, "HOME": str(folder), "SHELL": "/bin/sh", "LOGNAME": "root"}
    return subprocess.run(
        ["sh", "-c", line], env=environ, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    url = f"sqlite:///{tmp_path}/outside.db"
    made = Deployment(tmp_path / "node", DATABASE_URL=url, KEK="AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
    made.run("db upgrade")
    made.run("realms create /")
    return made


def exported(deployment: Deployment) -> str:
    names = [name for name in deployment.environ if name.startswith("REALMINT_")]
    return "".join(f"export {name}='{deployment.environ[name]}'\n" for name in names)


def test_the_cron_line_runs_as_pasted_and_says_nothing_when_all_is_well(tmp_path: Path, deployment: Deployment) -> None:
    ran = run_by_cron(deployment, tmp_path, exported(deployment))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_what_wants_attention_is_said_by_the_cron_line(tmp_path: Path, deployment: Deployment) -> None:
    with sqlite3.connect(tmp_path / "outside.db") as connection:
        connection.execute("UPDATE keys SET held = 1 WHERE state = 'active'")
    connection.close()
    ran = run_by_cron(deployment, tmp_path, exported(deployment))
    assert ran.returncode == 1
    assert "is held, which the audit does not know of" in ran.stdout
    assert ran.stdout.startswith(f"database  {tmp_path}/outside.db\nbase URL  {deployment.base_url}\n")


def test_without_its_settings_the_cron_line_acts_on_no_database(tmp_path: Path, deployment: Deployment) -> None:
    ran = run_by_cron(deployment, tmp_path, "")
    assert ran.returncode == 6
    assert "there is no database at" in ran.stderr
    assert not (tmp_path / "checkout" / "instance").exists()


@pytest.mark.parametrize(
    "line", ["keys rotate", "keys prune --all", "keys doctor", "keys list", "clients disable svc", "clients secrets add svc",
             "realms update / --scope x", "realms list", "keys rewrap", "clients health"],
)  # fmt: skip
def test_only_what_creates_makes_an_embedded_database_and_all_else_says_that_there_is_none(
    tmp_path: Path, line: str
) -> None:
    deployment = Deployment(tmp_path)
    refused = deployment.command(line)
    assert refused.returncode == 6, refused.stderr
    assert f"there is no database at {tmp_path}/instance/realmint.db" in refused.stderr
    assert not (tmp_path / "instance").exists()


def test_doctor_names_what_it_looked_at_and_finds_what_is_missing(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.run("db upgrade")

    def found() -> set[str]:
        return {finding["check"] for finding in json.loads(deployment.command("keys doctor --json").stdout)}

    said = deployment.command("keys doctor")
    assert said.stdout.startswith(f"database  {tmp_path}/instance/realmint.db\nbase URL  {deployment.base_url}\n")
    assert (said.returncode, "no_realm" in found()) == (1, True)
    deployment.run("realms create /a")  # and with it, as ever, the root realm
    assert found() == set()
    with sqlite3.connect(tmp_path / "instance" / "realmint.db") as connection:
        connection.execute("UPDATE realms SET deleted_at = 1 WHERE path = '/'")
    connection.close()
    assert found() == {"no_root_realm"}
