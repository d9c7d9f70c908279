"""The production server's start: what can never serve ends it with the commands' sentence, what is merely away does not."""

import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.issuer import KEK
from tests.support.process import BIN, ROOT, Deployment, until

OTHER_KEK = "BBECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def start(deployment: Deployment, options: str = "") -> "subprocess.CompletedProcess[str]":
    """gunicorn as `make serve` starts it, which must end by itself."""
    return subprocess.run(
        [str(BIN / "gunicorn"), "--config", "gunicorn.conf.py", "--bind", f"127.0.0.1:{deployment.port}", *options.split(),
         deployment.factory],
        cwd=ROOT, env=deployment.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("options", ["", "--preload"])
def test_179_a_wrong_key_encryption_key_ends_the_start_with_7_before_any_worker(tmp_path: Path, options: str) -> None:
    url = f"sqlite:///{tmp_path}/outside.db"
    deployment = Deployment(tmp_path, DATABASE_URL=url, KEK=KEK)
    deployment.run("db upgrade")
    deployment.run("realms create /")
    deployment.environ["REALMINT_KEK"] = OTHER_KEK
    ended = start(deployment, options)
    assert ended.returncode == 7, ended.stderr
    said = deployment.command("keys rotate").stderr.strip().splitlines()[-1]
    assert said.startswith("Error: the database is sealed under key-encryption key")
    assert said in ended.stderr
    assert "Booting worker" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_key_encryption_key_that_is_gone_ends_the_start_of_the_embedded_database_too(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.run("realms create /")
    (tmp_path / "instance" / "kek").unlink()
    ended = start(deployment)
    assert (ended.returncode, "does not exist" in ended.stderr) == (7, True), ended.stderr


@pytest.mark.parametrize("kind", ["missing", "newer", "older"])
def test_a_schema_that_cannot_be_served_from_ends_the_start_with_6_and_one_sentence(tmp_path: Path, kind: str) -> None:
    url = f"sqlite:///{tmp_path}/outside.db"
    deployment = Deployment(tmp_path, DATABASE_URL=url, KEK=KEK)
    if kind != "missing":
        deployment.run("db upgrade")
        deployment.run("realms create /")
        revision = {"newer": "9999", "older": "0000"}[kind]
        with sqlite3.connect(tmp_path / "outside.db") as connection:
            connection.execute(f"UPDATE alembic_version SET version_num = '{revision}'")
        connection.close()
    ended = start(deployment)
    assert ended.returncode == 6, ended.stderr
    (said,) = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]
    assert {"missing": "flask db upgrade && flask realms create /", "newer": "a later version of Realmint made",
            "older": "run: flask db upgrade"}[kind] in said  # fmt: skip
    lines = ["keys rotate", "realms create /x", f"run --port {deployment.port}"]
    lines += (
        []
        if kind == "missing"
        else ["keys list", "keys doctor", "realms list", "clients list", "clients secrets list x"]
    )
    lines += ["db upgrade"] if kind == "newer" else []
    for line in lines:
        result = deployment.command(line)
        assert (result.returncode, said in result.stderr) == (6, True), (line, result.stderr)
        assert "Traceback" not in result.stderr


def test_190_a_database_that_is_merely_away_is_no_reason_not_to_start(
    tmp_path: Path, postgres_server: postgres.Server
) -> None:
    server = postgres.Server(postgres_server.binaries)
    try:
        deployment = Deployment(tmp_path, DATABASE_URL=server.url(server.create_database()), KEK=KEK)
        deployment.run("db upgrade")
        deployment.run("realms create /")
        server.crash()
        with deployment.gunicorn("--workers 1"):
            assert deployment.answers("/healthz")
            assert not deployment.answers("/readyz")
            assert "store_unreachable" in deployment.log.read_text()
            server.restart()
            until(lambda: deployment.answers("/readyz"))
    finally:
        server.stop()


@pytest.mark.parametrize("server", ["gunicorn", "flask run"])
def test_19_a_chunk_whose_size_is_none_is_400(tmp_path: Path, server: str) -> None:
    deployment = Deployment(tmp_path)
    with deployment.gunicorn("--workers 1") if server == "gunicorn" else deployment.serving():
        for size in (b"zz", b"-5", b"", b"5;x=", b"0x5", b"g"):
            with socket.create_connection(("127.0.0.1", deployment.port), 10) as connection:
                connection.sendall(
                    b"POST /oauth2/access_token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
                    b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" + size + b"\r\ngrant\r\n0\r\n\r\n"
                )
                answer = b""
                while piece := connection.recv(4096):
                    answer += piece
            assert answer.split(b" ")[1] == b"400", (size, answer)
            if size == b"zz":
                assert b"The body is not framed as HTTP frames one" in answer
    said = deployment.log.read_text()
    assert "server_error" not in said
    assert "Traceback" not in said
