"""Tokens a second beside another commit, and introspections beside tokens: one machine, one run, in turns.

    python -m bench.beside [COMMIT]

Without COMMIT: beside the last one before tokens carried a status index. A process for each runs its own code. Counted
in its processor time, which a machine that does other things besides leaves nearly as it is.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BEFORE = "8677b4c"
ROUNDS, BATCH = 20, 100
WORKER = """
import sys, tempfile, time
from pathlib import Path
from bench import harness
with tempfile.TemporaryDirectory() as folder:
    app, runtime = harness.issuer(Path(folder))
    credentials = harness.client(runtime)
    token = harness.token(app, credentials)
    form = {"grant_type": "client_credentials", "client_id": credentials[0], "client_secret": credentials[1]}
    text = app.test_client().post("/oauth2/realms/root/access_token", data=form).json["access_token"]
    introspect = harness.post(app, "/oauth2/realms/root/introspect", b"token=" + text.encode(), credentials)
    calls = {"token": token, "introspect": introspect}
    print("ready", flush=True)
    for line in sys.stdin:
        name, batch = line.split()
        begin = time.process_time()
        for _ in range(int(batch)):
            calls[name]()
        print((time.process_time() - begin) / int(batch) * 1e6, flush=True)
    runtime.close()
"""


class Worker:
    """A process with the code of one folder, asked for one batch at a time."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def micros(self, name: str) -> float:
        assert self._process.stdin is not None
        print(name, BATCH, file=self._process.stdin, flush=True)
        return float(self._read())

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)


def main() -> None:
    commit = sys.argv[1] if len(sys.argv) > 1 else BEFORE
    root = Path(__file__).parent.parent
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "before"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), commit], cwd=root, check=True)
        try:
            workers = {"before": Worker(tree), "now": Worker(root)}
            rows = [measured(workers) for _ in range(ROUNDS + 1)][1:]
            for worker in workers.values():
                worker.stop()
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=root, check=True)
    print(f"{'':24}{'µs':>8}{'per second':>12}{'of a token before':>20}   median of {ROUNDS} turns")
    for key in rows[0]:
        micros = statistics.median(row[key] for row in rows)
        ratio = statistics.median(row[key] / row["token, before"] for row in rows)
        print(f"{key:24}{micros:8.0f}{1e6 / micros:12.0f}{ratio:20.3f}")


def measured(workers: dict[str, Worker]) -> dict[str, float]:
    return {
        f"{what}, {when}": worker.micros(what) for what in ("token", "introspect") for when, worker in workers.items()
    }


if __name__ == "__main__":
    main()
