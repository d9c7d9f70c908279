"""Many real processes rotate at the same moment: one wins, the others change nothing, and no key is skipped (#182)."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from issuer.storage.engine import Database
from keys.sealing import Sealer, parse_keks
from realmint.protocol import system_clock
from tests.support.clock import FakeClock
from tests.support.issuer import KEK, Issuer
from tests.support.rotator import Crowd, crowd
from tests.support.stored import age, check_one_change, check_sound, opened, stored

INTERVAL = 90 * 86400


@dataclass
class Race:
    crowd: Crowd
    database: Database
    rounds: int
    count: int


@pytest.fixture(params=[pytest.param((8, 8), id="8x8"), pytest.param((20, 50), id="20x50", marks=pytest.mark.soak)])
def race(
    request: pytest.FixtureRequest,
    make_issuer: Callable[..., Issuer],
    clock: FakeClock,
    database_url: str,
    tmp_path: Path,
) -> Iterator[Race]:
    count, rounds = request.param
    clock.now = system_clock()  # what the other processes go by
    make_issuer("instance", database_url).setup()
    environ = {"REALMINT_DATABASE_URL": database_url, "REALMINT_KEK": KEK}
    with opened(database_url) as database, crowd(count, tmp_path / "instance", environ) as processes:
        yield Race(processes, database, rounds, count)


def test_182_of_many_processes_that_rotate_at_once_one_wins_and_the_rest_say_that_they_lost(race: Race) -> None:
    sealer = Sealer(parse_keks(KEK))
    for _ in range(race.rounds):
        before = stored(race.database)
        expected = f"--expect-generation {before.generations[1]}"
        answers = race.crowd.all_at_once(f"keys rotate --force --reason race {expected} --json")
        after = stored(race.database)
        assert Counter(code for code, _ in answers) == {0: 1, 5: race.count - 1}
        lost = [answer for code, answer in answers if code == 5]
        assert {(answer["error"], answer["changed"]) for answer in lost} == {("lost_race", False)}
        (won,) = [answer["rotated"][0] for code, answer in answers if code == 0]
        assert (won["retiring"], won["active"], won["standby"]) == (before.active(), before.standby(), after.standby())
        assert after.active() == won["active"]
        check_one_change(before, after)
        check_sound(after, race.database, sealer)


def test_182_of_many_processes_that_prune_at_once_none_says_that_it_lost(race: Race) -> None:
    for _ in range(race.rounds):
        ran = race.crowd.all_at_once("keys rotate --force --reason race --json")
        assert 0 in {code for code, _ in ran}
        with race.database.write() as connection:
            connection.exec_driver_sql(
                "UPDATE keys SET max_exp_bound = 1, not_signed_after = 1 WHERE state = 'retiring'"
            )
        answers = race.crowd.all_at_once("keys prune --all --json")
        assert Counter(code for code, _ in answers) == {0: race.count}
        assert sum(row["changed"] for _, rows in answers for row in rows) == 1
        assert "retiring" not in {key["state"] for key in stored(race.database).keys.values()}


def test_182_of_many_routines_at_a_due_moment_one_rotates_and_all_are_content(race: Race) -> None:
    sealer = Sealer(parse_keks(KEK))
    for _ in range(race.rounds):
        # As if nothing had happened for a rotation interval; the standby has been out for as long.
        for state in ("active", "published"):
            age(race.database, state, INTERVAL)
        before = stored(race.database)
        answers = race.crowd.all_at_once("keys rotate --if-due --json")
        after = stored(race.database)
        assert Counter(code for code, _ in answers) == {0: race.count}
        assert Counter(answer["changed"] for _, answer in answers) == {True: 1, False: race.count - 1}
        assert after.active() == before.standby()
        check_one_change(before, after)
        check_sound(after, race.database, sealer)
