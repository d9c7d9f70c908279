"""wrk, from Debian's packages: one request again and again, or one of several after the other, for some seconds, over
32 connections unless told.
"""

import json
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CONNECTIONS = 32


@dataclass(frozen=True)
class Request:
    """What is sent, and the status that must come."""

    url: str
    method: str = "GET"
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    connections: int = CONNECTIONS
    bodies: Callable[[int], Sequence[str]] | None = None
    """What is sent in the place of `body`: so many that each is sent once, or a few that are sent in turns. One may
    have a header of its own behind a tab, `Name: value`."""

    def once(self) -> tuple[str, dict[str, str]]:
        """The body and the headers of one request alone."""
        body, own, header = (self.body if self.bodies is None else self.bodies(1)[0]).partition("\t")
        name, _, value = header.partition(": ")
        return body, {**self.headers, name: value} if own else self.headers


class Failed(Exception):
    """wrk came to no end, with what it said."""


def missing() -> str:
    """Why there is no wrk; empty where there is."""
    return "" if shutil.which("wrk") else "no wrk on the PATH (apt-get install wrk)"


FIRST = 2500
"""Bodies a second with which a turn is tried at first, where each is sent once."""
MOST = 16 * FIRST


def turn(request: Request, seconds: float) -> dict[str, float]:
    """Answers a second, their times in microseconds, and the share that failed. wrk counts whole seconds."""
    whole = max(1, math.ceil(seconds))
    if request.bodies is None:
        return _told(_turn(request, whole, {}))
    a_second = FIRST
    while a_second <= MOST:
        bodies = request.bodies(a_second * whole)
        with tempfile.NamedTemporaryFile("w") as file:
            file.writelines(f"{body}\n" for body in bodies)
            file.flush()
            found = _turn(request, whole, {"WRK_BODIES": file.name})
        if len(bodies) < a_second * whole or found["requests"] + request.connections <= len(bodies):
            return _told(found)
        a_second *= 4
    raise Failed(f"more than {MOST} a second")


def _turn(request: Request, whole: int, environ: dict[str, str]) -> dict[str, float]:
    options = [
        "--threads",
        "1",
        "--connections",
        str(request.connections),
        "--duration",
        f"{whole}s",
        "--timeout",
        "20s",
    ]
    headers = [f"{name}: {value}" for name, value in request.headers.items()]
    script = str(Path(__file__).with_suffix(".lua"))
    command = ["wrk", *options, "--script", script, request.url, "--", request.method, request.body, *headers]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=whole + 60, check=False, stdin=subprocess.DEVNULL,
            env=os.environ | environ,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failed("wrk hangs") from None
    if done.returncode:
        raise Failed((done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1])
    found: dict[str, float] = json.loads(done.stdout.rpartition("JSON ")[2])
    return found


def _told(found: dict[str, float]) -> dict[str, float]:
    rate = found["requests"] / found["us"] * 1e6
    failed = found.pop("failed") / max(found["requests"], 1)
    return {"per_second": rate, **{key: found[key] for key in found if key.startswith(("p", "max"))}, "failed": failed}
