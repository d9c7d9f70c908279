"""What the production server allows, said here or in gunicorn.conf.py; docs/operating.md explains the figures."""

import resource
from dataclasses import dataclass


class TooFewDescriptors(Exception):
    """The process may not open enough files to serve."""


@dataclass(frozen=True)
class Limits:
    """Of one worker. Times are in seconds, sizes in bytes."""

    connections: int = 2048
    """Most that are open; whoever comes later waits in the backlog. Each is a descriptor."""
    backlog: int = 1024
    """Connections that the kernel holds until one of the workers takes them."""
    head_seconds: int = 15
    """For a whole head, from the connection's or the last answer's end on: the keep-alive time as well."""
    body_seconds: int = 10
    """From the head's end to the body's."""
    unread_seconds: int = 10
    """How long an answer may stand in the socket while its reader takes less than `unread_rate`; also how long a
    connection whose last answer was sent is waited for to be closed by its other side."""
    unread_rate: int = 1024
    """Bytes a second."""
    head_size: int = 64 * 1024
    """Of a head that is not there whole: no more is held."""
    chunked_size: int = 1024 * 1024
    """Of a body in chunks, with all that frames it."""
    buffer: int = 64 * 1024
    """Of a connection in the kernel, each way, which doubles it: it would hold megabytes for each that nobody reads."""
    request_line: int = 4094
    fields: int = 64
    field_size: int = 8190


DESCRIPTORS = 192
"""A worker's own, beside connections: database, log, runtime, and room to breathe."""
_FEWEST = 32


def within_descriptors(wanted: int) -> int:
    """How many connections a worker may hold, so that it never runs out of descriptors; raises the soft limit first.

    Without one to accept with, the server would ask again and again, and neither serve nor stop. Raises
    TooFewDescriptors.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > soft != resource.RLIM_INFINITY:
        soft = wanted + DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    may = wanted if soft == resource.RLIM_INFINITY else min(wanted, soft - DESCRIPTORS)
    if may < _FEWEST:
        raise TooFewDescriptors(
            f"the process may open {soft} files, and needs {DESCRIPTORS + _FEWEST}: raise LimitNOFILE, or ulimit -n"
        )
    return may
