"""What the peers in Python share: an environment of their own each, and the server that ours has too."""

import sys
from pathlib import Path

from bench.peers.peer import SECRET, WORKERS, Start, run


def version(home: Path, name: str) -> str:
    """What the requirements.txt in `home` pins a package to."""
    pins = dict(line.split("==") for line in (home / "requirements.txt").read_text().split())
    return pins[name]


def install(home: Path, folder: Path) -> None:
    """Fills a folder with an environment of what the requirements.txt in `home` names."""
    run(sys.executable, "-m", "venv", str(folder / "venv"), cwd=folder)
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--requirement", str(home / "requirements.txt"), cwd=folder)


def start(home: Path, installed: Path, folder: Path, port: int, alg: str) -> Start:
    environ = {"PORT": str(port), "ALG": alg, "SECRET": SECRET, "WORKERS": str(WORKERS), "FOLDER": str(folder)}
    return Start([str(installed / "venv/bin/python"), "issuer.py"], "/healthz", environ, home)


def form(alg: str) -> dict[str, str]:
    del alg
    return {"client_id": "svc", "client_secret": SECRET, "scope": "read"}
