"""An older backup in the place of the database, under a running server and before a start (#188); core dumps (#189)."""

import base64
import json
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import urllib3
from sqlalchemy import select

from issuer.storage.tables import metadata
from tests.support import postgres
from tests.support.issuer import KEK, header
from tests.support.process import Deployment, post, until
from tests.support.stored import opened

KEK_NEW = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def back_up(deployment: Deployment, to: Path) -> None:
    """As an operator does it: SQLite's own copy, which may be taken while processes work."""
    database = deployment.folder / "instance" / "realmint.db"
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(to)) as copy:
        source.backup(copy)


def put_back(deployment: Deployment, backup: Path) -> None:
    """The copy takes the place of the database, whose log goes with it."""
    database = deployment.folder / "instance" / "realmint.db"
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    fresh = database.with_name("restored")
    shutil.copyfile(backup, fresh)
    fresh.chmod(0o600)
    fresh.rename(database)


def published(deployment: Deployment) -> list[str]:
    document = urllib3.request("GET", f"{deployment.issuer()}/connect/jwk_uri").json()
    return [key["kid"] for key in document["keys"]]


def listed(deployment: Deployment) -> dict[str, str]:
    return {key["kid"]: key["state"] for key in deployment.run("keys list")}


def lines(deployment: Deployment, event: str) -> list[dict[str, Any]]:
    """What the server wrote of `event`."""
    told = [line for line in deployment.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in map(json.loads, told) if line.get("event") == event]


@pytest.mark.parametrize("server", ["flask run", "gunicorn --workers 2"])
def test_188_a_server_under_which_an_older_backup_came_back_issues_nothing_until_somebody_has_seen_to_it(
    tmp_path: Path, server: str
) -> None:
    deployment = Deployment(tmp_path, LOG_FORMAT="json")
    client = deployment.run("clients create svc --scope read --default-scope read")
    credentials = ("svc", client["client_secret"])

    def answered() -> tuple[int, str]:
        answer = post(f"{deployment.issuer()}/access_token", {"grant_type": "client_credentials"}, credentials)
        return answer.status, str(answer.json().get("access_token", ""))

    def token() -> str:
        return answered()[1]

    def introspected(text: str) -> tuple[int, object]:
        answer = post(f"{deployment.issuer()}/introspect", {"token": text}, credentials)
        return answer.status, answer.json().get("active")

    with deployment.serving() if server == "flask run" else deployment.gunicorn():
        then = listed(deployment)
        old = token()
        back_up(deployment, tmp_path / "backup.db")
        revoked = next(kid for kid, state in then.items() if state == "active")
        deployment.run(f"keys revoke {revoked} --yes --reason leaked")
        deployment.run("clients disable svc")
        until(lambda: revoked not in published(deployment) and not token(), 6)
        assert lines(deployment, "store_went_back") == []
        put_back(deployment, tmp_path / "backup.db")
        # Neither the client that was disabled after the backup nor the key that was revoked comes back with it...
        until(lambda: all(answered() == (503, "") for _ in range(8)), 6)
        assert introspected(old) == (503, None)
        assert all(revoked not in published(deployment) for _ in range(8))
        assert not deployment.answers("/readyz")
        assert deployment.answers("/healthz")
        # ...and nobody is left in the dark about it.
        told = lines(deployment, "store_went_back")
        assert told
        assert {(line["level"], line["say"]) for line in told} == {("ERROR", "flask db after-restore")}
        assert all(line["found"] < line["held"] for line in told)
    # Whoever starts now meets it too.
    with deployment.serving() if server == "flask run" else deployment.gunicorn():
        until(lambda: all(answered() == (503, "") for _ in range(8)), 6)
        done = deployment.run(f"db after-restore --revoke {revoked} --reason leaked")
        assert (done["was_pending"], done["revoked"]) == (True, [revoked])
        # The key is gone from every process. The client is what the backup says; its tokens of before are dead.
        until(lambda: all(header(token() or "e30.").get("kid") not in {None, revoked} for _ in range(8)), 6)
        assert all(revoked not in published(deployment) for _ in range(8))
        assert introspected(old) == (200, False)
        assert introspected(token()) == (200, True)
        assert deployment.answers("/readyz")
        deployment.run("clients disable svc")
        until(lambda: all(answered()[0] == 401 for _ in range(8)), 6)
        assert json.loads(deployment.command("keys doctor --json").stdout) == []


def test_188_the_same_backup_restored_twice_under_a_server_on_postgresql_revives_no_token(
    tmp_path: Path, postgres_server: postgres.Server
) -> None:
    url = postgres_server.url(postgres_server.create_database())
    deployment = Deployment(tmp_path, DATABASE_URL=url, KEK=KEK, SNAPSHOT_REFRESH="1")
    deployment.run("db upgrade")
    deployment.run("realms create /")
    made = deployment.run("clients create svc --scope read --default-scope read")
    credentials = ("svc", made["client_secret"])

    def asked(suffix: str, form: dict[str, str]) -> tuple[int, Any]:
        answer = post(deployment.issuer() + suffix, form, credentials)
        return answer.status, answer.json()

    def token() -> str:
        return str(asked("/access_token", {"grant_type": "client_credentials"})[1].get("access_token", ""))

    def lifetime() -> object:
        return asked("/access_token", {"grant_type": "client_credentials"})[1].get("expires_in")

    with opened(url) as database, deployment.gunicorn("--workers 2"):
        with database.read() as connection:
            backup = {table: connection.execute(select(table)).mappings().all() for table in metadata.sorted_tables}
        lost = []
        for _ in range(2):
            deployment.run("clients update svc --access-token-lifetime 61")
            until(lambda: {lifetime() for _ in range(8)} == {61}, 6)  # every worker holds a change that is lost then
            lost.append(token())
            with database.write() as connection:
                for table in reversed(metadata.sorted_tables):
                    connection.execute(table.delete())
                for table, rows in backup.items():
                    if rows:
                        connection.execute(table.insert(), [dict(row) for row in rows])
            until(lambda: all(not token() for _ in range(8)), 6)
            assert deployment.run("db after-restore --keep-keys")["was_pending"] is True
            until(lambda: all(token() for _ in range(8)), 6)
            for text in lost:
                assert asked("/introspect", {"token": text}) == (200, {"active": False})


def test_188_an_older_backup_under_a_newer_key_encryption_key_does_not_start_and_with_both_keys_works(
    tmp_path: Path,
) -> None:
    deployment = Deployment(tmp_path)
    settings = dict(deployment.environ)
    deployment.run("realms create /x")
    old = (tmp_path / "instance" / "kek").read_bytes()
    back_up(deployment, tmp_path / "backup.db")
    both = tmp_path / "both"
    both.touch(0o600)
    both.write_text(f"{KEK_NEW}\n{encoded(old)}\n")
    deployment.environ = {**settings, "REALMINT_KEK_FILE": str(both)}
    assert deployment.run("keys rewrap")["rewrapped"] == 4
    deployment.environ = {**settings, "REALMINT_KEK": KEK_NEW}
    deployment.run("keys rotate")
    put_back(deployment, tmp_path / "backup.db")
    before = (tmp_path / "instance" / "realmint.db").read_bytes()
    for line in ("keys rotate --force --reason x --json", "realms create /y --json", "run --port 1"):
        refused = deployment.command(line)
        assert refused.returncode == 7, refused
        assert "Traceback" not in refused.stderr
    assert (tmp_path / "instance" / "realmint.db").read_bytes() == before
    deployment.environ = {**settings, "REALMINT_KEK_FILE": str(both)}
    assert deployment.run("keys rotate")["changed"] is True
    assert deployment.run("keys doctor") == []


@pytest.fixture
def core_dumps_allowed() -> Iterator[None]:
    """Processes started from here on may leave core dumps, unless they forbid it."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if before[1] == 0:
        pytest.skip("no process on this machine may leave a core dump (hard limit 0)")
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.mark.parametrize("server", ["flask run", "gunicorn --workers 2"])
def test_189_no_process_that_serves_leaves_a_core_dump(tmp_path: Path, server: str, core_dumps_allowed: None) -> None:
    deployment = Deployment(tmp_path)
    with deployment.serving() if server == "flask run" else deployment.gunicorn() as process:
        workers = 0 if server == "flask run" else 2
        until(lambda: len(children(process.pid)) == workers or not workers)
        serving = [process.pid, *children(process.pid)]
        assert {pid: core_limit(pid) for pid in serving} == dict.fromkeys(serving, "0")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def core_limit(pid: int) -> str:
    """The soft limit of the size of a core dump of a process."""
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line for line in limits if line.startswith("Max core file size")).split()[4]
