"""What control over live tokens costs everybody else: classes revoked in a realm of very many clients, and a flood.

    python -m bench.control [--clients 100000] [--rounds 10] [--seconds 2]

On SQLite, and on PostgreSQL where its binaries are found: a process issues tokens of one realm as fast as it can, in
windows of some seconds, beside nothing, `tokens revoke --all` of the other realm, that realm disabled and enabled, and
a client of it that attempts 1,000 revocations a second, in turns. Told of each: tokens a second and their 99th
percentile, how long the lock of the change log was held, and how long `keys rotate` of the first realm took.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import event

from bench import crowd, harness
from issuer.admin import clients, keys, realms, tokens
from issuer.storage import schema
from issuer.storage.engine import Database
from keys.audit import Actor
from tests.support import postgres

ATTEMPTS = 1000
READ = {"scopes": ["read"], "default_scopes": ["read"]}


class Held:
    """For how long this process held the lock of the change log, each time, in milliseconds."""

    def __init__(self, database: Database) -> None:
        self.times: list[float] = []
        self._since: float | None = None
        event.listen(database.engine, "after_cursor_execute", self._locked)
        event.listen(database.engine, "checkin", self._let_go)

    def _locked(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        writes = connection.get_execution_options().get("realmint_write")
        if writes and self._since is None and statement.startswith("SELECT change_head"):
            self._since = time.perf_counter()

    def _let_go(self, *_: Any) -> None:
        if self._since is not None:
            self.times.append((time.perf_counter() - self._since) * 1e3)
            self._since = None


def issuing(url: str, folder: str, secret: str) -> Iterator[dict[str, float]]:
    """In its own process: a window of tokens per line read."""
    app, _ = harness.opened(url, Path(folder))
    call = harness.token(app, ("svc", secret), "/oauth2/realms/root/realms/other/access_token")
    call()
    yield {}
    for line in sys.stdin:
        took = list[float]()
        begin = before = time.perf_counter()
        while before - begin < float(line):
            call()
            now = time.perf_counter()
            took.append((now - before) * 1e3)
            before = now
        yield {"rate": len(took) / (before - begin), "p99": statistics.quantiles(took, n=100)[98]}


def flooding(url: str, folder: str, secret: str) -> Iterator[dict[str, float]]:
    """In its own process: ATTEMPTS revocations a second for so many seconds, by one client, per line read."""
    app, runtime = harness.opened(url, Path(folder))
    base = "/oauth2/realms/root/realms/crowd"
    texts = list(_tokens(app, f"{base}/access_token", secret))
    calls = [harness.asking(app, f"{base}/token/revoke", b"token=" + text, ("c1", secret)) for text in texts]
    del runtime
    yield {}
    for line in sys.stdin:
        answers: Counter[str] = Counter()
        begin, number = time.perf_counter(), 0
        while (passed := time.perf_counter() - begin) < float(line):
            if number < passed * ATTEMPTS:
                answers[str(calls[number % len(calls)]())] += 1
                number += 1
            else:
                time.sleep(0.0005)
        yield {status: count / float(line) for status, count in answers.items()}


def _tokens(app: Any, path: str, secret: str) -> Iterator[bytes]:
    form = {"grant_type": "client_credentials", "client_id": "c1", "client_secret": secret}
    http = app.test_client()
    for _ in range(2000):
        yield http.post(path, data=form).json["access_token"].encode()


class Worker:
    """Another process, asked for one window at a time."""

    def __init__(self, what: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "bench.control", "--worker", json.dumps([what, *arguments])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read()

    def ask(self, seconds: float) -> None:
        assert self._process.stdin is not None
        print(seconds, file=self._process.stdin, flush=True)

    def read(self) -> dict[str, float]:
        assert self._process.stdout is not None
        told: dict[str, float] = json.loads(self._process.stdout.readline())
        return told

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)


def measure(name: str, url: str, folder: Path, arguments: argparse.Namespace) -> None:
    _, runtime = harness.opened(url, folder)
    admin = runtime.administration
    runtime.database.create_file()
    schema.upgrade(runtime.database)
    for path in ("/", "/crowd", "/other"):
        realms.create(admin, path, {}, harness.ACTOR)
    other = clients.create(admin, "/other", "svc", READ, harness.ACTOR).secret or ""
    secret = crowd.load(runtime.database, "/crowd", arguments.clients)
    held = Held(runtime.database)
    worker, flood = (Worker("issuing", url, str(folder), other), Worker("flooding", url, str(folder), secret))

    def switch() -> None:
        realms.disable(admin, "/crowd", harness.ACTOR)
        realms.enable(admin, "/crowd", harness.ACTOR)

    acts: dict[str, Callable[[], Any]] = {
        "nothing": lambda: None,
        "tokens revoke --all": lambda: tokens.revoke_all(admin, "/crowd", harness.ACTOR),
        "realms disable, enable": switch,
        f"{ATTEMPTS} revocations/s": lambda: flood.ask(arguments.seconds),
    }
    found: dict[str, defaultdict[str, list[float]]] = {act: defaultdict(list) for act in acts}
    for _ in range(arguments.rounds):
        for act, run in acts.items():
            worker.ask(arguments.seconds)
            time.sleep(arguments.seconds / 4)
            held.times.clear()
            run()
            found[act]["held"] += held.times
            begin = time.perf_counter()
            keys.rotate(admin, "/other", Actor("bench", "bench", "bench"), force=True)
            found[act]["rotate"].append((time.perf_counter() - begin) * 1e3)
            told = worker.read() | (flood.read() if run is acts[f"{ATTEMPTS} revocations/s"] else {})
            for key, value in told.items():
                found[act][key].append(value)
    for process in (worker, flood):
        process.stop()
    runtime.close()
    show(name, arguments.clients, found)


def show(name: str, number: int, found: dict[str, defaultdict[str, list[float]]]) -> None:
    print(f"{name}, {number} clients{'':18}tokens/s   p99 ms   lock ms (max)   rotate ms   per second: 200   429")
    for act, values in found.items():
        middle = {key: statistics.median(each) for key, each in values.items() if each}
        lock = f"{middle['held']:.0f} ({max(values['held']):.0f})" if "held" in middle else "-"
        rest = f"{middle['200']:.0f}   {middle['429']:.0f}" if "429" in middle else ""
        print(f"{act:40}{middle['rate']:9.0f}{middle['p99']:9.2f}{lock:>16}{middle['rotate']:12.0f}{rest:>24}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        what, *rest = json.loads(arguments.worker)
        for told in {"issuing": issuing, "flooding": flooding}[what](*rest):
            print(json.dumps(told), flush=True)
        return
    with tempfile.TemporaryDirectory() as name:
        measure("SQLite", f"sqlite:///{name}/store.db", Path(name) / "sqlite", arguments)
        if (binaries := postgres.find_binaries()) is not None:
            server = postgres.Server(binaries)
            try:
                measure("PostgreSQL", server.url(server.create_database()), Path(name) / "postgresql", arguments)
            finally:
                server.stop()


if __name__ == "__main__":
    main()
