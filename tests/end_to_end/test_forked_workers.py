"""Workers forked from a process that has worked already share nothing that must be a process's own."""

from pathlib import Path

import urllib3
from sqlalchemy import create_engine, text

from tests.support import postgres
from tests.support.issuer import KEK, claims
from tests.support.load import Load
from tests.support.process import Deployment, until

USED_BEFORE_THE_FORK = """
import os
import app

issuer = app.create_app(instance_path={instance!r})
answer = issuer.test_client().post(
    "/oauth2/realms/root/access_token",
    data={{"grant_type": "client_credentials", "client_id": "svc", "client_secret": {secret!r}}},
)
assert answer.status_code == 200, answer.text


def application(environ, start_response):
    # Says which worker it is.
    return issuer(environ, lambda status, headers: start_response(status, [*headers, ("X-Worker", str(os.getpid()))]))
"""
TOKENS = 4000
CLOSE = {"Connection": "close"}


def test_200_four_workers_forked_after_the_first_token_repeat_no_identifier_and_share_no_connection(
    tmp_path: Path, postgres_server: postgres.Server
) -> None:
    url = postgres_server.url(postgres_server.create_database())
    deployment = Deployment(tmp_path, DATABASE_URL=url, KEK=KEK, SNAPSHOT_REFRESH="1", LOG_LEVEL="ERROR")
    deployment.run("db upgrade")
    deployment.run("realms create /")
    secret = deployment.run("clients create svc --scope read --default-scope read")["client_secret"]
    module = USED_BEFORE_THE_FORK.format(instance=str(tmp_path / "instance"), secret=secret)
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))

    def backends() -> int:
        with engine.connect() as connection:
            others = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return int(connection.scalar(text(others)) or 0)

    with deployment.gunicorn("--workers 4 --preload", module=module):
        load = Load([deployment.issuer()], ("svc", secret), threads=8, pause=0)
        with load.running():
            until(lambda: len(load.answers) >= TOKENS, 60)
            workers: set[str] = set()

            def all_answered() -> bool:
                answer = urllib3.request("GET", f"{deployment.base_url}/healthz", headers=CLOSE, retries=False)
                workers.add(answer.headers["X-Worker"])
                return len(workers) == 4

            until(all_answered, 60)
            # One or more of each worker, which nobody else uses.
            until(lambda: backends() >= len(workers))
    engine.dispose()
    assert load.failed == []
    identifiers = [claims(answer.token)["jti"] for answer in load.answers]
    assert len(set(identifiers)) == len(identifiers) >= TOKENS
