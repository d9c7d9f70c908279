"""PostgreSQL behind PgBouncer with its default settings, in both ways of pooling."""

import os
from pathlib import Path

import pytest

from tests.support import pgbouncer, postgres
from tests.support.issuer import KEK
from tests.support.load import Load
from tests.support.process import Deployment, post, until


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_commands_tokens_and_introspection_work_through_a_pooler(
    tmp_path: Path, postgres_server: postgres.Server, mode: str
) -> None:
    if pgbouncer.find() is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have PgBouncer: apt-get install pgbouncer")
        pytest.skip("no PgBouncer on this machine (apt-get install pgbouncer)")
    with pgbouncer.pgbouncer(postgres_server, postgres_server.create_database(), mode) as url:
        deployment = Deployment(tmp_path / "node", DATABASE_URL=url, KEK=KEK, LOG_LEVEL="WARNING")
        for line in ("db upgrade", "realms create /", "keys rotate", "keys doctor", "realms list"):
            result = deployment.command(line)
            assert result.returncode == 0, result.stdout + result.stderr
        made = deployment.run("clients create svc --scope read --default-scope read")
        credentials = ("svc", made["client_secret"])
        with deployment.gunicorn("--workers 2"), Load([deployment.issuer()], credentials).running() as load:
            until(lambda: len(load.answers) > 100)
            for _ in range(20):  # more statements of one form than the driver would prepare
                answer = post(f"{deployment.issuer()}/introspect", {"token": load.answers[-1].token}, credentials)
                assert answer.json()["active"] is True
            rotated = deployment.run("keys rotate --force --reason test")["rotated"][0]["active"]
            until(lambda: load.answers[-1].kid == rotated, 5)
            assert deployment.answers("/readyz")
        assert load.failed == []
        assert "unavailable" not in deployment.log.read_text()
