"""An API of four forked workers that asks the issuer about every token, as its author would write it, and its callers."""

import json
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import urllib3

from tests.support.forked import forked
from tests.support.process import BIN, ROOT, Deployment, post

AUDIENCE = "https://orders.example"
CLIENTS = [f"caller-{number}" for number in range(12)]
SETTINGS = """
from realmint import Introspection, ResourceServer

api = ResourceServer(
    issuer={issuer!r},
    audience="https://orders.example",
    introspection=Introspection(client_id="orders-api", client_secret={secret!r}, mode="live"),
)
"""
GUARDED = """
import flask
from realmint.flask import Guard

api.refresh_keys()
guard = Guard(api)
app = flask.Flask("orders")
guard.init_app(app)

@app.get("/healthz")
def healthz():
    return "up"

@app.get("/whoami")
@guard.require("orders:read")
def whoami():
    return guard.token.client_id
"""
# Each child decides all tokens at the same time as its siblings, several times over.
FORKING = """
import json, os, sys
from realmint import TokenError

tokens = json.load(sys.stdin)
api.refresh_keys()
assert api.validate(next(iter(tokens.values()))).client_id == next(iter(tokens))
starts, children = os.pipe(), []
for child in range(4):
    pid = os.fork()
    if pid == 0:
        os.close(starts[1])
        os.read(starts[0], 1)
        wrong = []
        for client_id, token in list(tokens.items()) * 5:
            try:
                said = api.validate(token).client_id
            except TokenError as error:
                said = f"{error.status} {error.reason}"
            if said != client_id:
                wrong.append((client_id, said))
        os.write(1, f"{json.dumps(wrong)}\\n".encode())  # whole, among its siblings
        os._exit(0)
    children.append(pid)
os.close(starts[1])
for pid in children:
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


class World:
    """An issuer with the clients, and the tokens they got from it while it serves."""

    def __init__(self, folder: Path) -> None:
        self.issuer = Deployment(folder / "issuer", LOG_LEVEL="WARNING")
        self.folder = folder
        self.tokens: dict[str, str] = {}
        self._secrets: dict[str, str] = {}
        caller = f"--scope orders:read --default-scope orders:read --default-audience {AUDIENCE}"
        with forked(folder, **self.issuer.environ) as program:
            for line in [
                f"clients create orders-api --resource-identifier {AUDIENCE}",
                *(f"clients create {client_id} {caller}" for client_id in CLIENTS),
            ]:
                made = program.command(f"{line} --json", self.issuer.folder / "instance", self.issuer.environ)
                assert made.code == 0, made
                self._secrets[made.json()["client_id"]] = made.json()["client_secret"]

    def get_tokens(self) -> Mapping[str, str]:
        for client_id in CLIENTS:
            form = {"grant_type": "client_credentials"}
            answer = post(self.issuer.issuer() + "/access_token", form, (client_id, self._secrets[client_id]))
            assert answer.status == 200, answer.data
            self.tokens[client_id] = answer.json()["access_token"]
        return self.tokens

    @property
    def settings(self) -> str:
        """The text of a module that makes the `api`."""
        return SETTINGS.format(issuer=self.issuer.issuer(), secret=self._secrets["orders-api"])

    def start_once(self, name: str, rounds: int = 3) -> list[tuple[str, int, str]]:
        """One start of the API under gunicorn; what twelve callers at once, each `rounds` times, got."""
        api = Deployment(self.folder / name)
        (api.folder / "orders.py").write_text(self.settings + GUARDED)
        api.environ["PYTHONPATH"] = f"{api.folder}:{ROOT}"
        options = ["--preload", "--workers", "4", "--threads", "4", "--worker-class", "gthread"]
        with api.process([str(BIN / "gunicorn"), *options, "--bind", f"127.0.0.1:{api.port}", "orders:app"]):
            with ThreadPoolExecutor(len(CLIENTS)) as callers:
                called = [
                    callers.submit(ask, f"{api.base_url}/whoami", client_id, token)
                    for _ in range(rounds)
                    for client_id, token in self.tokens.items()
                ]
            return [call.result() for call in called]

    def fork_four(self) -> list[list[tuple[str, str]]]:
        """What four children of a plain fork held wrongly: for each, the client and what was said of its token."""
        (self.folder / "forking.py").write_text(self.settings + FORKING)
        done = subprocess.run(
            [sys.executable, str(self.folder / "forking.py")], input=json.dumps(self.tokens), capture_output=True,
            text=True, timeout=60, check=False, cwd=ROOT, env={**self.issuer.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def ask(url: str, client_id: str, token: str) -> tuple[str, int, str]:
    """Whose token was sent, the status, and whose the API said it was; over a connection of its own."""
    headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
    with urllib3.PoolManager(retries=False, timeout=20) as pool:
        answer = pool.request("GET", url, headers=headers)
        return client_id, answer.status, answer.data.decode()
