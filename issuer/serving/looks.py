"""A look again and again, from a thread of its own."""

import threading
from collections.abc import Callable

from issuer import log
from realmint.protocol.threads import StartThread


def look_until(
    stop: threading.Event, seconds: float, look: Callable[[], object], name: str, start_thread: StartThread
) -> None:
    """Calls `look` every `seconds`, in a daemon thread of this name, until `stop` is set. Raises NoThread."""

    def work() -> None:
        while not stop.wait(seconds):
            try:
                look()
            except Exception as error:  # noqa: BLE001 - it is told, and the thread that ended with it would be missed
                log.LOGGER.error("look_failed", exc_info=error)

    start_thread(work, name)
