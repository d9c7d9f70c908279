"""zitadel/oidc, the Go library, with its example's storage: one process, which uses every core."""

from pathlib import Path

from bench.peers.peer import Peer, Start, run, tool

HERE = Path(__file__).parent


def install(folder: Path) -> None:
    run(tool("go"), "build", "-o", str(folder / "issuer"), ".", cwd=HERE)


def start(installed: Path, folder: Path, port: int, alg: str) -> Start:
    environ = {"PORT": str(port), "ALG": alg}
    return Start([str(installed / "issuer")], "/.well-known/openid-configuration", environ, folder)


def form(alg: str) -> dict[str, str]:
    del alg
    return {"client_id": "sid1", "client_secret": "verysecret", "scope": "read"}  # the example's own


PEER = Peer(
    "zitadel-oidc",
    (HERE / "go.mod").read_text().partition("zitadel/oidc/v3 v")[2].split()[0],
    (HERE / "go.mod", HERE / "main.go"),
    install,
    start,
    "/oauth/token",
    form,
    note="Go, its example's memory store, all cores",
)
