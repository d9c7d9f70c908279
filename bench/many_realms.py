"""Ten thousand realms and a hundred thousand clients beside one of each: start-up, memory, time per token, in one run.

    python -m bench.many_realms [--realms 10000] [--clients 100000] [--database-url URL]

Loads the realms into a fresh database (an SQLite file in a temporary folder unless a URL is given), then starts one
worker process on it and one on a database with a single realm and client, and measures them in turns. Then every client
of every realm gets a token, twice: what the second round asks the database, and what one of each takes in memory.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import event

from bench import crowd, harness
from issuer.realms import REALM_DEFAULTS
from issuer.secrets import Kind, digest, generate
from issuer.slots import FIRST_LENGTH
from issuer.storage import schema
from issuer.storage.changes import record_change
from issuer.storage.tables import change_head, client_credentials, clients, realms, status_ranges
from keys import store
from keys.key import generate as generate_key

BATCH = 1000
PAIRS = 30


def load(url: str, folder: Path, realm_count: int, client_count: int) -> str:
    """Fills an empty database; the secret that every client has. Realms are /r1 ..., clients c1 ... in turn."""
    app, runtime = harness.opened(url, folder)
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
                    connection, number, [pair], runtime.sealer(), harness.ACTOR, path=f"/{number}", max_lifetime=3600,
                    now=1, details={},
                )  # fmt: skip
        progress("realms", min(first + BATCH - 1, realm_count), realm_count, started)
    started = time.perf_counter()
    for first in range(1, client_count + 1, BATCH):
        numbers = range(first, min(first + BATCH, client_count + 1))
        with runtime.database.write() as connection:
            connection.execute(
                clients.insert(), [crowd.client_row((n - 1) % realm_count + 1, f"c{n}") for n in numbers]
            )
            connection.execute(client_credentials.insert(), [crowd.secret_row(n, row_digest) for n in numbers])
            connection.execute(status_ranges.insert(), [range_row(n, realm_count) for n in numbers])
        progress("clients", numbers[-1], client_count, started)
    with runtime.database.change() as connection:
        connection.execute(change_head.update().values(generation=realm_count + client_count))
        record_change(connection, None)
    runtime.close()
    return secret


def realm_row(number: int) -> dict[str, Any]:
    defaults = {name: list(value) if isinstance(value, tuple) else value for name, value in REALM_DEFAULTS.items()}
    path = f"/r{number}"
    own = {"has_imported_secrets": False, "status_floor": 0, "created_at": 1}
    return {**defaults, **own, "path": path, "path_key": path, "enabled": True}


def range_row(number: int, realm_count: int) -> dict[str, Any]:
    place = {"offset": (number - 1) // realm_count * FIRST_LENGTH, "length": FIRST_LENGTH}
    owner = {
        "realm_id": (number - 1) % realm_count + 1,
        "client_pk": number,
        "credential_id": crowd.secret_name(number),
    }
    return {**place, **owner, "max_lifetime": 3600, "set_count": 0}


def progress(what: str, done: int, total: int, started: float) -> None:
    if not sys.stderr.isatty():
        return
    print(f"\r{what}: {done} of {total} in {time.perf_counter() - started:.0f} s", end="", file=sys.stderr, flush=True)
    if done == total:
        print(file=sys.stderr)


def worker(url: str, folder: Path, secret: str) -> Iterator[float]:
    """In its own process: start-up to the first token, memory then, then a batch of warm tokens per line read."""
    started = time.perf_counter()
    app, _ = harness.opened(url, folder)
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


def measure(realms: int, clients: int, database_url: str | None = None) -> dict[str, dict[str, float]]:
    """A worker with one realm and client beside one with all; then every client of the latter gets a token, twice.

    `of_one` is what a token costs there, as a multiple of what it costs with one; median of pairs of batches.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        many_url, one_url = database_url or f"sqlite:///{folder}/many.db", f"sqlite:///{folder}/one.db"
        many_secret = load(many_url, folder / "many", realms, clients)
        one_secret = load(one_url, folder / "one", 1, 1)
        one, many = Worker(one_url, folder / "one", one_secret), Worker(many_url, folder / "many", many_secret)
        stack.callback(one.stop)
        stack.callback(many.stop)
        batches = [(one.batch(), many.batch()) for _ in range(PAIRS + 1)][1:]
        us = [statistics.median(times) for times in zip(*batches, strict=True)]
        first, second, statements, grown = many.visit(realms, clients)
        return {
            named(1, 1): {"start_up_s": one.start_up, "mib": one.memory, "us": us[0]},
            named(realms, clients): {
                "start_up_s": many.start_up, "mib": many.memory, "us": us[1], "first_us": first, "second_us": second,
                "statements": statements, "grown_mib": grown, "of_one": statistics.median(b / a for a, b in batches),
            },
        }  # fmt: skip


def named(realms: int, clients: int) -> str:
    return f"{realms} realms, {clients} clients" if realms > 1 else "1 realm, 1 client"


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
    found = measure(arguments.realms, arguments.clients, arguments.database_url)
    print(f"{'':32}{'start-up s':>12}{'memory MiB':>12}{'µs per token':>14}")
    for name, row in found.items():
        print(f"{name:32}{row['start_up_s']:12.2f}{row['mib']:12.1f}{row['us']:14.0f}")
    row = found[named(arguments.realms, arguments.clients)]
    print(f"all {arguments.clients} clients in turn: {row['first_us']:.0f} µs each,", end=" ")
    print(f"the second time {row['second_us']:.0f}", end=" ")
    print(f"and {row['statements']:.0f} statements in all; {row['grown_mib']:.0f} MiB are held for them")
    print(f"a token costs {(row['of_one'] - 1) * 100:+.1f} % with all of them (median of {PAIRS} pairs of batches)")


if __name__ == "__main__":
    main()
