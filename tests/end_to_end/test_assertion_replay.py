"""An assertion is taken once by real processes on each engine, whichever of them it comes to and whenever one is killed."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest
import urllib3
from sqlalchemy import func, select

from issuer.storage.tables import used_once
from realmint.protocol import system_clock
from tests.support.assertions import FORMS, READER, TYPE, Signer
from tests.support.issuer import KEK
from tests.support.operator import operator
from tests.support.process import Deployment
from tests.support.stored import opened

AT_ONCE = 50
NOBODY = 0
"""In the place of a status, where no answer came."""

# Dies as the file FLAG says, once: when the mark is written and not committed, or when it is and nobody has the answer.
DIES = """
import os, signal
from sqlalchemy import event
import app
application = app.create_app(instance_path={instance!r})
engine = application.extensions["realmint"].database.engine

def die(when):
    try:
        if open({flag!r}).read() != when:
            return
        os.unlink({flag!r})
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGKILL)

def wrote(connection, cursor, statement, parameters, context, many):
    if statement.startswith("INSERT INTO used_once"):
        connection.info["wrote"] = True
        die("before")

def over(connection, record):
    if record.info.pop("wrote", False):
        die("after")

event.listen(engine, "after_cursor_execute", wrote)
event.listen(engine, "checkin", over)
"""


def ask(issuer: str, assertion: str, suffix: str = "/access_token") -> int:
    """The status, over a connection of its own, so that any process may take it."""
    sent = FORMS[suffix] | {"client_assertion_type": TYPE, "client_assertion": assertion}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Connection": "close"}
    try:
        with urllib3.PoolManager(retries=False, timeout=20) as pool:
            return pool.request("POST", issuer + suffix, body=urlencode(sent), headers=headers).status
    except urllib3.exceptions.HTTPError:
        return NOBODY


@pytest.fixture
def deployment(tmp_path: Path, database_url: str) -> Deployment:
    return Deployment(
        tmp_path, DATABASE_URL=database_url, KEK=KEK, LOG_LEVEL="ERROR", AUTH_FAILURES_PER_MINUTE="0",
        SNAPSHOT_REFRESH="1",
    )  # fmt: skip


@pytest.fixture
def signer(deployment: Deployment, tmp_path: Path) -> Signer:
    signer = Signer("svc", audience=deployment.issuer())
    (tmp_path / "key.json").write_text(json.dumps(signer.public_jwk()))
    with operator(deployment) as run:
        run("db upgrade")
        run("realms create /")
        run(f"clients create svc --auth-method private_key_jwt {READER}")
        run(f"clients keys add svc {tmp_path / 'key.json'}")
    return signer


def test_70_of_fifty_at_once_over_four_processes_one_is_let_in_and_after_a_restart_none(
    deployment: Deployment, signer: Signer
) -> None:
    issuer = deployment.issuer()
    used = []
    with deployment.production("--workers 4"), ThreadPoolExecutor(AT_ONCE) as pool:
        for suffixes in (["/access_token"], ["/introspect", "/access_token"], list(FORMS)):
            sent = signer.assertion(system_clock())
            asked = [
                pool.submit(ask, issuer, sent, suffixes[number % len(suffixes)]) for number in range(AT_ONCE)
            ]  # fmt: skip
            assert Counter(each.result() for each in asked) == {200: 1, 401: AT_ONCE - 1}
            used.append(sent)
        # Each its own: they share transactions, and nobody is taken for another.
        own = [signer.assertion(system_clock()) for _ in range(AT_ONCE)]
        assert Counter(pool.map(lambda sent: ask(issuer, sent), own)) == {200: AT_ONCE}
    with deployment.production("--workers 2"):
        assert {ask(issuer, sent) for sent in used} == {401}
        assert ask(issuer, signer.assertion(system_clock())) == 200


def test_70_201_a_process_that_is_killed_while_it_takes_one_lets_nobody_in_twice(
    deployment: Deployment, signer: Signer, tmp_path: Path, database_url: str
) -> None:
    flag = tmp_path / "die"
    module = DIES.format(flag=str(flag), instance=str(deployment.folder / "instance"))
    issuer, used = deployment.issuer(), []

    def marks() -> int:
        with opened(database_url) as database, database.read() as connection:
            return connection.scalar(select(func.count()).select_from(used_once)) or 0

    def answered(sent: str) -> int:
        """Once there is somebody who answers again."""
        return next(status for _ in range(500) if (status := ask(issuer, sent)) != NOBODY)

    with deployment.production("--workers 2", module):
        for when, then in (("after", 401), ("before", 200)):
            sent = signer.assertion(system_clock())
            before = marks()
            flag.write_text(when)
            assert ask(issuer, sent) == NOBODY
            assert not flag.exists()
            assert marks() - before == (1 if when == "after" else 0)
            assert answered(sent) == then
            with ThreadPoolExecutor(8) as pool:
                assert set(pool.map(answered, [sent] * 16)) == {401}
            assert answered(signer.assertion(system_clock())) == 200
            used.append(sent)
    with deployment.production("--workers 1"):
        assert {ask(issuer, sent) for sent in used} == {401}
