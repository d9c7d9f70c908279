"""Files that commands are given."""

from pathlib import Path

from issuer.cli.exits import Exit, Refused


def read_file(file: Path, most: int) -> bytes:
    """What a regular file holds, of at most so many bytes. Raises Refused, for a device or a pipe too: it may never
    end."""
    try:
        if not file.is_file():
            raise Refused("unreadable", f"{file} is not a regular file", Exit.USAGE)
        with file.open("rb") as opened:
            raw = opened.read(most + 1)
    except OSError as error:
        raise Refused("unreadable", f"{file} cannot be read: {error.strerror}", Exit.USAGE) from None
    if len(raw) > most:
        raise Refused("unreadable", f"{file} has more than {most} bytes", Exit.USAGE)
    return raw
