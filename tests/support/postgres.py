"""A real PostgreSQL server for the tests: found, started as another user than root, and stopped."""

import copy
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text


def find_binaries() -> Path | None:
    """The folder of initdb and postgres, on the PATH or where Debian keeps versions beside each other."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class Server:
    """One cluster in a temporary folder, reached through a socket there and by no network."""

    def __init__(self, binaries: Path) -> None:
        self.binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="realmint-pg-", dir="/tmp"))
        self._numbers = itertools.count(1)
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            self._as_user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        self._folder.chmod(0o711)
        self._run("initdb", "-D", str(self._data), "-U", "realmint", "-A", "trust", "--no-sync", "-E", "UTF8")
        self._start()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _start(self) -> None:
        options = f"-k {self._folder} -h '' -c fsync=off -c max_connections=200 -c unix_socket_permissions=0777"
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def _run(self, name: str, *arguments: str, check: bool = True) -> None:
        subprocess.run(
            [str(self.binaries / name), *arguments],
            check=check, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, timeout=120, **self._as_user,
        )  # fmt: skip

    def url(self, database: str) -> str:
        return f"postgresql://realmint@/{database}?host={self._folder}"

    @property
    def socket(self) -> str:
        """Where it listens."""
        return str(self._folder / ".s.PGSQL.5432")

    def create_database(self, template: str = "template1") -> str:
        """The name of a fresh database, a copy of `template`."""
        name = f"test_{next(self._numbers)}"
        self._administer(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def _administer(self, statement: str) -> None:
        engine = create_engine(self.url("postgres").replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(statement))
        engine.dispose()

    def crash(self) -> None:
        """Stops at once, as when the power goes."""
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")

    def restart(self) -> None:
        self._start()

    def lagging_replica(self) -> "Server":
        """A hot standby of this server as it is now, which hears of nothing that happens later."""
        self._run("pg_ctl", "-D", str(self._data), "-m", "fast", "stop")
        other = copy.copy(self)
        other._folder = Path(tempfile.mkdtemp(prefix="realmint-pg-", dir="/tmp"))
        shutil.copystat(self._folder, other._folder)
        subprocess.run(["cp", "-a", str(self._data), str(other._folder)], check=True)
        (other._data / "standby.signal").touch()
        if self._as_user:
            os.chown(other._folder, self._as_user["user"], self._as_user["group"])
            os.chown(other._data / "standby.signal", self._as_user["user"], self._as_user["group"])
        self._start()
        other._start()
        return other

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """No process of it does anything until the block ends: connections stay open and nothing is answered."""
        postmaster = (self._data / "postmaster.pid").read_text().split()[0]
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        processes = [int(number) for number in (postmaster, *children)]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop", check=False)
        shutil.rmtree(self._folder, ignore_errors=True)
