"""The first start, with real processes: what is created, once, and what is said."""

import json
import os
import pty
import shutil
import socket
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3

from tests.support import postgres
from tests.support.process import BIN, ROOT, Deployment, free_port, post, until

KEK = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def printed_curl(text: str) -> str:
    start = text.index("curl --request POST")
    return text[start : text.index("/access_token", start) + len("/access_token")]


def test_a_first_flask_run_prints_a_curl_that_works_as_pasted(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with deployment.serving():
        said = deployment.log.read_text()
        # Not a terminal: the secret is in a private file and not in the output.
        first_client = tmp_path / "instance" / "first-client.json"
        secret = json.loads(first_client.read_text())["client_secret"]
        assert str(first_client) in said
        assert secret not in said
        assert stat.S_IMODE(first_client.stat().st_mode) == 0o600
        answer = subprocess.run(
            ["bash", "-c", printed_curl(said)], capture_output=True, text=True, timeout=30, check=True
        )
    token = json.loads(answer.stdout)
    assert token["token_type"] == "Bearer"
    assert token["scope"] == "write"
    assert token["expires_in"] == 600
    for name in ("kek", "realmint.db", "first-client.json"):
        assert stat.S_IMODE((tmp_path / "instance" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "instance").stat().st_mode) == 0o700


def test_on_a_terminal_the_secret_is_shown_and_kept_in_no_file(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        deployment.command_line(f"run --port {deployment.port}"),
        cwd=ROOT, env=deployment.environ, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
    ) as server:  # fmt: skip
        try:
            until(lambda: server.poll() is not None or deployment.answers("/healthz"))
            said = os.read(controller, 65536).decode().replace("\r\n", "\n")
            answer = subprocess.run(
                ["bash", "-c", printed_curl(said)], capture_output=True, text=True, timeout=30, check=True
            )
            assert "access_token" in json.loads(answer.stdout)
            assert not (tmp_path / "instance" / "first-client.json").exists()
        finally:
            server.terminate()
    os.close(terminal)
    os.close(controller)


def test_a_second_start_creates_and_prints_nothing(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with deployment.serving():
        pass
    keys = deployment.run("keys list")
    deployment.log.write_text("")
    with deployment.serving():
        assert "curl" not in deployment.log.read_text()
    assert deployment.run("keys list") == keys


def test_a_first_start_under_debug_creates_one_client(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with deployment.serving("run --debug"):
        assert deployment.log.read_text().count("curl --request POST") == 1
        assert [client["client_id"] for client in deployment.run("clients list")] == ["myClient"]


def test_create_app_writes_nothing_and_another_server_creates_on_the_first_request(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with deployment.gunicorn():
        assert not (tmp_path / "instance").exists()
        answer = urllib3.request("GET", deployment.issuer() + "/connect/jwk_uri", timeout=10)
        assert answer.status == 200
        assert len(answer.json()["keys"]) == 2
    assert deployment.run("clients list") == []


def test_the_first_changing_command_creates_what_is_missing(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    assert deployment.command("realms list").returncode == 6  # reading creates nothing
    assert not (tmp_path / "instance").exists()
    deployment.run("realms create /customers")
    assert [realm["realm"] for realm in deployment.run("realms list")] == ["/", "/customers"]


def test_with_a_database_url_nothing_is_created_and_the_two_commands_are_named(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/outside.db", KEK=KEK)
    refused = deployment.command(f"run --port {deployment.port}")
    assert refused.returncode == 6
    assert "flask db upgrade && flask realms create /" in refused.stderr
    assert not (tmp_path / "outside.db").exists()
    deployment.run("db upgrade")
    deployment.run("realms create /")
    with deployment.serving(ready="/readyz"):
        assert "curl" not in deployment.log.read_text()


def test_eight_processes_on_an_empty_embedded_database_end_with_one_realm_and_one_key_set(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: deployment.run_apart(f"clients create svc{n}"), range(8)))
    assert len({client["client_secret"] for client in made}) == 8
    assert [realm["realm"] for realm in deployment.run("realms list")] == ["/"]
    assert sorted(key["state"] for key in deployment.run("keys list")) == ["active", "published"]
    # Sealed under the one key-encryption key that stands in the folder: they can still be used.
    with deployment.serving():
        answer = post(
            deployment.issuer() + "/access_token",
            {"grant_type": "client_credentials"},
            (made[0]["client_id"], made[0]["client_secret"]),
        )
        assert answer.json()["error"] == "invalid_scope"


def test_eight_servers_started_at_once_on_nothing_end_with_the_same_keys_and_one_client(tmp_path: Path) -> None:
    # One folder, eight ports: each is `flask run` as somebody would type it.
    servers = [Deployment(tmp_path, BASE_URL="http://127.0.0.1:5000") for _ in range(8)]
    started = [
        subprocess.Popen(
            server.command_line(f"run --port {server.port}"), cwd=ROOT, env=server.environ, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for server in servers
    ]  # fmt: skip
    try:
        until(lambda: all(server.answers("/readyz") for server in servers), 60)
        documents = {
            urllib3.request("GET", f"http://127.0.0.1:{server.port}/oauth2/connect/jwk_uri").data for server in servers
        }
    finally:
        for process in started:
            process.terminate()
        said = [process.communicate(timeout=10)[0] for process in started]
    assert len(documents) == 1
    assert sum("curl --request POST" in text for text in said) == 1
    assert not any("Traceback" in text for text in said)
    assert [realm["realm"] for realm in servers[0].run("realms list")] == ["/"]
    assert sorted(key["state"] for key in servers[0].run("keys list")) == ["active", "published"]
    assert [client["client_id"] for client in servers[0].run("clients list")] == ["myClient"]


def test_the_setup_commands_eight_times_at_once_on_postgresql_end_with_one_realm(
    tmp_path: Path, postgres_server: postgres.Server
) -> None:
    url = postgres_server.url(postgres_server.create_database())
    deployment = Deployment(tmp_path, DATABASE_URL=url, KEK=KEK)

    def set_up(_: int) -> tuple[int, int]:
        return deployment.command("db upgrade").returncode, deployment.command("realms create /").returncode

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(set_up, range(8)))
    assert [upgrade for upgrade, _ in codes] == [0] * 8
    assert sorted(create for _, create in codes) == [0] + [8] * 7
    assert len(deployment.run("keys list")) == 2


def without_base_url(deployment: Deployment) -> Deployment:
    del deployment.environ["REALMINT_BASE_URL"]
    return deployment


def test_the_port_of_the_first_start_is_the_issuer_s_for_every_later_command_and_server(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    base = deployment.base_url
    without_base_url(deployment)
    assert deployment.command("realms list").returncode == 6
    config = tmp_path / "instance" / "realmint.toml"
    assert not config.exists()
    command = deployment.command_line(f"run --port {deployment.port}")
    with deployment.process(command, "/healthz", base=base):
        assert f"{base}/oauth2/realms/root/access_token" in deployment.log.read_text()
        metadata = urllib3.request("GET", f"{base}/oauth2/.well-known/oauth-authorization-server").json()
    assert metadata["issuer"] == f"{base}/oauth2/realms/root"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert deployment.run("realms show")["issuer"] == metadata["issuer"]
    # Elsewhere it is the same issuer, and a person is told that clients are not.
    other = free_port()
    with deployment.process(
        deployment.command_line(f"run --port {other}"), "/healthz", base=f"http://127.0.0.1:{other}"
    ):
        found = urllib3.request("GET", f"http://127.0.0.1:{other}/oauth2/.well-known/oauth-authorization-server").json()
        assert found == metadata
        warning = f"this serves port {other}, while tokens and metadata say {base}"
        assert warning in deployment.log.read_text()


def test_a_busy_port_creates_and_promises_nothing(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", deployment.port))
        busy.listen()
        refused = deployment.command(f"run --port {deployment.port}")
    assert refused.returncode == 2
    assert f"port {deployment.port} is in use" in refused.stderr
    assert "curl" not in refused.stdout
    assert not (tmp_path / "instance").exists()
    with deployment.serving():
        assert "curl --request POST" in deployment.log.read_text()


def test_after_a_first_client_whose_secret_is_lost_the_next_start_says_how_to_make_another(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    advice = "flask clients secrets add myClient"
    with deployment.serving():
        assert advice not in deployment.log.read_text()
    deployment.log.write_text("")
    with deployment.serving("run --debug"):
        assert deployment.log.read_text().count(advice) == 1
        made = deployment.run("clients secrets add myClient")
        form = {"grant_type": "client_credentials"}
        answer = post(f"{deployment.issuer()}/access_token", form, ("myClient", made["client_secret"]))
        assert answer.json()["error"] == "invalid_scope"  # it is known; nobody gave it a default scope
        until(lambda: deployment.run("clients show myClient")["last_used_at"])
    deployment.log.write_text("")
    with deployment.serving():
        assert advice not in deployment.log.read_text()


@pytest.mark.parametrize("name", ["feature%2Flogin", "q?x#y", "100%", "%(here)s", "a b", "ü"])
def test_a_checkout_may_lie_under_any_path(tmp_path: Path, name: str) -> None:
    checkout = tmp_path / name
    checkout.mkdir()
    for part in ("app.py", "issuer", "keys", "realmint"):
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, checkout / part)
    deployment = Deployment(tmp_path / "settings")
    command = [str(BIN / "flask"), "run", "--port", str(deployment.port)]
    with deployment.process(command, cwd=checkout):
        said = deployment.log.read_text()
        answer = subprocess.run(
            ["bash", "-c", printed_curl(said)], capture_output=True, text=True, timeout=30, check=True
        )
        assert "access_token" in json.loads(answer.stdout)
    assert {path.name for path in (checkout / "instance").iterdir()} >= {"realmint.db", "kek", "realmint.toml"}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "settings"])


def test_181_a_first_client_whose_secret_cannot_be_handed_over_is_not_made(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    in_the_way = tmp_path / "instance" / "first-client.json"
    in_the_way.mkdir(parents=True)
    refused = deployment.command(f"run --port {deployment.port}")
    assert refused.returncode == 6
    assert "a file cannot be used" in refused.stderr
    assert deployment.run("clients list") == []
    in_the_way.rmdir()
    with deployment.serving():
        made = json.loads(in_the_way.read_text())
        form = {"grant_type": "client_credentials"} | made
        assert post(deployment.issuer() + "/access_token", form | {"scope": "write"}).status == 200
