"""Where nobody may wait: a server's thread that answers everybody does what is at hand, and nothing else.

Whatever may have to wait, for the store, for another thread, for a slow check, says so before it begins anything. In
that thread WouldWait is raised then, and the server does the whole request anew where there is time.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class WouldWait(BaseException):
    """A request has to wait for something, and this thread may not. No error, so that nothing takes it for one."""


_hurried: int | None = None


@contextmanager
def never_here() -> Iterator[None]:
    """Within the block the calling thread may not wait. There is one such thread in a process at most."""
    global _hurried  # noqa: PLW0603 - of the process, as its threads are
    _hurried = threading.get_ident()
    try:
        yield
    finally:
        _hurried = None


def about_to_wait() -> None:
    """Said before anything that may take longer than to compute it. Raises WouldWait where nobody may wait."""
    if _hurried is not None and threading.get_ident() == _hurried:
        raise WouldWait
