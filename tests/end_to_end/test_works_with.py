"""docs/works-with.md: what is pasted there runs, as far as the development environment has what it needs.

The programs of other languages were run by hand when the document was written; here they are at least whole.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest

from realmint import ClientKey
from tests.support.client_keys import MADE, pem
from tests.support.orders import orders_api
from tests.support.process import ROOT, Deployment, post

DOCUMENT = (ROOT / "docs" / "works-with.md").read_text()
NODE_MODULES = ROOT / "build" / "node" / "node_modules"
# A fence whose first line says the language and a name: a whole file.
NAMED = [
    (name, body) for _, name, body in re.findall(r"^```(\w+) (\S+)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
]
PROGRAMS = dict(NAMED)
ORDERS = "https://orders.example"
SECRET = "Xk+9/aB%4f==chosen"


@dataclass
class Running:
    """An issuer with the client that the document makes, whose secret somebody chose."""

    deployment: Deployment
    environ: dict[str, str]

    def run(self, *command: str, **environ: str) -> str:
        result = subprocess.run(
            command, env=self.environ | environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    deployment = Deployment(tmp_path_factory.mktemp("works-with"))
    deployment.run("db upgrade")
    (command,) = re.findall(r"^\$ flask (clients create billing .*?)\n```", DOCUMENT, re.MULTILINE | re.DOTALL)
    made = deployment.command(command.replace("\\\n", " ") + " --secret-stdin --json", stdin=SECRET)
    assert made.returncode == 0, made.stderr
    environ = {"ISSUER": deployment.issuer(), "CLIENT_ID": "billing", "CLIENT_SECRET": SECRET}
    with deployment.serving():
        yield Running(deployment, os.environ | environ)


# What stands behind a program of the document that defines `session`: a request for each line that comes in.
CALLS = """
import sys
for _ in sys.stdin:
    print(session.get(sys.argv[1]).status_code, session.token["access_token"], flush=True)
"""


def claims(token: str) -> dict[str, Any]:
    return pyjwt.decode(token, options={"verify_signature": False})


@contextmanager
def calling_orders(running: Running, folder: Path, program: str) -> Iterator[Callable[[], tuple[str, str]]]:
    """Each call is one request of the program's `session` to an API that introspects: its status, and the token held."""
    api = running.deployment.run(f"clients create --resource-identifier {ORDERS}")
    credentials = {"API_CLIENT_ID": api["client_id"], "API_CLIENT_SECRET": api["client_secret"]}
    with orders_api(running.environ["ISSUER"], folder, **credentials) as orders:
        caller = subprocess.Popen(
            [sys.executable, "-c", program + CALLS, orders],
            env=running.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

        def ask() -> tuple[str, str]:
            assert caller.stdin is not None
            assert caller.stdout is not None
            caller.stdin.write("\n")
            caller.stdin.flush()
            status, token = caller.stdout.readline().split()
            return status, token

        try:
            yield ask
        finally:
            caller.communicate(timeout=20)


def revoke(running: Running, token: str) -> None:
    answer = post(f"{running.environ['ISSUER']}/token/revoke", {"token": token}, ("billing", SECRET))
    assert answer.status == 200, answer.data


def test_the_document_names_each_program_once_and_says_of_each_row_whether_it_was_run() -> None:
    assert len(NAMED) > 25
    again = {name for name, _ in NAMED if [other for other, _ in NAMED].count(name) > 1}
    assert again == {"application.properties"}  # one for the client, one for the API
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\|.*\|$", DOCUMENT, re.MULTILINE)
    ]
    tables = [row for row in rows if row[-1] in ("below", "above", "earlier")]
    assert len(tables) > 45
    assert all(len(row) == 4 for row in tables)


def test_what_the_readme_says_of_siblings_and_of_who_hears_leads_to_the_clients_that_drop_a_refused_token() -> None:
    readme = (ROOT / "README.md").read_text()
    targets = re.findall(
        r"\(docs/works-with\.md#([\w-]+)\)", readme.partition("\n## Revocation\n")[2].partition("\n## ")[0]
    )
    headings = [title.lower().replace(" ", "-") for title in re.findall(r"^## (.*)$", DOCUMENT, re.MULTILINE)]
    assert len(targets) == 2
    assert set(targets) <= set(headings)


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name.endswith(".py")])
def test_every_python_program_is_whole(name: str) -> None:
    compile(PROGRAMS[name], name, "exec")


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name.endswith((".mjs", ".js"))])
def test_every_javascript_program_is_whole(name: str, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    program = tmp_path / name.replace(".js", ".mjs")
    program.write_text(PROGRAMS[name])
    assert subprocess.run([node, "--check", program], capture_output=True, timeout=60, check=False).stderr == b""


def test_curl_gets_a_token_with_a_secret_that_it_does_not_encode(running: Running, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    program = tmp_path / "token.sh"
    program.write_text(PROGRAMS["token.sh"])
    answer = json.loads(running.run("sh", str(program)))
    assert (answer["scope"], claims(answer["access_token"])["aud"]) == ("orders:read", ORDERS)


def test_authlibs_client_gets_a_token_by_audience_and_pyjwt_lets_it_in(running: Running) -> None:
    token = running.run(sys.executable, "-c", PROGRAMS["authlib_requests.py"])
    assert (claims(token)["client_id"], claims(token)["aud"]) == ("billing", ORDERS)
    assert running.run(sys.executable, "-c", PROGRAMS["pyjwt_api.py"], token) == "billing"


def test_authlibs_client_signs_for_itself_with_each_kind_of_key(running: Running, tmp_path: Path) -> None:
    make = "clients create signing --auth-method private_key_jwt --scope orders:read"
    running.deployment.run(f"{make} --default-audience {ORDERS}")
    keys = {alg: ClientKey(pem(MADE[alg]), alg=alg) for alg in ("ES256", "PS256", "EdDSA")}
    public = tmp_path / "keys.json"
    public.write_text(json.dumps({"keys": [dict(key.public_jwk) for key in keys.values()]}))
    running.deployment.run(f"clients keys add signing {public}")
    for alg, key in keys.items():
        private = tmp_path / f"{alg}.pem"
        private.write_bytes(pem(MADE[alg]))
        asked = {"CLIENT_ID": "signing", "KEY_FILE": str(private), "KID": key.kid, "ALG": alg}
        token = running.run(sys.executable, "-c", PROGRAMS["signed_authlib.py"], **asked)
        assert (claims(token)["client_id"], claims(token)["aud"]) == ("signing", ORDERS)


def test_authlib_with_the_hook_of_the_document_asks_for_a_new_token_after_a_401(
    running: Running, tmp_path: Path
) -> None:
    with calling_orders(running, tmp_path, PROGRAMS["renew_authlib.py"]) as ask:
        (good, first), (again, same) = ask(), ask()
        assert (good, again, same) == ("200", "200", first)
        revoke(running, first)
        assert ask() == ("401", first)
        renewed, second = ask()
        assert (renewed, second != first) == ("200", True)
        assert ask() == ("200", second)


def test_authlib_without_the_hook_keeps_a_revoked_token_as_the_table_says(running: Running, tmp_path: Path) -> None:
    hook = "session.hooks["
    program = "".join(line for line in PROGRAMS["renew_authlib.py"].splitlines(True) if not line.startswith(hook))
    with calling_orders(running, tmp_path, program) as ask:
        good, first = ask()
        assert good == "200"
        revoke(running, first)
        assert [ask() for _ in range(3)] == [("401", first)] * 3


def test_jose_of_the_document_lets_the_token_in(running: Running, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "jose").exists():
        pytest.skip("needs node, and jose in build/node (npm install --prefix build/node jose)")
    token = running.run(sys.executable, "-c", PROGRAMS["authlib_requests.py"])
    (tmp_path / "jose.mjs").write_text(PROGRAMS["jose.mjs"])
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    assert running.run(node, str(tmp_path / "jose.mjs"), token) == "billing"
