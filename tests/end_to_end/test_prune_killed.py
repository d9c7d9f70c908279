"""flask db prune is killed midway while traffic flows: nothing that lives is lost, and the next run ends the job."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, func, insert, select

from issuer.slots import FIRST_LENGTH, LIST_SIZE
from issuer.storage.engine import Database
from issuer.storage.tables import clients, opaque_tokens, revoked_tokens, status_ranges
from keys.store import audit
from tests.support.issuer import KEK
from tests.support.load import Load
from tests.support.process import ROOT, Deployment, post, until
from tests.support.stored import opened

DEAD = {revoked_tokens: 3_000, status_ranges: 2_000, opaque_tokens: 500}
READ = "--scope read --default-scope read"


def plant(database: Database) -> None:
    """Rows that have been dead for good since long ago, in lists that nobody draws from."""
    long_ago = {"ended_at": 1, "drained_at": None, "max_lifetime": 60, "set_count": 0, "length": FIRST_LENGTH}
    far = 1000 * LIST_SIZE
    with database.write() as connection:
        client_pk = connection.scalar(select(clients.c.id).limit(1))
        mine = {"client_pk": client_pk, "realm_id": 1}
        rows: dict[Table, Callable[[int], dict[str, Any]]] = {
            revoked_tokens: lambda n: {"realm_id": 1, "jti": f"{n:028}", "index": far + n, "exp": 1, "generation": 1},
            status_ranges: lambda n: mine | {"offset": far + n * FIRST_LENGTH, "credential_id": "gone"} | long_ago,
            opaque_tokens: lambda n: (
                mine
                | {"digest": n.to_bytes(32), "jti": f"{n:028}", "index": n, "range_begin": 0, "exp": 1, "claims": "{}"}
            ),
        }
        for table, row in rows.items():
            connection.execute(insert(table), [row(n) for n in range(DEAD[table])])


def count(database: Database, table: Table) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def audited(database: Database, name: str) -> int:
    """How many rows of a kind the audit tells of."""
    with database.read() as connection:
        rows = connection.scalars(select(audit.c.details).where(audit.c.event == "pruned")).all()
    return sum(json.loads(details).get(name, 0) for details in rows)


def killed(deployment: Deployment, when: Callable[[], bool]) -> int:
    """`flask db prune`, killed once something holds; how it ended."""
    pruning = subprocess.Popen(
        deployment.command_line("db prune --json"), cwd=ROOT, env=deployment.environ,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: when() or pruning.poll() is not None, 120)
    finally:
        pruning.send_signal(signal.SIGKILL)
    return pruning.wait(10)


@pytest.mark.parametrize("engine", [pytest.param("sqlite", marks=pytest.mark.soak), "postgresql"])
def test_180_196_a_prune_that_is_killed_midway_while_traffic_flows_loses_nothing_and_the_next_ends_the_job(
    tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    if engine == "postgresql":
        server = request.getfixturevalue("postgres_server")
        url = server.url(server.create_database())
    deployment = Deployment(tmp_path, DATABASE_URL=url, KEK=KEK, LOG_LEVEL="ERROR")
    deployment.run("db upgrade")
    deployment.run("realms create /")
    callers = {
        name: (name, deployment.run(f"clients create {name} {READ} {more}")["client_secret"])
        for name, more in {"svc": "", "opaque": "--token-format opaque"}.items()
    }

    def asked(suffix: str, name: str, **form: str) -> Any:
        answer = post(deployment.issuer() + suffix, form, callers[name])
        assert answer.status == 200, answer.data
        return answer.json()

    with opened(url) as database, deployment.gunicorn("--workers 2"):
        tokens = {
            (name, dead): asked("/access_token", name, grant_type="client_credentials")["access_token"]
            for name in callers
            for dead in (False, True)
        }
        for (name, dead), token in tokens.items():
            if dead:
                asked("/token/revoke", name, token=token)
        living = {table: count(database, table) for table in DEAD}
        plant(database)
        with Load([deployment.issuer()], callers["svc"], threads=2).running() as load:
            for table in (revoked_tokens, status_ranges):
                before = count(database, table)
                assert killed(deployment, lambda: count(database, table) < before) == -signal.SIGKILL  # noqa: B023
                assert count(database, table) > living[table], "it was killed midway"
                gone = DEAD[table] + living[table] - count(database, table)
                assert audited(database, {revoked_tokens: "revoked_tokens", status_ranges: "ranges"}[table]) == gone
            assert deployment.run("db prune")["changed"] is True
            assert {table: count(database, table) for table in DEAD} == living
            for (name, dead), token in tokens.items():
                assert asked("/introspect", name, token=token)["active"] is not dead
        assert load.failed == []
        assert len(load.answers) > 20
        told = audited(database, "revoked_tokens"), audited(database, "ranges")
        assert told == (DEAD[revoked_tokens], DEAD[status_ranges])
        assert deployment.run("db prune")["changed"] is False
        assert deployment.run("keys doctor") == []
