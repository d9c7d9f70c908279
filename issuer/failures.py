"""How often client authentication fails, per client id, over all processes of a node.

A small table in a file that the processes map into memory: a fixed number of counters, found by a keyed hash of realm
and client id, so that nobody can aim at another's counter and memory stays flat however many names are made up.
A throttled client's right secret is still accepted; what ends is the work for wrong ones.
"""

import fcntl
import hashlib
import mmap
import os
import secrets
import struct
import threading
from pathlib import Path

from issuer import log

WINDOW = 60
"""Seconds that failures are counted over."""
_SLOTS = 65536
_KEY_BYTES = 16
_SLOT = struct.Struct("<II")  # minute, failures in it
_SIZE = _KEY_BYTES + _SLOTS * _SLOT.size


class FailureLimit:
    """Counts failures; `per_minute` 0 turns it off. The file is opened on the first failure."""

    def __init__(self, path: Path, per_minute: int) -> None:
        self._path = path
        self._limit = per_minute
        self._lock = threading.Lock()
        self._map: mmap.mmap | None = None
        self._descriptor = -1

    def wait(self, realm_id: int, client_id: str, now: int) -> int:
        """Seconds until failures of this client id are looked at again; 0 when it is within the limit."""
        if self._map is None:
            return 0
        minute, count = _SLOT.unpack_from(self._map, self._offset(realm_id, client_id))
        over = minute == now // WINDOW and count >= self._limit
        return WINDOW - now % WINDOW if over else 0

    def note(self, realm_id: int, client_id: str, now: int) -> None:
        """One more failure of this client id."""
        if self._limit == 0:
            return
        with self._lock:
            if self._map is None:
                self._open()
            assert self._map is not None
            offset = self._offset(realm_id, client_id)
            # Other processes count in the same slot: the read and the write belong together.
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, _SLOT.size, offset)
            try:
                minute, count = _SLOT.unpack_from(self._map, offset)
                count = count + 1 if minute == now // WINDOW else 1
                _SLOT.pack_into(self._map, offset, now // WINDOW, min(count, 2**31))
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, _SLOT.size, offset)

    def close(self) -> None:
        """Lets go of the file; the counts stay for the other processes."""
        with self._lock:
            if self._map is not None:
                self._map.close()
                os.close(self._descriptor)
                self._map = None

    def _offset(self, realm_id: int, client_id: str) -> int:
        assert self._map is not None
        name = f"{realm_id}\0{client_id}".encode("utf-8", "surrogateescape")
        digest = hashlib.blake2b(name, digest_size=4, key=self._map[:_KEY_BYTES]).digest()
        return _KEY_BYTES + int.from_bytes(digest, "little") % _SLOTS * _SLOT.size

    def _open(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            # Nowhere to share them: this process then counts for itself.
            log.event("failures_not_shared", reason=error.strerror, level="WARNING")
            self._descriptor = os.memfd_create("realmint-failures")
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, _KEY_BYTES, 0)
        try:
            if os.fstat(self._descriptor).st_size != _SIZE:
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, secrets.token_bytes(_KEY_BYTES), 0)
                os.ftruncate(self._descriptor, _SIZE)
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, _KEY_BYTES, 0)
        self._map = mmap.mmap(self._descriptor, _SIZE)
