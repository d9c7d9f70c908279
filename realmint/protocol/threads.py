"""Threads that work beside those that answer, on a system that may have none left to give."""

import threading
from collections.abc import Callable
from typing import Any

StartThread = Callable[..., None]
"""Called as start_daemon() is."""


class NoThread(OSError):
    """No thread could be started now, as at a limit of processes or of memory. The next one may be."""


def start_daemon(target: Callable[..., Any], name: str, *args: Any) -> None:
    """Starts a thread that keeps no process from ending. Raises NoThread.

    Who notes that it runs does so after this: what was noted before is never tried again.
    """
    try:
        threading.Thread(target=target, name=name, args=args, daemon=True).start()
    except RuntimeError as error:
        raise NoThread(str(error)) from error
