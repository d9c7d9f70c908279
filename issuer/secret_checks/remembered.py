"""Which slow checks came out well, so that each is paid for once: in memory that forked processes share.

What was proven by one worker counts for all that were forked after this was made, as under gunicorn --preload.
"""

import hmac
import mmap
import secrets

_MAC_BYTES = 32
_WAYS = 4
_ROWS = 16384
_SIZE = _ROWS * _WAYS * _MAC_BYTES


class Remembered:
    """Pairs of an identity and a text that belong together, as keyed digests: no text can be read back.

    A fixed table, in which a new pair may push out an old one, which then has to be proven again. Nothing locks it: a
    slot that two processes write at once holds a digest of nothing, and none is found without all of its bytes.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)  # costs nothing before a page of it is written
        self._key = secrets.token_bytes(_MAC_BYTES)

    def holds(self, identity: bytes, text: bytes) -> bool:
        """Whether the pair was proven, by this process or by one that shares its memory."""
        mac = self._mac(identity, text)
        return any(hmac.compare_digest(self._memory[at : at + _MAC_BYTES], mac) for at in _slots(mac))

    def add(self, identity: bytes, text: bytes) -> None:
        """Remembers a pair that was proven."""
        mac = self._mac(identity, text)
        free = [at for at in _slots(mac) if not any(self._memory[at : at + _MAC_BYTES])]
        at = free[0] if free else _slots(mac)[secrets.randbelow(_WAYS)]
        self._memory[at : at + _MAC_BYTES] = mac

    def _mac(self, identity: bytes, text: bytes) -> bytes:
        return hmac.digest(self._key, len(identity).to_bytes(4, "big") + identity + text, "sha256")


def _slots(mac: bytes) -> range:
    row = int.from_bytes(mac[:4], "big") % _ROWS * _WAYS * _MAC_BYTES
    return range(row, row + _WAYS * _MAC_BYTES, _MAC_BYTES)
