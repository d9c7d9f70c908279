"""A forked child forgets what it may not share."""

import gc
import os
import sys
import weakref

from realmint.protocol.fork import in_forked_child


class Holder:
    def __init__(self) -> None:
        self.forgot = 0
        in_forked_child(self.forget)

    def forget(self) -> None:
        self.forgot += 1


def in_child(holder: Holder) -> int:
    """How often `holder` forgot, as a child sees it."""
    pid = os.fork()
    if pid == 0:
        os._exit(holder.forgot)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_200_what_a_process_holds_is_forgotten_in_its_children_and_kept_in_itself() -> None:
    holder = Holder()
    assert in_child(holder) == 1
    assert holder.forgot == 0


def test_nothing_is_kept_alive_by_waiting_for_a_fork() -> None:
    holder = Holder()
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None
    assert os.waitstatus_to_exitcode(os.waitpid(os.fork() or os._exit(0), 0)[1]) == 0


def test_nothing_stays_of_what_waited_for_a_fork_and_went() -> None:
    Holder()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(5000):
        Holder()
    gc.collect()
    assert sys.getallocatedblocks() - before < 1000
