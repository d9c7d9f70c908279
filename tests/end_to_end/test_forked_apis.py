"""An API that has asked its issuer before it forks: no child reads another's answers, and every identity is its own."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

from realmint import Introspection, ResourceServer
from tests.support.process import BIN, Deployment, post

AUDIENCE = "https://orders.example"
CLIENTS = 12
API = f"""
import flask, os
from realmint import Introspection, ResourceServer
from realmint.flask import Guard

asking = Introspection(os.environ["API_CLIENT_ID"], os.environ["API_CLIENT_SECRET"], mode="live")
api = ResourceServer(os.environ["ISSUER"], "{AUDIENCE}", introspection=asking)
api.refresh_keys()  # connections are open when gunicorn forks
guard = Guard(api)
application = flask.Flask(__name__)
guard.init_app(application)


@application.get("/who")
@guard.require("read")
def who():
    return guard.token.client_id
"""


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = Deployment(tmp_path_factory.mktemp("issuer"), LOG_LEVEL="ERROR")
    with made.gunicorn("--workers 2"):
        yield made


@pytest.fixture(scope="module")
def api_client(issuer: Deployment) -> tuple[str, str]:
    made = issuer.run(f"clients create api --resource-identifier {AUDIENCE}")
    return made["client_id"], made["client_secret"]


@pytest.fixture(scope="module")
def tokens(issuer: Deployment) -> dict[str, str]:
    """A token of each of twelve clients."""
    found = {}
    for number in range(CLIENTS):
        made = issuer.run(f"clients create svc{number} --scope read --default-scope read --default-audience {AUDIENCE}")
        basic = (made["client_id"], made["client_secret"])
        answer = post(f"{issuer.issuer()}/access_token", {"grant_type": "client_credentials"}, basic)
        found[made["client_id"]] = answer.json()["access_token"]
    return found


@contextmanager
def api_server(folder: Path, issuer: Deployment, api_client: tuple[str, str]) -> Iterator[str]:
    """The API under gunicorn, which loads it and then forks four workers."""
    deployment = Deployment(folder)
    (folder / "guarded_api.py").write_text(API)
    credentials = {"ISSUER": issuer.issuer(), "API_CLIENT_ID": api_client[0], "API_CLIENT_SECRET": api_client[1]}
    deployment.environ |= credentials | {"PYTHONPATH": f"{folder}:{Path.cwd()}"}
    command = [str(BIN / "gunicorn"), "--config", os.devnull, "--preload", "--workers", "4", "--worker-class", "gthread", "--threads", "4",
               "--bind", f"127.0.0.1:{deployment.port}", "--no-control-socket", "guarded_api:application"]  # fmt: skip
    with deployment.process(
        command, "/.well-known/oauth-protected-resource", base=f"http://127.0.0.1:{deployment.port}"
    ):
        yield f"http://127.0.0.1:{deployment.port}/who"


def ask_all(url: str, tokens: dict[str, str]) -> list[tuple[str, int, str]]:
    """Every token at once, over connections of their own: who sent it, the status, and who it was taken for."""

    def ask(name: str) -> tuple[str, int, str]:
        headers = {"Authorization": f"Bearer {tokens[name]}", "Connection": "close"}
        answer = urllib3.request("GET", url, headers=headers, retries=False, timeout=20)
        return name, answer.status, answer.data.decode()

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(ask, tokens))


def check_starts(
    starts: int, folder: Path, issuer: Deployment, api_client: tuple[str, str], tokens: dict[str, str]
) -> None:
    for start in range(starts):
        with api_server(folder / str(start), issuer, api_client) as url:
            for _ in range(3):
                assert ask_all(url, tokens) == [(name, 200, name) for name in tokens]


def test_200_workers_of_a_preloaded_api_take_nobody_for_another(
    tmp_path: Path, issuer: Deployment, api_client: tuple[str, str], tokens: dict[str, str]
) -> None:
    check_starts(2, tmp_path, issuer, api_client, tokens)


@pytest.mark.soak
def test_200_ten_starts_of_a_preloaded_api_take_nobody_for_another(
    tmp_path: Path, issuer: Deployment, api_client: tuple[str, str], tokens: dict[str, str]
) -> None:
    check_starts(10, tmp_path, issuer, api_client, tokens)


def test_200_four_bare_forks_take_nobody_for_another(
    issuer: Deployment, api_client: tuple[str, str], tokens: dict[str, str]
) -> None:
    api = ResourceServer(issuer.issuer(), AUDIENCE, introspection=Introspection(*api_client, mode="live"))
    assert api.validate(tokens["svc0"]).client_id == "svc0"
    pipes = [os.pipe() for _ in range(4)]
    children = []
    for _, writing in pipes:
        children.append(os.fork())
        if children[-1] == 0:
            seen = []
            try:
                for name in list(tokens) * 3:
                    try:
                        seen.append((name, api.validate(tokens[name], "read").client_id))
                    except Exception as error:
                        seen.append((name, repr(error)))
                os.write(writing, json.dumps(seen).encode())
            finally:
                os._exit(0)
    mine = [(name, api.validate(tokens[name]).client_id) for name in list(tokens) * 3]
    for child, (reading, writing) in zip(children, pipes, strict=True):
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            assert json.loads(pipe.read()) == [[name, name] for name in list(tokens) * 3]
    assert mine == [(name, name) for name in list(tokens) * 3]
    api.close()
