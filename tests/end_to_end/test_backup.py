"""Back-up and restore as docs/operating.md has them, with its commands, on both databases (#188)."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import jwt as pyjwt
import pytest
import urllib3

from tests.support import pasted, postgres
from tests.support.process import ROOT, Deployment, post, until

DOCUMENT = ROOT / "docs" / "operating.md"
KEK = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
OTHER_KEK = "BBECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
NEEDS_SQLITE3 = pytest.mark.skipif(
    shutil.which("sqlite3") is None and not os.environ.get("CI"),
    reason="no sqlite3 command on this machine (apt-get install sqlite3)",
)
REFRESH = 2
"""Seconds after which every process knows of a change (SNAPSHOT_REFRESH)."""
READER = "--scope read --default-scope read --default-audience https://orders.example"


def credentials(deployment: Deployment, client_id: str) -> tuple[str, str]:
    return client_id, deployment.run(f"clients create {client_id} {READER}")["client_secret"]


def token(deployment: Deployment, caller: tuple[str, str]) -> dict[str, str]:
    answer: dict[str, str] = post(
        f"{deployment.issuer()}/access_token", {"grant_type": "client_credentials"}, caller
    ).json()
    return answer


def verified(deployment: Deployment, access_token: str) -> str:
    """The key that signed a token, once a verifier that knows nothing but the JWKS has accepted it."""
    jwks = pyjwt.PyJWKSet.from_dict(urllib3.request("GET", f"{deployment.issuer()}/connect/jwk_uri").json())
    kid = str(pyjwt.get_unverified_header(access_token)["kid"])
    pyjwt.decode(access_token, jwks[kid].key, ["ES256"], audience="https://orders.example", leeway=30)
    return kid


def states(deployment: Deployment) -> dict[str, str]:
    return {key["kid"]: key["state"] for key in deployment.run("keys list")}


def realms(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [path for (path,) in connection.execute("SELECT path FROM realms ORDER BY path")]


def changed_since(deployment: Deployment, svc: tuple[str, str]) -> tuple[str, str]:
    """What happens between a back-up and the loss: a client comes, one goes, the key that signed is revoked; until the
    servers have heard of it."""
    later = credentials(deployment, "later")
    deployment.run("clients delete svc --yes")
    active = next(kid for kid, state in states(deployment).items() if state == "active")
    deployment.run(f"keys revoke {active} --yes --reason leaked")
    until(lambda: token(deployment, svc).get("error") == "invalid_client", REFRESH + 3)
    return later


@NEEDS_SQLITE3
def test_188_sqlite_is_backed_up_under_a_running_server_and_restored_with_all_that_it_was(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    svc = credentials(deployment, "svc")
    before = states(deployment)
    with deployment.serving():
        signed = token(deployment, svc)["access_token"]
        deployment.run("realms create /late")
        # The newest commit stands in the log of the database alone, where a bare copy misses it.
        bare = shutil.copy(tmp_path / "instance" / "realmint.db", tmp_path / "bare.db")
        assert realms(bare) == ["/"]
        assert pasted.run(DOCUMENT, "backup-sqlite", tmp_path, deployment.environ).strip() == "ok"
        assert (tmp_path / "backup.db").stat().st_mode & 0o777 == 0o600
        assert realms(tmp_path / "backup.db") == ["/", "/late"]
        later = changed_since(deployment, svc)
    pasted.run(DOCUMENT, "restore-sqlite", tmp_path, deployment.environ)
    assert after_restore(deployment, tmp_path) == ["svc"]
    assert states(deployment) == before
    with deployment.serving(ready="/readyz"):
        assert verified(deployment, signed) == verified(deployment, token(deployment, svc)["access_token"])
        assert token(deployment, later)["error"] == "invalid_client"
    assert (tmp_path / "instance" / "realmint.db").stat().st_mode & 0o777 == 0o600


def after_restore(deployment: Deployment, folder: Path) -> list[str]:
    """The commands that the document wants before the first start, all of which succeed; the clients there are."""
    module = folder / "after_restore_app.py"
    module.write_text(f"import app\n\ndef create_app():\n    return {deployment.factory.replace(':', '.', 1)}\n")
    environ = deployment.environ | {"FLASK_APP": str(module), "PYTHONPATH": str(ROOT)}
    pasted.run(DOCUMENT, "after-restore", folder, environ)
    return [client["client_id"] for client in deployment.run("clients list")]


def test_188_postgresql_is_dumped_under_a_running_server_and_restored_into_an_empty_database(
    tmp_path: Path, postgres_server: postgres.Server
) -> None:
    url = postgres_server.url(postgres_server.create_database())
    deployment = Deployment(tmp_path, DATABASE_URL=url, KEK=KEK)
    deployment.run("db upgrade")
    deployment.run("realms create /")
    svc = credentials(deployment, "svc")
    before = states(deployment)
    binaries = {"PATH": f"{postgres_server.binaries}:{os.environ['PATH']}"}
    with deployment.gunicorn():
        signed = token(deployment, svc)["access_token"]
        pasted.run(DOCUMENT, "backup-postgresql", tmp_path, deployment.environ | binaries)
        assert (tmp_path / "realmint.dump").stat().st_mode & 0o777 == 0o600
        later = changed_since(deployment, svc)
    urls = {"MAINTENANCE_URL": postgres_server.url("postgres"), "RESTORED_URL": postgres_server.url("restored")}
    pasted.run(DOCUMENT, "restore-postgresql", tmp_path, deployment.environ | binaries | urls)
    deployment.environ["REALMINT_DATABASE_URL"] = urls["RESTORED_URL"]
    assert after_restore(deployment, tmp_path) == ["svc"]
    assert states(deployment) == before
    with deployment.gunicorn():
        assert verified(deployment, signed) == verified(deployment, token(deployment, svc)["access_token"])
        assert token(deployment, later)["error"] == "invalid_client"


@NEEDS_SQLITE3
@pytest.mark.parametrize("kek", ["another", "none"])
def test_179_a_backup_without_its_key_encryption_key_is_met_by_the_first_command_after_the_restore(
    tmp_path: Path, kek: str
) -> None:
    deployment = Deployment(tmp_path / "then")
    credentials(deployment, "svc")
    before = states(deployment)
    pasted.run(DOCUMENT, "backup-sqlite", tmp_path / "then", deployment.environ)
    restored = Deployment(tmp_path / "now", **({"KEK": OTHER_KEK} if kek == "another" else {}))
    (tmp_path / "now" / "instance").mkdir(mode=0o700)
    shutil.copy(tmp_path / "then" / "backup.db", tmp_path / "now")
    pasted.run(DOCUMENT, "restore-sqlite", tmp_path / "now", restored.environ)
    doctor = restored.command("keys doctor --json")
    assert doctor.returncode == 1
    assert {finding["kid"] for finding in json.loads(doctor.stdout)} >= ({None} if kek == "none" else set(before))
    assert restored.command(f"run --port {restored.port}").returncode == 7
    assert not (tmp_path / "now" / "instance" / "kek").exists()


def test_188_the_settings_belong_to_a_backup_since_another_base_url_is_another_issuer(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.run("realms create /x")
    then = deployment.run("realms show /")["issuer"]
    deployment.environ["REALMINT_BASE_URL"] = "https://elsewhere.example"
    assert deployment.run("realms show /")["issuer"] != then
    assert json.dumps(deployment.run("realms list")).count("https://elsewhere.example/oauth2/") >= 2
