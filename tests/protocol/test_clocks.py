"""The clock for ages."""

import time

import pytest

from realmint.protocol import monotonic


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="no such clock on this system")
def test_ages_count_the_time_in_which_the_machine_slept() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    told = monotonic()
    assert before <= told <= time.clock_gettime(time.CLOCK_BOOTTIME)
