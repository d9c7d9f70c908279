"""Counters of a minute in a table of a fixed size: a file that processes share, or memory where there is none.

A slot is found by a keyed hash of a name, so that nobody can aim at another's and the table stays as it is however
many names are made up. The file is read and written, never mapped: where a disk is full, errs or is cut short under a
mapping, the process is killed; under a call it hears of it.
"""

import errno
import fcntl
import hashlib
import mmap
import os
import secrets
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from issuer.waiting import about_to_wait

_SLOTS = 65536
_KEY_BYTES = 16
_SLOT = struct.Struct("<II")  # minute, count in it
SIZE = _KEY_BYTES + _SLOTS * _SLOT.size
"""Bytes of a table."""
_LOCK_TRIES = 200


class Counters(Protocol):
    """A table of counters; each name has one, which it may share with a few others."""

    def read(self, name: bytes, minute: int) -> int:
        """How often `name` was counted in `minute`. Raises OSError."""

    def add(self, name: bytes, minute: int) -> int:
        """Counts `name` once; how often it was by now. Raises OSError."""


class MemoryCounters:
    """Counters in memory, which this process shares with those that it forks and with nobody else."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SIZE)  # costs nothing before a page of it is written
        self._key = secrets.token_bytes(_KEY_BYTES)

    @property
    def used(self) -> bool:
        """Whether anything was counted, by any of these processes."""
        return self._memory[0] != 0

    def read(self, name: bytes, minute: int) -> int:
        return _count(self._memory, _offset(self._key, name), minute)

    def add(self, name: bytes, minute: int) -> int:
        # Nothing locks this against other processes: of two that count at one instant, one may be lost.
        offset = _offset(self._key, name)
        slot = _one_more(_count(self._memory, offset, minute), minute)
        self._memory[0] = 1  # before the slots, where a file has its key
        _SLOT.pack_into(self._memory, offset, *slot)
        return slot[1]


class FileCounters:
    """Counters in a file, exact over all processes that have it open.

    Made if it is not there, its blocks reserved by writing them. A file of another size, or without a key, is damaged
    and made anew in its place; whoever has it open goes on with it. Raises OSError, and then keeps nothing open.
    """

    def __init__(self, path: Path) -> None:
        # Not blocking: whatever was put here in its place, opening it holds nobody up.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        try:
            with self._locked():
                self._key = self._prepare()
        except BaseException:
            os.close(self._descriptor)
            raise

    def read(self, name: bytes, minute: int) -> int:
        return self._read(_offset(self._key, name), minute)

    def add(self, name: bytes, minute: int) -> int:
        offset = _offset(self._key, name)
        with self._locked():
            slot = _one_more(self._read(offset, minute), minute)
            os.pwrite(self._descriptor, _SLOT.pack(*slot), offset)
        return slot[1]

    def replaced(self) -> bool:
        """Whether the file was taken away, so that others count in another. Raises OSError."""
        return os.fstat(self._descriptor).st_nlink == 0

    def close(self) -> None:
        os.close(self._descriptor)

    def _read(self, offset: int, minute: int) -> int:
        raw = os.pread(self._descriptor, _SLOT.size, offset)
        if len(raw) != _SLOT.size:
            raise OSError(errno.EIO, "the file was cut short")
        return _count(raw, 0, minute)

    def _prepare(self) -> bytes:
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a file")
        key = os.pread(self._descriptor, _KEY_BYTES, 0)
        if status.st_size == SIZE and any(key):
            return key
        os.ftruncate(self._descriptor, 0)
        try:
            return self._fill()
        except OSError:
            os.ftruncate(self._descriptor, 0)  # half a table is of no use, and its room may be to others
            raise

    def _fill(self) -> bytes:
        content = secrets.token_bytes(_KEY_BYTES) + bytes(SIZE - _KEY_BYTES)
        written = 0
        while written < SIZE:
            written += os.pwrite(self._descriptor, content[written:], written)
        return content[:_KEY_BYTES]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Over each change of the file. Not for ever: a process that is stopped may hold it."""
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                about_to_wait()  # nothing was counted yet
                time.sleep(0.001)
        else:
            raise BlockingIOError(errno.EAGAIN, "another process holds the lock")
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def _offset(key: bytes, name: bytes) -> int:
    digest = hashlib.blake2b(name, digest_size=4, key=key).digest()
    return _KEY_BYTES + int.from_bytes(digest, "little") % _SLOTS * _SLOT.size


def _count(table: mmap.mmap | bytes, offset: int, minute: int) -> int:
    counted_in, count = _SLOT.unpack_from(table, offset)
    return int(count) if counted_in == minute else 0


def _one_more(count: int, minute: int) -> tuple[int, int]:
    return minute, min(count + 1, 2**31)
