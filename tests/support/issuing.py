"""Processes that issue tokens through the application, each as fast as it can: a program, and who waits for it.

Nothing lies between them and what a server would call but the server: each token is one WSGI call of its own.
"""

import base64
import io
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PROCESSES = 4
FORM = b"grant_type=client_credentials"


@dataclass(frozen=True)
class Issued:
    """What came of it. indexes: by client, the address of a list and the positions in it that its tokens have."""

    tokens: int
    seconds: float
    indexes: Mapping[str, Mapping[str, frozenset[int]]]

    def of(self, *clients: str) -> dict[str, set[int]]:
        """The positions of some clients' tokens, by the address of their list."""
        found: dict[str, set[int]] = defaultdict(set)
        for client in clients:
            for uri, positions in self.indexes[client].items():
                found[uri] |= positions
        return found


def issue(environ: Mapping[str, str], folder: Path, clients: Mapping[str, str], tokens: int) -> Issued:
    """So many tokens for these clients (name: secret) in turn, by PROCESSES processes with this environment."""
    asked = json.dumps([str(folder), list(clients.items()), tokens // PROCESSES])
    ran = subprocess.run(
        [sys.executable, "-m", __name__],
        cwd=ROOT,
        env=environ,
        input=asked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len({answer["process"] for answer in answers}) == PROCESSES
    indexes: dict[str, dict[str, frozenset[int]]] = {client: {} for client in clients}
    for answer in answers:
        for client, lists in answer["indexes"].items():
            for uri, positions in lists.items():
                indexes[client][uri] = indexes[client].get(uri, frozenset()) | frozenset(positions)
    return Issued(sum(answer["tokens"] for answer in answers), max(answer["seconds"] for answer in answers), indexes)


def _fork(folder: str, clients: Sequence[tuple[str, str]], tokens: int) -> None:
    import psycopg  # noqa: F401

    import app  # noqa: F401

    children = []
    for number in range(PROCESSES):
        child = os.fork()
        if child == 0:
            answer = json.dumps(_issue(Path(folder) / f"issuing-{number}", clients, tokens)) + "\n"
            with os.fdopen(os.dup(1), "wb") as out:
                out.write(answer.encode())
            return
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    assert statuses == [0] * PROCESSES


def _issue(folder: Path, clients: Sequence[tuple[str, str]], tokens: int) -> dict[str, Any]:
    from app import create_app

    app = create_app(instance_path=str(folder))
    indexes: dict[str, dict[str, set[int]]] = {client: defaultdict(set) for client, _ in clients}
    environs = [_environ(*client) for client in clients]
    started = time.monotonic()
    for number in range(tokens):
        at = number % len(clients)
        statuses: list[str] = []
        parts = app(
            {**environs[at], "wsgi.input": io.BytesIO(FORM)}, lambda status, *_, said=statuses: said.append(status)
        )
        body = b"".join(parts)
        assert statuses == ["200 OK"], body
        payload = json.loads(body)["access_token"].split(".")[1]
        where = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["status"]["status_list"]
        indexes[clients[at][0]][where["uri"]].add(where["idx"])
    seconds = time.monotonic() - started
    app.extensions["realmint"].close()
    listed = {client: {uri: sorted(found) for uri, found in lists.items()} for client, lists in indexes.items()}
    return {"process": os.getpid(), "tokens": tokens, "seconds": seconds, "indexes": listed}


def _environ(client: str, secret: str) -> dict[str, Any]:
    path = "/oauth2/realms/root/access_token"
    return {
        "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": path, "RAW_URI": path, "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "5000", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0), "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": True,
        "wsgi.run_once": False, "CONTENT_TYPE": "application/x-www-form-urlencoded", "CONTENT_LENGTH": str(len(FORM)),
        "HTTP_AUTHORIZATION": "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode(),
    }  # fmt: skip


if __name__ == "__main__":
    _fork(*json.load(sys.stdin))
