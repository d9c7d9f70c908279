"""Ten thousand realms and a hundred thousand clients beside one of each: start-up, memory, time per token, in one run.

    python -m bench.many_realms [--realms 10000] [--clients 100000] [--database-url URL]

Loads the realms into a fresh database (an SQLite file in a temporary folder unless a URL is given), then starts one
worker process on it and one on a database with a single realm and client, and measures them in turns. Then every client
of every realm gets a token, twice: what the second round asks the database, and what one of each takes in memory.
"""

import argparse
import json
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import event

from bench import harness
from issuer import schema
from issuer.db import change_head, client_secrets, clients, realms, record_change
from issuer.realms import REALM_DEFAULTS
from issuer.secrets import SALT_BYTES, Kind, digest, generate
from keys import store
from keys.key import generate as generate_key

KEK = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
BATCH = 1000


def load(url: str, folder: Path, realm_count: int, client_count: int) -> str:
    """Fills an empty database; the secret that every client has. Realms are /r1 ..., clients c1 ... in turn."""
    app, runtime = harness_without_boot(url, folder)
    del app
    runtime.database.create_file()
    schema.upgrade(runtime.database)
    secret = generate()
    row_digest = digest(secret, Kind.GENERATED, b"")
    started = time.perf_counter()
    for first in range(1, realm_count + 1, BATCH):
        with runtime.database.write() as connection:
            for number in range(first, min(first + BATCH, realm_count + 1)):
                connection.execute(realms.insert().values(**realm_row(number)))
                pair = (generate_key("ES256"), generate_key("ES256"))
                store.create_key_set(
                    connection, number, [pair], runtime.sealer(), harness.ACTOR, max_lifetime=3600, now=1
                )
        progress("realms", min(first + BATCH - 1, realm_count), realm_count, started)
    started = time.perf_counter()
    for first in range(1, client_count + 1, BATCH):
        numbers = range(first, min(first + BATCH, client_count + 1))
        with runtime.database.write() as connection:
            connection.execute(clients.insert(), [client_row(n, (n - 1) % realm_count + 1) for n in numbers])
            connection.execute(client_secrets.insert(), [secret_row(n, row_digest) for n in numbers])
        progress("clients", numbers[-1], client_count, started)
    with runtime.database.change() as connection:
        connection.execute(change_head.update().values(generation=realm_count + client_count))
        record_change(connection, None)
    runtime.close()
    return secret


def harness_without_boot(url: str, folder: Path) -> tuple[Any, Any]:
    from app import create_app
    from issuer.settings import Settings

    environ = {"REALMINT_DATABASE_URL": url, "REALMINT_KEK": KEK, "REALMINT_LOG_LEVEL": "ERROR"}
    app = create_app(Settings.from_environ(environ, folder), str(folder))
    return app, app.extensions["realmint"]


def realm_row(number: int) -> dict[str, Any]:
    defaults = {name: list(value) if isinstance(value, tuple) else value for name, value in REALM_DEFAULTS.items()}
    path = f"/r{number}"
    return {**defaults, "path": path, "path_key": path, "enabled": True, "has_imported_secrets": False, "not_before": 0,
            "created_at": 1}  # fmt: skip


def client_row(number: int, realm_id: int) -> dict[str, Any]:
    empty: dict[str, Any] = {name: [] for name in ("audiences", "default_audience", "resource_identifiers")}
    may = {"scopes": ["read"], "default_scopes": ["read"], "grant_types": ["client_credentials"]}
    salt = secrets.token_bytes(SALT_BYTES)
    named = {"realm_id": realm_id, "client_id": f"c{number}", "auth_method": "client_secret", "secret_salt": salt}
    return {**empty, **may, **named, "enabled": True, "not_before": 0, "created_at": 1}


def secret_row(number: int, row_digest: bytes) -> dict[str, Any]:
    named = {"secret_id": f"s{number}", "client_pk": number, "kind": "generated"}
    return {**named, "version": 1, "digest": row_digest, "created_at": 1}


def progress(what: str, done: int, total: int, started: float) -> None:
    if not sys.stderr.isatty():
        return
    print(f"\r{what}: {done} of {total} in {time.perf_counter() - started:.0f} s", end="", file=sys.stderr, flush=True)
    if done == total:
        print(file=sys.stderr)


def worker(url: str, folder: Path, secret: str) -> Iterator[float]:
    """In its own process: start-up to the first token, memory then, then a batch of warm tokens per line read."""
    started = time.perf_counter()
    app, _ = harness_without_boot(url, folder)
    call = harness.token(app, ("c1", secret), "/oauth2/realms/root/realms/r1/access_token")
    call()
    yield time.perf_counter() - started
    yield resident_mib()
    for line in sys.stdin:
        if line.startswith("visit"):
            yield from visit(app, secret, *map(int, line.split()[1:]))
            continue
        batch = time.perf_counter()
        for _ in range(200):
            call()
        yield (time.perf_counter() - batch) / 200 * 1e6


def visit(app: Any, secret: str, realm_count: int, client_count: int) -> Iterator[float]:
    """A token for every client, twice: µs each the first time and the second, statements in the second, MiB after."""
    statements = 0

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal statements
        statements += "change_head" not in statement  # the poll's own

    calls = [
        harness.token(app, (f"c{n}", secret), f"/oauth2/realms/root/realms/r{(n - 1) % realm_count + 1}/access_token")
        for n in range(1, client_count + 1)
    ]
    before = resident_mib()
    for _ in range(2):
        event.listen(app.extensions["realmint"].database.engine, "before_cursor_execute", count)
        statements = 0
        started = time.perf_counter()
        for call in calls:
            call()
        yield (time.perf_counter() - started) / client_count * 1e6
        event.remove(app.extensions["realmint"].database.engine, "before_cursor_execute", count)
    yield statements
    yield resident_mib() - before


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


class Worker:
    """A worker process, asked for one batch at a time."""

    def __init__(self, url: str, folder: Path, secret: str) -> None:
        command = [sys.executable, "-m", "bench.many_realms", "--worker", json.dumps([url, str(folder), secret])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.start_up, self.memory = self._line(), self._line()

    def _line(self) -> float:
        assert self.process.stdout is not None
        return float(self.process.stdout.readline())

    def batch(self) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._line()

    def visit(self, realm_count: int, client_count: int) -> tuple[float, float, float, float]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"visit {realm_count} {client_count}\n")
        self.process.stdin.flush()
        return self._line(), self._line(), self._line(), self._line()

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--realms", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=100_000)
    parser.add_argument(
        "--database-url", help="an empty database for the many; SQLite in a temporary folder by default"
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        url, folder, secret = json.loads(arguments.worker)
        for number in worker(url, Path(folder), secret):
            print(number, flush=True)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many_url = arguments.database_url or f"sqlite:///{folder}/many.db"
        one_url = f"sqlite:///{folder}/one.db"
        many_secret = load(many_url, folder / "many", arguments.realms, arguments.clients)
        one_secret = load(one_url, folder / "one", 1, 1)
        one, many = Worker(one_url, folder / "one", one_secret), Worker(many_url, folder / "many", many_secret)
        batches = [(one.batch(), many.batch()) for _ in range(31)][1:]
        ratio = sorted(b / a for a, b in batches)[len(batches) // 2]
        medians = [sorted(times)[len(times) // 2] for times in zip(*batches, strict=True)]
        cold, warm, statements, grown = many.visit(arguments.realms, arguments.clients)
        for process in (one, many):
            process.stop()
    print(f"{'realms':>8}{'clients':>9}{'start-up s':>12}{'memory MiB':>12}{'µs per token':>14}")
    print(f"{1:8}{1:9}{one.start_up:12.2f}{one.memory:12.1f}{medians[0]:14.0f}")
    print(f"{arguments.realms:8}{arguments.clients:9}{many.start_up:12.2f}{many.memory:12.1f}{medians[1]:14.0f}")
    print(f"all {arguments.clients} clients in turn: {cold:.0f} µs each, the second time {warm:.0f}", end=" ")
    print(f"and {statements:.0f} statements in all; {grown:.0f} MiB are held for them")
    print(f"a token costs {(ratio - 1) * 100:+.1f} % with all of them (median of {len(batches)} pairs of batches)")


if __name__ == "__main__":
    main()
