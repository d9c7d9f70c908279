"""curl, which shows a certificate or none."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

WITHOUT_CURL = pytest.mark.skipif(
    shutil.which("curl") is None and not os.environ.get("CI"), reason="no curl on this machine (apt-get install curl)"
)


class Curled(NamedTuple):
    """status: 0 where there was no answer, as when TLS was not to be had. connections: made for it."""

    status: int
    body: bytes
    connections: int

    @property
    def said(self) -> Any:
        return json.loads(self.body)


def curl(
    url: str, shown: tuple[Path, Path] | None = None, ca: Path | None = None, *more: str, **headers: str
) -> Curled:
    """A GET. shown: a certificate, and its key. headers: with underscores for hyphens."""
    command = ["curl", "--silent", "--max-time", "20", "--output", "-", "--write-out", "\n%{http_code} %{num_connects}"]
    command += ["--cacert", str(ca)] if ca else []
    command += ["--cert", str(shown[0]), "--key", str(shown[1])] if shown else []
    for name, value in headers.items():
        command += ["--header", f"{name.replace('_', '-')}: {value}"]
    done = subprocess.run([*command, *more, url], capture_output=True, timeout=30, check=False)
    body, _, last = done.stdout.rpartition(b"\n")
    status, connections = map(int, last.split())
    return Curled(status, body, connections)
