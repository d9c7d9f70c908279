"""How much of what the store holds one process may keep: it follows from the memory of its machine or container."""

import os
from pathlib import Path

_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_SHARE = 16
"""One part in so many, for realms and for clients each: several processes share a machine."""
REALM_BYTES = 24_000
CLIENT_BYTES = 3_000
"""What one of each takes with its keys and its secrets, measured by `python -m bench.many_realms`, rounded up."""
LIST_BYTES = 20_000
"""What a status list takes of which one index in a thousand is set; one of which none is takes 3,000."""
LEAST_REALMS, LEAST_CLIENTS, LEAST_LISTS = 1024, 20_000, 256


def available() -> int:
    """Bytes of memory that this machine has, or this container may use."""
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _LIMITS:
        try:
            said = path.read_text().strip()
        except OSError:
            continue
        if said.isdigit():
            have = min(have, int(said))
    return have


def realms_held(memory: int) -> int:
    """How many realms a process keeps."""
    return max(LEAST_REALMS, memory // _SHARE // REALM_BYTES)


def clients_held(memory: int) -> int:
    """How many clients a process keeps."""
    return max(LEAST_CLIENTS, memory // _SHARE // CLIENT_BYTES)


def lists_held(memory: int) -> int:
    """How many status lists a process keeps."""
    return max(LEAST_LISTS, memory // _SHARE // LIST_BYTES)
