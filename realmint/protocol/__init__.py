"""Floor 0: what the RFCs say, as pure functions.

`names` (registered strings, scope), `base64url`, `jws` (the compact form) over `strict_json`, `signatures`, `weak`
(keys anybody could work out), `claims`; `dpop` (proofs) over `urls` (one form of each); `mtls` (certificates) over
`distinguished_names`, `certificate_headers` (how proxies hand one on); `status_list` (Token Status List), `addresses`
(which may be asked), `checksummed` (secrets and opaque tokens), `client_key` (a client's own), `fork` (what a forked
child forgets), `threads` (one that may not be had). No I/O; imports nothing of ours; joserfc only in `jws`,
cryptography in `signatures`, `client_key` and `mtls`. The time is an argument: `system_clock` below is the one place
that reads it.
"""

import time
from collections.abc import Callable

# Linux alone has it; elsewhere the other clock counts on.
_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)

Clock = Callable[[], int]
"""Returns the time as whole seconds since the epoch."""


Monotonic = Callable[[], float]
"""Returns seconds on a clock that never steps."""


def system_clock() -> int:
    """The machine's wall clock in whole seconds since the epoch."""
    return int(time.time())  # noqa: TID251 - the one place


def monotonic() -> float:
    """Seconds on a clock that never steps, and counts on while the machine sleeps; for ages and waits in a process.

    What was read before a laptop was closed, or a virtual machine was suspended, is as old as it is for everybody else.
    """
    return time.clock_gettime(_BOOTTIME) if _BOOTTIME is not None else time.monotonic()  # noqa: TID251 - the one place
