"""The servers of a run, each started when first asked for and stopped at the end. Ours as the README has them run:
LOG_LEVEL INFO, into a file, a database each.
"""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from bench import token
from bench.load import ALGS
from bench.peers.peer import Missing, Peer
from bench.wrk import Request
from tests.support import postgres
from tests.support.process import BIN, Deployment

NO_POSTGRESQL = "no initdb on the PATH or in /usr/lib/postgresql (apt-get install postgresql)"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PROXY = {"PROXIES": "127.0.0.1", "HEADER": "Client-Cert", "FORMAT": "rfc9440"}


class Ours:
    """One that serves."""

    def __init__(self, deployment: Deployment, secrets: dict[str, str]) -> None:
        self.deployment = deployment
        self.secrets = secrets

    def address(self, alg: str, path: str) -> str:
        return f"{self.deployment.issuer('/' + alg.lower())}/{path}"

    def token_request(self, alg: str) -> Request:
        return Request(self.address(alg, "access_token"), "POST", token.form("svc", self.secrets[alg]).decode(), FORM)


class Servers:
    """Those of a run, all stopped when the block ends."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._started: dict[Any, Ours] = {}
        self._peers: dict[tuple[str, str], str] = {}

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ours(self, workers: int) -> Ours:
        """What `make serve` starts."""
        return self._ours("ours", workers)

    def gthread(self, workers: int) -> Ours:
        return self._ours("gthread", workers)

    def on_postgresql(self, workers: int) -> Ours | None:
        """What `make serve` starts, on a PostgreSQL of its own; None where there is none."""
        if ("postgresql", workers) in self._started:
            return self._started["postgresql", workers]
        binaries = postgres.find_binaries()
        if binaries is None:
            return None
        server = postgres.Server(binaries)
        self._stack.callback(server.stop)
        url, kek = server.url(server.create_database()), secrets.token_urlsafe(32)
        deployment = Deployment(self.folder / "postgresql", DATABASE_URL=url, KEK=kek)
        deployment.run_apart("db upgrade")
        deployment.run_apart("realms create /")
        made = self._started["postgresql", workers] = self._serving("ours", workers, deployment, _filled(deployment))
        return made

    def cores(self, workers: int, secret: str) -> Iterator[tuple[str, str]]:
        """Where the bare core is served: as `make serve` does, and by granian, which is compiled."""
        for name in ("make serve", "granian"):
            deployment = Deployment(self.folder / f"core, {name}")
            deployment.environ["BENCH_SECRET"] = secret
            if name == "make serve":
                where = ["--bind", f"127.0.0.1:{deployment.port}", "--workers", str(workers)]
                command = [sys.executable, "serve.py", *where, "--app", "bench.core:make"]
            else:
                where = ["--host", "127.0.0.1", "--port", str(deployment.port), "--workers", str(workers)]
                command = [str(BIN / "granian"), "--interface", "wsgi", *where, "bench.core:application"]
            self._stack.enter_context(deployment.process(command))
            yield name, deployment.base_url

    def peer(self, peer: Peer, alg: str) -> str:
        """Where a peer serves; raises Missing where it is not to be had here."""
        key = (peer.name, "" if peer.one_for_all else alg)
        if key not in self._peers:
            folder = self.folder / f"{peer.name}-{alg}"
            deployment = Deployment(folder)
            start = peer.start(peer.installed(), folder, deployment.port, alg)
            deployment.environ = {**_environ(), **start.environ}
            base = f"http://127.0.0.1:{deployment.port}"
            serving = deployment.process(start.argv, start.ready, base=base, cwd=start.cwd, seconds=120)
            try:
                self._stack.enter_context(serving)
            except AssertionError:
                said = deployment.log.read_text(errors="replace").strip() or "no word"
                raise Missing(f"did not start: {said.splitlines()[-1][:200]}") from None
            self._peers[key] = base
        return self._peers[key]

    def _ours(self, name: str, workers: int) -> Ours:
        if "template" not in self._started:
            template = Deployment(self.folder / "template")
            self._started["template"] = Ours(template, _filled(template))
        if (name, workers) not in self._started:
            template = self._started["template"].deployment
            deployment = Deployment(self.folder / f"{name}-{workers}")
            shutil.copytree(template.folder / "instance", deployment.folder / "instance")
            made = self._serving(name, workers, deployment, self._started["template"].secrets)
            self._started[name, workers] = made
        return self._started[name, workers]

    def _serving(self, name: str, workers: int, deployment: Deployment, secrets: dict[str, str]) -> Ours:
        # Who measures is the proxy too that hands certificates on. Nobody looks at the header where none is of use.
        deployment.environ |= {f"REALMINT_CLIENT_CERT_{name}": value for name, value in PROXY.items()}
        self._stack.enter_context(deployment.served_by(name, f"--workers {workers}"))
        return Ours(deployment, secrets)


def _filled(deployment: Deployment) -> dict[str, str]:
    """A realm and a client for each algorithm; the clients' secrets."""
    made = {}
    for alg in ALGS:
        realm = f"/{alg.lower()}"
        # Tokens that are asked about outlive the run.
        deployment.run_apart(f"realms create {realm} --alg {alg} --access-token-lifetime 1h")
        made[alg] = deployment.run_apart(f"clients create svc --realm {realm} --scope read")["client_secret"]
    return made


def _environ() -> dict[str, str]:
    """Ours without what would change a program in another environment of Python."""
    ours = ("REALMINT_", "FLASK_", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
