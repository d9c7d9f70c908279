"""wrk, from Debian's packages: one request again and again for some seconds, over 32 connections unless told."""

import json
import math
import shutil
import subprocess
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


class Failed(Exception):
    """wrk came to no end, with what it said."""


def missing() -> str:
    """Why there is no wrk; empty where there is."""
    return "" if shutil.which("wrk") else "no wrk on the PATH (apt-get install wrk)"


def turn(request: Request, seconds: float) -> dict[str, float]:
    """Answers a second, their times in microseconds, and the share that failed. wrk counts whole seconds."""
    whole = max(1, math.ceil(seconds))
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
            command, capture_output=True, text=True, timeout=whole + 60, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise Failed("wrk hangs") from None
    if done.returncode:
        raise Failed((done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1])
    found = json.loads(done.stdout.rpartition("JSON ")[2])
    rate = found["requests"] / found["us"] * 1e6
    failed = found.pop("failed") / max(found["requests"], 1)
    return {"per_second": rate, **{key: found[key] for key in found if key.startswith(("p", "max"))}, "failed": failed}
