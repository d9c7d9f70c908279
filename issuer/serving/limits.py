"""What the production server allows, all of it said here: docs/operating.md explains the figures."""

import resource
from dataclasses import dataclass


class TooFewDescriptors(Exception):
    """The process may not open enough files to serve."""


@dataclass(frozen=True)
class Limits:
    """Of one worker. Times are in seconds, sizes in bytes."""

    threads: int = 32
    """Most that answer at a time; slow checks of secrets may fill three quarters of them, status lists that are being
    made an eighth. None of them ever waits for a client: a request gets one when it is there whole."""
    connections: int = 2048
    """Most that are open; whoever comes later waits in the backlog. Each is a descriptor."""
    backlog: int = 1024
    """Connections that the kernel holds until one of the workers takes them."""
    head_seconds: int = 15
    """For a whole head, from the connection's or the last answer's end on: the keep-alive time as well. Longer than
    `unread_seconds`, since of a connection that was closed the kernel goes on to deliver what stands in it, for
    minutes, and only one that is open can be reset."""
    body_seconds: int = 10
    """From the head's end to the body's."""
    unread_seconds: int = 10
    """How long an answer may stand in the socket while its reader takes less than `unread_rate`."""
    unread_rate: int = 1024
    """Bytes a second."""
    stop_seconds: int = 30
    """What runs may take to end after SIGTERM; then the process is killed."""
    head_buffer: int = 64 * 1024
    """Of a connection: a head that does not fit is refused, and no more than this is held unread of what follows."""
    send_buffer: int = 64 * 1024
    """Of a connection in the kernel, which doubles it."""
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
