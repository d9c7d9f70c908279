"""What a peer is: an issuer that somebody else wrote, installed below bench/out/peers and never beside the product."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

OUT = Path(__file__).parent.parent / "out" / "peers"
SECRET = "a secret of no worth 7Qx2"
WORKERS = 2
FEW = 2


class Missing(Exception):
    """Why a peer is not measured here."""


@dataclass(frozen=True)
class Start:
    """How one is started in a folder of its own, and when it is ready."""

    argv: list[str]
    ready: str
    environ: dict[str, str] = field(default_factory=dict)
    cwd: Path = OUT


@dataclass(frozen=True)
class Peer:
    """`install` fills the folder, which is kept while the files in `pins` stay as they are; `start` takes that folder,
    one for this run, the port and one of `algs`. `form` is what a client posts to `path`."""

    name: str
    version: str
    pins: tuple[Path, ...]
    install: Callable[[Path], None]
    start: Callable[[Path, Path, int, str], Start]
    path: str
    form: Callable[[str], dict[str, str]]
    algs: tuple[str, ...] = ("ES256", "RS256")
    one_for_all: bool = False
    """Whether one server signs with all of its algorithms."""
    few: tuple[str, ...] = ()
    """Those of `algs` that are so slow that 32 connections would get no answer in a turn; they have FEW."""
    warm_up: int = 1
    """How many turns it takes until it is as fast as it gets."""
    note: str = ""

    def installed(self) -> Path:
        """The folder; raises Missing with a sentence where it cannot be had here."""
        folder, stamp = OUT / self.name, "\n".join(pin.read_text() for pin in self.pins)
        if (folder / "stamp").is_file() and (folder / "stamp").read_text() == stamp:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.install(folder)
        (folder / "stamp").write_text(stamp)
        return folder


def tool(name: str) -> str:
    """Where a program is; raises Missing."""
    found = shutil.which(name)
    if found is None:
        raise Missing(f"no {name} on the PATH")
    return found


def run(*command: str, cwd: Path, environ: dict[str, str] | None = None) -> str:
    """What a command prints; raises Missing with its last line where it fails."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=600, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Missing(f"{Path(command[0]).name} took more than ten minutes") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        raise Missing(f"{Path(command[0]).name} failed: {said[:200]}")
    return done.stdout
