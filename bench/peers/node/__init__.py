"""node-oidc-provider, two processes of node:cluster, on the Node that npm brings."""

import json
import shutil
from pathlib import Path

from bench.peers.peer import SECRET, WORKERS, Peer, Start, run, tool

PINS = tuple(Path(__file__).with_name(name) for name in ("package.json", "issuer.js"))
RESOURCE = "https://api.example"


def install(folder: Path) -> None:
    for pin in PINS:
        shutil.copy(pin, folder)
    run(tool("npm"), "install", "--no-package-lock", "--no-audit", "--no-fund", cwd=folder)
    run(str(folder / "node_modules/.bin/node"), "--version", cwd=folder)


def start(installed: Path, folder: Path, port: int, alg: str) -> Start:
    del folder
    environ = {"PORT": str(port), "ALG": alg, "SECRET": SECRET, "RESOURCE": RESOURCE, "WORKERS": str(WORKERS)}
    argv = [str(installed / "node_modules/.bin/node"), "issuer.js"]
    return Start(argv, "/.well-known/openid-configuration", {**environ, "NODE_ENV": "production"}, installed)


def form(alg: str) -> dict[str, str]:
    del alg
    return {"client_id": "svc", "client_secret": SECRET, "scope": "read", "resource": RESOURCE}


WITH = json.loads(PINS[0].read_text())["dependencies"]
PEER = Peer(
    "node-oidc-provider",
    f"{WITH['oidc-provider']} on Node {WITH['node']}",
    PINS,
    install,
    start,
    "/token",
    form,
    note="memory adapter, two processes",
)
