"""examples/orders.py, an API that really runs."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

from tests.support.process import BIN, ROOT, free_port, until


@contextmanager
def orders_api(issuer: str, folder: Path, **environ: str) -> Iterator[str]:
    """examples/orders.py as its own process; its address."""
    port = free_port()
    with (folder / "api.log").open("ab") as log:
        server = subprocess.Popen(
            [str(BIN / "flask"), "--app", "examples/orders.py", "run", "--port", str(port)],
            cwd=ROOT, env={**os.environ, "ISSUER": issuer, **environ}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}/orders"

    def answers() -> bool:
        try:
            return bool(urllib3.request("GET", url, retries=False, timeout=2).status)
        except urllib3.exceptions.HTTPError:
            return False

    try:
        until(answers)
        yield url
    finally:
        server.terminate()
        server.wait(10)
