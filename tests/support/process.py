"""Real processes: the server and the commands as an operator starts them."""

import json
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from tests.support.operator import operator
from tests.support.tls import TLSSocket

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """Asks again until `condition` answers something true; fails after `seconds`. For other processes only."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


class Deployment:
    """An instance folder and an environment in which commands and servers run."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "server.log"
        folder.mkdir(parents=True, exist_ok=True)
        values = {"REALMINT_BASE_URL": f"http://127.0.0.1:{self.port}"}
        values |= {f"REALMINT_{name}": value for name, value in settings.items()}
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("REALMINT_", "FLASK_"))}
        self.environ = {**clean, **values, "PYTHONUNBUFFERED": "1"}

    @property
    def base_url(self) -> str:
        return self.environ["REALMINT_BASE_URL"]

    @property
    def factory(self) -> str:
        return f"app:create_app(instance_path={str(self.folder / 'instance')!r})"

    def issuer(self, realm: str = "/") -> str:
        return f"{self.base_url}/oauth2/realms/root" + ("" if realm == "/" else realm.replace("/", "/realms/"))

    def command_line(self, line: str) -> list[str]:
        return [str(BIN / "flask"), "--app", self.factory, *shlex.split(line)]

    def command(self, line: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Runs `flask LINE` to its end."""
        return subprocess.run(
            self.command_line(line), cwd=ROOT, env=self.environ, input=stdin, capture_output=True, text=True,
            timeout=60, check=False, stdin=subprocess.DEVNULL if stdin is None else None,
        )  # fmt: skip

    def run(self, line: str, stdin: str | None = None) -> Any:
        """Runs `flask LINE --json`, which must succeed; what it prints.

        In this process, so one at a time, and what is logged is logged here: a process of its own takes most of a
        second to begin.
        """
        with operator(self) as run:
            return run(line, stdin)

    def run_apart(self, line: str) -> Any:
        """The same in a process of its own."""
        result = self.command(f"{line} --json")
        assert result.returncode == 0, result.stdout + result.stderr
        return json.loads(result.stdout)

    def _target(self, module: str) -> str:
        """The name under which a server finds the `application` of a module with this text."""
        (self.folder / "served_here.py").write_text(module)
        self.environ["PYTHONPATH"] = f"{self.folder}:{ROOT}"
        return "served_here:application"

    @contextmanager
    def serving(
        self, line: str = "run", ready: str = "/healthz", ca: str | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """`flask run`, until the block ends."""
        with self.process([*self.command_line(f"{line} --port {self.port}")], ready, ca) as server:
            yield server

    @contextmanager
    def production(
        self,
        options: str = "--workers 2",
        module: str | None = None,
        *,
        ready: str = "/healthz",
        wrap: Sequence[str] = (),
    ) -> Iterator[subprocess.Popen[bytes]]:
        """What `make serve` starts, until the block ends; `module` is the text of one that makes `application`.

        wrap: a command that starts it, as `prlimit` does.
        """
        with self.process([*wrap, *self.production_line(options, module)], ready) as server:
            yield server

    def production_line(self, options: str = "--workers 2", module: str | None = None) -> list[str]:
        made = f"import app\n\n\ndef make():\n    return {self.factory.replace(':', '.', 1)}\n"
        self._target(made if module is None else f"{module}\n\ndef make():\n    return application\n")
        command = [str(BIN / "python"), "serve.py", "--bind", f"127.0.0.1:{self.port}", "--app", "served_here:make"]
        return [*command, *shlex.split(options)]

    @contextmanager
    def served_by(
        self, server: str, options: str = "--workers 1", wrap: Sequence[str] = ()
    ) -> Iterator[subprocess.Popen[bytes]]:
        """One of the two that the documents name: `ours`, which `make serve` starts, or gunicorn's `gthread`."""
        with {"ours": self.production, "gthread": self.gthread}[server](options, wrap=wrap) as process:
            yield process

    @contextmanager
    def gthread(
        self, options: str = "--workers 2", module: str | None = None, *, wrap: Sequence[str] = ()
    ) -> Iterator[subprocess.Popen[bytes]]:
        """gunicorn with a worker of its own, which gives each request a thread, until the block ends."""
        with self.gunicorn(f"--worker-class gthread {options}", module, wrap=wrap) as server:
            yield server

    @contextmanager
    def gunicorn(
        self, options: str = "--workers 2", module: str | None = None, *, wrap: Sequence[str] = ()
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The production server, until the block ends; `module` is the text of one that makes the application."""
        with self.process([*wrap, *self.gunicorn_line(options, module)]) as server:
            yield server

    def gunicorn_line(self, options: str, module: str | None = None) -> list[str]:
        target = self.factory if module is None else self._target(module)
        command = [str(BIN / "gunicorn"), "--config", "gunicorn.conf.py", "--bind", f"127.0.0.1:{self.port}"]
        return [*command, *shlex.split(options), target]

    @contextmanager
    def process(
        self, command: list[str], ready: str = "/healthz", ca: str | None = None, *, base: str = "", cwd: Path = ROOT,
        seconds: float = 20, shown: tuple[Path, Path] | None = None,
    ) -> Iterator[subprocess.Popen[bytes]]:  # fmt: skip
        """A command that serves, until the block ends. shown: the certificate and key of who asks whether it is ready."""
        with self.log.open("ab") as log:
            server = subprocess.Popen(
                command, cwd=cwd, env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            until(lambda: server.poll() is not None or self.answers(ready, ca, base, shown), seconds)
            assert server.poll() is None, self.log.read_text()
            yield server
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait(10)

    def answers(
        self, path: str, ca: str | None = None, base: str = "", shown: tuple[Path, Path] | None = None
    ) -> bool:  # fmt: skip
        """Whether `path` below the base URL is answered with 200, on the port of `base` or of this deployment."""
        parts = urllib3.util.parse_url(base or self.environ.get("REALMINT_BASE_URL", ""))
        scheme = "https" if ca else "http"
        try:
            options: dict[str, Any] = {}
            if ca:
                context = ssl.create_default_context(cafile=ca)
                context.sslsocket_class = TLSSocket
                if shown:
                    context.load_cert_chain(*shown)
                options = {"ssl_context": context, "assert_hostname": False}
            port = parts.port if base and parts.port else self.port
            with urllib3.PoolManager(retries=False, timeout=2, **options) as pool:
                return pool.request("GET", f"{scheme}://127.0.0.1:{port}{parts.path or ''}{path}").status == 200
        except urllib3.exceptions.HTTPError:
            return False


def post(url: str, form: dict[str, str], basic: tuple[str, str] | None = None) -> urllib3.BaseHTTPResponse:
    """A form sent to a real server."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    headers |= urllib3.make_headers(basic_auth=":".join(basic)) if basic else {}
    return urllib3.request("POST", url, body=urlencode(form), headers=headers, retries=False, timeout=10)
