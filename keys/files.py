"""Files that hold something private: 0600 whatever the umask, whole or not at all."""

import os
import secrets
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """A new file at `path`, readable by its owner only. Raises FileExistsError, or OSError when it cannot be.

    Written to a temporary file and linked into place: of two processes, one makes it and the other finds it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def clear_leftovers(path: Path) -> None:
    """Removes what a process left that was killed while it wrote `path`. Nobody may be writing it now."""
    for left in path.parent.glob(f".{path.name}.*.*"):
        left.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """The names in `folder` survive a power cut from now on."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
