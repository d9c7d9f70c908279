"""The thread that looks after what will be needed: with real waits of milliseconds, on events."""

import gc
import os
import threading

from realmint.upkeep import Upkeep


class Looker:
    """Counts looks, and may break."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.looks = 0
        self.looked = threading.Semaphore(0)
        self.breaks = False
        self.thread: threading.Thread | None = None

    def look(self) -> float:
        self.looks += 1
        self.thread = threading.current_thread()
        self.looked.release()
        if self.breaks:
            raise ZeroDivisionError
        return self.seconds


def test_it_looks_again_after_what_the_look_said_and_at_once_when_woken() -> None:
    often, seldom = Looker(0.02), Looker(50)
    upkeeps = [Upkeep(often.look), Upkeep(seldom.look)]
    for upkeep in upkeeps:
        upkeep.start()
        upkeep.start()  # once is enough
    assert all(often.looked.acquire(timeout=10) for _ in range(5))
    assert seldom.looked.acquire(timeout=10)
    upkeeps[1].wake()
    assert seldom.looked.acquire(timeout=10)
    assert seldom.looks == 2
    for upkeep in upkeeps:
        upkeep.close()
    for looker in (often, seldom):
        assert looker.thread is not None
        looker.thread.join(10)
        assert not looker.thread.is_alive()
    looks = often.looks
    upkeeps[0].start()
    assert often.looks == looks


def test_a_look_that_breaks_ends_nothing() -> None:
    looker = Looker(50)
    looker.breaks = True
    upkeep = Upkeep(looker.look)
    upkeep.start()
    assert looker.looked.acquire(timeout=10)
    looker.breaks = False
    upkeep.wake()
    assert looker.looked.acquire(timeout=10)
    upkeep.close()


def test_it_ends_with_its_owner() -> None:
    looker = Looker(50)
    upkeep = Upkeep(looker.look)
    upkeep.start()
    assert looker.looked.acquire(timeout=10)
    thread = looker.thread
    del looker
    gc.collect()
    upkeep.wake()
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()


def test_200_a_forked_child_begins_anew_when_it_is_started() -> None:
    looker = Looker(50)
    upkeep = Upkeep(looker.look)
    upkeep.start()
    assert looker.looked.acquire(timeout=10)
    child = os.fork()
    if child == 0:
        fits = not upkeep.running
        upkeep.start()
        os._exit(0 if fits and looker.looked.acquire(timeout=10) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert upkeep.running
    upkeep.close()
