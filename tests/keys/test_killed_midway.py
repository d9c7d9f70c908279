"""SIGKILL at every statement of a change of keys: the next process finds the old state or the new one, whole (#180)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from issuer.storage.engine import Database
from keys.sealing import Sealer, parse_keks
from tests.support.forked import Ended, Forked, forked
from tests.support.issuer import KEK
from tests.support.stored import Stored, age, check_one_change, check_sound, opened, stored

DAY = 86400


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forked]:
    with forked(tmp_path_factory.mktemp("forked")) as program:
        yield program


@dataclass
class Site:
    """A database set up by its two commands, and commands over it."""

    program: Forked
    folder: Path
    url: str
    database: Database

    def command(self, line: str, kill_at: int = 0) -> Ended:
        environ = {"REALMINT_DATABASE_URL": self.url, "REALMINT_KEK": KEK}
        return self.program.command(line, self.folder / "instance", environ, kill_at=kill_at)

    def must(self, line: str) -> None:
        ended = self.command(line)
        assert ended.code == 0, ended

    def state(self) -> Stored:
        return stored(self.database)


@pytest.fixture
def site(program: Forked, tmp_path: Path, database_url: str) -> Iterator[Site]:
    with opened(database_url) as database:
        site = Site(program, tmp_path, database_url, database)
        site.must("db upgrade --json")
        site.must("realms create / --json")
        yield site


def rotate(site: Site, round_: int) -> str:
    return "keys rotate --force --reason test --json"


def revoke(site: Site, round_: int) -> str:
    return f"keys revoke {site.state().active()} --yes --reason test --json"


def prune(site: Site, round_: int) -> str:
    if not site.state().in_state("retiring"):
        site.must("keys rotate --force --reason test --json")
        age(site.database, "retiring", DAY)
    return "keys prune --json"


def create(site: Site, round_: int) -> str:
    return f"realms create /x{round_} --json"


@pytest.mark.parametrize("line", [rotate, revoke, prune, create])
def test_180_a_process_killed_at_any_statement_leaves_the_old_state_or_the_new_one_whole(site: Site, line) -> None:
    sealer = Sealer(parse_keks(KEK))
    outcomes, writing = [], False
    for number in range(1, 200):
        text = line(site, number)
        before = site.state()
        ended = site.command(text, kill_at=number)
        after = site.state()
        check_sound(after, site.database, sealer)
        if not ended.killed:
            assert ended.code == 0, ended
            break
        assert ended.stdout == ""
        if after != before:
            check_one_change(before, after)
        outcomes.append(after != before)
        writing = writing or any(begins in ended.stderr for begins in ("BEGIN IMMEDIATE", "FOR UPDATE"))
        if not writing:
            assert after == before  # it has only read: there is nothing for anybody to find
            continue
        doctor = site.command("keys doctor --json")
        assert (doctor.code, doctor.json()) == (0, [])
        if line is rotate:
            site.must(text)
            check_one_change(after, site.state())
    check_one_change(before, after)
    # Only after its commit is a change there, and then it is.
    assert outcomes == [False] * (len(outcomes) - outcomes.count(True)) + [True] * outcomes.count(True)
    assert outcomes.count(True) > 0
    assert writing
    left = {path.name for path in site.folder.rglob("*")}
    assert left <= {"instance", "store.db", "store.db-wal", "store.db-shm"}
