"""What the figures were measured on and with."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryptography.hazmat.backends.openssl.backend import backend

ROOT = Path(__file__).parent.parent
OURS = (
    "Authlib",
    "Flask",
    "Werkzeug",
    "cryptography",
    "gunicorn",
    "httptools",
    "joserfc",
    "PyJWT",
    "SQLAlchemy",
    "uvloop",
)


def described() -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _said("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "cpu": _of("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _of("/proc/meminfo", "MemTotal"),
        "load_before": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "openssl": backend.openssl_version_text(),
        "packages": {name: version(name) for name in OURS},
        "tools": {"wrk": _said("wrk", "-v"), "go": _said("go", "version"), "java": _said("java", "-version")},
    }


def _of(path: str, name: str) -> str:
    """A line of a file of Linux's."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _said(*command: str) -> str:
    """The first line that a program prints; empty where there is none of that name."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20, stdin=subprocess.DEVNULL)
    return next(iter((done.stdout or done.stderr).splitlines()), "").strip()
