"""What revocation takes along that nobody asked for, counted: siblings of a revoked token, and fresh tokens after a class.

Run with -s to see the figures (README, Revocation).
"""

from pathlib import Path

import pytest

from tests.issuer.conftest import READER
from tests.support import kills
from tests.support.issuer import Issuer
from tests.support.kills import TICKS, Arrivals
from tests.support.siblings import Busy


@pytest.mark.parametrize(
    ("per_second", "seconds", "at_most"),
    [
        # While ranges are short, in the first minutes of a credential, more go than ever after.
        pytest.param(20, 60, 0.15),
        pytest.param(1, 3600, 0.01, marks=pytest.mark.soak),
        pytest.param(5, 3600, 0.015, marks=pytest.mark.soak),
        pytest.param(20, 3600, 0.02, marks=pytest.mark.soak),
    ],
)
def test_who_revokes_every_token_it_is_done_with_loses_few_others_early(
    tmp_path: Path, per_second: int, seconds: int, at_most: float
) -> None:
    busy = Busy(tmp_path, per_second)
    counted = busy.run(seconds)
    busy.close()
    print(f"\n{per_second} a second for {seconds} s: {counted.early} of {counted.revoked} early, {counted.share:.2%}")
    assert counted.revoked > per_second * seconds / 100
    assert counted.share <= at_most
    # As long as it needs, and no longer: no range was allotted before one in 64 of the last was set.
    assert counted.lengths == [256, 8192, 262144, *[1 << 20] * (len(counted.lengths) - 3)][: len(counted.lengths)]


@pytest.mark.parametrize(
    ("processes", "times"), [(2, 1), pytest.param(4, 20, marks=pytest.mark.soak)], ids=["few", "many"]
)
def test_126_after_a_class_was_revoked_tokens_are_dead_on_arrival_for_a_second_and_nobody_else_s_are(
    tmp_path: Path, processes: int, times: int
) -> None:
    def show(name: str, one: Arrivals) -> None:
        print(
            f"\n{name}: {one.dead} of {one.issued} dead on arrival, {one.refused} refused, the last {one.last / TICKS} s"
        )

    for name, one in kills.count(tmp_path, processes, times, show).items():
        assert one.others == 0, name
        assert 0 < one.dead <= one.issued, name
        second_command = 4 if len(kills.KILLS[name]) > 1 else 0
        assert one.last <= TICKS + second_command, name
        # Who goes on living has good tokens again; whose secret is gone gets none.
        assert (one.issued > one.dead) is (name != "secrets revoke"), name


def test_who_goes_on_revoking_tokens_of_a_range_that_is_full_gets_no_longer_and_longer_ones(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    tokens = [issuer.token(caller) for _ in range(40)]
    for number, token in enumerate(tokens):
        if number % 20 == 0:
            issuer.clock.advance(1)
        assert issuer.revoke(caller, token).status_code == 200
    with issuer.runtime.database.read() as connection:
        rows = connection.exec_driver_sql('SELECT length, set_count FROM status_ranges ORDER BY "offset"').all()
    (first, set_in_it), *longer = rows
    assert first == 256
    assert set_in_it > 30  # two of these tokens may have shared an index
    assert [tuple(row) for row in longer] == [(8192, 0)]
