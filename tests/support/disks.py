"""Real file systems that are small, full or read-only, for what the server and the commands write."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str = "512k") -> Iterator[Path]:
    """A file system of `size` at `folder`, until the block ends."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False)
    if mounted.returncode:
        if os.environ.get("CI"):
            pytest.fail("CI must be able to mount a file system (root, CAP_SYS_ADMIN)")
        pytest.skip("a file system can not be mounted here (needs root and CAP_SYS_ADMIN)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def full(folder: Path, room: int = 0) -> Iterator[None]:
    """The file system at `folder` has no more than `room` bytes left, until the block ends."""
    ballast = folder / "ballast"
    free = os.statvfs(folder)
    ballast.write_bytes(bytes(max(free.f_bavail * free.f_frsize - room, 0)))
    try:
        yield
    finally:
        ballast.unlink()


def read_only(folder: Path, *, on: bool = True) -> None:
    """Makes the file system at `folder` read-only, or writable again. Nobody may have a file open for writing."""
    subprocess.run(["mount", "-o", f"remount,{'ro' if on else 'rw'}", folder], check=True)
