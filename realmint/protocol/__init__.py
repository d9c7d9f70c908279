"""Floor 0: what the RFCs say, as pure functions.

Owns names, the compact JWS, claim checks and the type of a clock. Does no input or output, keeps no
state, and imports nothing of ours; joserfc and cryptography only in `jws`. Every function that
depends on the time takes it as an argument: `system_clock` below is the one place that reads it.
"""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns the time as whole seconds since the epoch."""


Monotonic = Callable[[], float]
"""Returns seconds on a clock that never steps."""


def system_clock() -> int:
    """The machine's wall clock in whole seconds since the epoch."""
    return int(time.time())  # noqa: TID251 - the one place


def monotonic() -> float:
    """Seconds on a clock that never steps, for ages and waits within one process."""
    return time.monotonic()  # noqa: TID251 - the one place
