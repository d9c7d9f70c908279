"""Every write, sync, link and new file of a command fails in turn, for real, or the process dies there (#180, #181).

Required each time: an exit code that says so, one line and no key material; the old state, or after the commit the new
one whole; nothing left that others can read; and the command works afterwards.
"""

import errno
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest

from keys.sealing import Sealer, read_kek_file
from keys.store import load
from keys.transfer import read_key
from tests.support.disks import full, small_disk
from tests.support.forked import Ended, Forked, forked
from tests.support.private import shows, spellings
from tests.support.stored import Stored, check_one_change, opened, stored

SOURCE = Path(__file__).parent.parent / "support" / "faults.c"
PASSPHRASE = "a long enough passphrase"
ROTATE = "keys rotate --force --reason x --json"
FIRST = "realms create /x --json"
KILL = 0
STAYS = {errno.ENOSPC, errno.EDQUOT}
"""A disk that is full stays so; one that errs may err once."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have a C compiler: apt-get install gcc libc6-dev")
        pytest.skip("no C compiler on this machine (apt-get install gcc libc6-dev)")
    made = tmp_path_factory.mktemp("faults") / "faults.so"
    subprocess.run([compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-o", made, SOURCE, "-ldl"], check=True)
    return made


@dataclass
class Disk:
    """Commands over one instance folder, on a disk that can be told to fail."""

    program: Forked
    folder: Path
    prepared: Path
    """An instance folder with the root realm, which is copied anew for each fault."""

    @property
    def instance(self) -> Path:
        return self.folder / "instance"

    @property
    def mark(self) -> Path:
        return self.folder / "mark"

    def reset(self, *, empty: bool) -> None:
        self.mark.unlink(missing_ok=True)
        shutil.rmtree(self.instance, ignore_errors=True)
        if not empty:
            shutil.copytree(self.prepared, self.instance)

    def command(self, line: str, at: int | None = None, number: int = KILL) -> Ended:
        """Runs `flask LINE`; its `at`-th call that changes something fails with `number`, or kills it."""
        environ = {}
        if at is not None:
            environ = {"FAULT_FOLDER": str(self.instance), "FAULT_MARK": str(self.mark), "FAULT_AT": str(at)}
            environ |= {"FAULT_ERRNO": str(number)} | ({"FAULT_STAYS": "1"} if number in STAYS else {})
        return self.program.command(line, self.instance, environ, stdin=PASSPHRASE)

    def failed(self) -> str | None:
        """The first call that failed, or None."""
        return self.mark.read_text().splitlines()[0] if self.mark.exists() else None

    def points(self, line: str, *, empty: bool, every: bool) -> list[int]:
        """The calls to let fail: of a row of the same call on the same file the first and the last, or `every`."""
        self.reset(empty=empty)
        ended = self.command(line, at=0)
        assert ended.code == 0, ended
        # The name of a temporary file differs from run to run, but not that it begins with a dot.
        names = [name.partition("/.")[0] for name in self.mark.read_text().splitlines()]
        rows = [[at for at, _ in row] for _, row in groupby(enumerate(names, 1), key=lambda pair: pair[1])]
        # More than there are, in case that another run needs a page more.
        return list(range(1, len(names) + 20)) if every else [at for row in rows for at in {row[0], row[-1]}]

    def state(self) -> Stored:
        with opened(f"sqlite:///{self.instance / 'realmint.db'}") as database:
            return stored(database)

    def secrets(self) -> set[bytes]:
        """The private halves in the database, and the key that seals them, in every spelling."""
        kek = (self.instance / "kek").read_bytes()
        sealer = Sealer(read_kek_file(self.instance / "kek"))
        found = {kek, kek.hex().encode(), repr(kek).encode()[2:-1]}
        with opened(f"sqlite:///{self.instance / 'realmint.db'}") as database, database.read() as connection:
            for key in load(connection, 1).keys:
                assert key.sealed
                found |= spellings(sealer.open(key.sealed, key.kek_id, 1, key.kid, key.alg))
        return found

    def must_be_clean(self) -> None:
        doctor = self.command("keys doctor --json")
        assert (doctor.code, doctor.json()) == (0, [])
        assert {path.name for path in self.instance.iterdir()} <= {"kek", "lock", "realmint.db", "out.jwe", "again.jwe"}

    def must_be_private(self) -> None:
        """Whatever was left, others can not read it."""
        for path in self.instance.iterdir():
            assert path.name.startswith("realmint.db") or not stat.S_IMODE(path.stat().st_mode) & 0o077, path


@pytest.fixture(scope="module")
def program(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forked]:
    with forked(tmp_path_factory.mktemp("forked"), LD_PRELOAD=str(library)) as program:
        yield program


@pytest.fixture(scope="module")
def prepared(program: Forked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "instance"
    assert program.command("realms create / --json", folder, {}).code == 0
    return folder


@pytest.fixture
def disk(program: Forked, prepared: Path, tmp_path: Path) -> Disk:
    return Disk(program, tmp_path, prepared)


def check_said(ended: Ended, number: int, codes: set[int]) -> None:
    """The exit code, and one line that says why. A killed process says nothing."""
    if number == KILL:
        assert ended.killed
        return
    assert ended.code in codes, ended
    assert "Traceback" not in ended.stderr
    (line,) = ended.stdout.splitlines()
    assert set(json.loads(line)) == {"changed", "error", "message"}


def faults(*quick: int):
    """These in every run, all of them in the long one."""
    every = (errno.ENOSPC, errno.EIO, errno.EDQUOT, KILL)
    names = {**errno.errorcode, KILL: "SIGKILL"}
    return pytest.mark.parametrize(
        ("number", "every"),
        [pytest.param(number, False, id=names[number]) for number in quick]
        + [pytest.param(number, True, id=f"{names[number]}-all", marks=pytest.mark.soak) for number in every],
    )


@faults(errno.ENOSPC, errno.EIO, KILL)
def test_181_a_rotation_on_a_disk_that_fails_leaves_the_old_state_or_the_new_one_whole(
    disk: Disk, number: int, every: bool
) -> None:
    points = disk.points(ROTATE, empty=False, every=every)
    disk.reset(empty=False)
    before, secrets = disk.state(), disk.secrets()
    changed = 0
    for at in points:
        disk.reset(empty=False)
        ended = disk.command(ROTATE, at, number)
        if disk.failed() is None:
            assert ended.code == 0, ended
            continue
        after = disk.state()
        if ended.code == 0:
            check_one_change(before, after)  # what failed was tidying up, after the commit
        else:
            check_said(ended, number, {6})
        if after != before:
            check_one_change(before, after)
        changed += after != before
        assert not shows(ended.stdout + ended.stderr, secrets)
        disk.must_be_private()
        again = disk.command(ROTATE)
        assert again.code == 0, (disk.failed(), again)
        check_one_change(after, disk.state())
        disk.must_be_clean()
    assert 0 < changed < len(points)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A real file system with room for an instance folder and little more."""
    with small_disk(tmp_path / "small") as folder:
        yield folder


def test_181_a_rotation_on_a_disk_that_is_really_full_leaves_the_old_state_and_works_once_there_is_room(
    program: Forked, prepared: Path, small: Path
) -> None:
    disk = Disk(program, small, prepared)
    codes = set()
    for room in range(0, 200, 20):
        disk.reset(empty=False)
        before = disk.state()
        with full(small, room * 1024):
            ended = disk.command(ROTATE)
        codes.add(ended.code)
        after = disk.state()
        if ended.code == 0:
            check_one_change(before, after)
        else:
            check_said(ended, errno.ENOSPC, {6})
            assert after == before
        disk.must_be_clean()
        again = disk.command(ROTATE)
        assert again.code == 0, (room, again)
        check_one_change(after, disk.state())
    assert codes == {0, 6}


@faults(errno.EIO)
def test_181_an_export_on_a_disk_that_fails_writes_the_whole_file_or_says_that_it_did_not(
    disk: Disk, number: int, every: bool
) -> None:
    disk.reset(empty=False)
    kid, secrets = disk.state().active(), disk.secrets()
    export = f"keys export {kid} --private --yes --passphrase-stdin --json --out {disk.instance}"
    points = disk.points(f"{export}/out.jwe", empty=False, every=every)
    disk.reset(empty=False)
    before = disk.state()
    out = disk.instance / "out.jwe"
    outcomes = set()
    for at in points:
        disk.reset(empty=False)
        ended = disk.command(f"{export}/out.jwe", at, number)
        if disk.failed() is None:
            assert ended.code == 0, ended
            continue
        if ended.code != 0:
            check_said(ended, number, {2, 6})
        else:
            assert out.exists()
        outcomes.add((ended.code, out.exists()))
        if out.exists():
            assert read_key(out.read_bytes(), PASSPHRASE.encode(), None, None).kid == kid
        assert disk.state().keys == before.keys
        assert not shows(ended.stdout + ended.stderr, secrets)
        for path in disk.instance.iterdir():
            assert path.name in {"kek", "realmint.db-wal", "realmint.db"} or not shows(path.read_bytes(), secrets)
        disk.must_be_private()
        again = disk.command(f"{export}/again.jwe")
        assert again.code == 0, (disk.failed(), again)
    assert len(outcomes) >= 2


@faults(errno.ENOSPC, KILL)
def test_181_a_first_start_on_a_disk_that_fails_is_done_by_the_next_one(disk: Disk, number: int, every: bool) -> None:
    outcomes = set()
    for at in disk.points(FIRST, empty=True, every=every):
        disk.reset(empty=True)
        ended = disk.command(FIRST, at, number)
        if disk.failed() is None:
            assert ended.code == 0, ended
            continue
        if ended.code != 0:
            check_said(ended, number, {6})
        if disk.instance.exists():
            disk.must_be_private()
        again = disk.command(FIRST)
        # Eight: it was whole already, and is not made twice.
        assert again.code == 0 or (again.code, again.json()["error"]) == (8, "already_exists"), (disk.failed(), again)
        outcomes.add(again.code)
        state = disk.state()
        assert sorted(state.generations.values()) == [1, 1]
        assert [state.active(realm) != state.standby(realm) for realm in state.generations] == [True, True]
        disk.must_be_clean()
        assert not shows(ended.stdout + ended.stderr + again.stdout + again.stderr, disk.secrets())
    assert outcomes == {0, 8}
