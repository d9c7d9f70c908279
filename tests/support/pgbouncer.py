"""A real PgBouncer before the tests' PostgreSQL, with its default settings but for the pooling mode."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.support import postgres
from tests.support.process import free_port


def find() -> str | None:
    return shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")


@contextmanager
def pgbouncer(server: postgres.Server, database: str, mode: str) -> Iterator[str]:
    """The URL of a database through the pooler, until the block ends."""
    binary = find()
    assert binary
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="realmint-pgb-", dir="/tmp"))  # its user reads nothing below a test's own
    (folder / "users").write_text('"realmint" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n{database} = host={Path(server.socket).parent} dbname={database} user=realmint\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"auth_file = {folder / 'users'}\npool_mode = {mode}\nlogfile = {folder / 'log'}\npidfile = {folder / 'pid'}\n"
    )
    as_user: dict[str, object] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        owner = pwd.getpwnam("postgres")
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        as_user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    process = subprocess.Popen(
        [binary, str(folder / "pgbouncer.ini")],
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **as_user,
    )  # type: ignore[call-overload]
    url = f"postgresql://realmint@127.0.0.1:{port}/{database}"
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                psycopg.connect(url, connect_timeout=2).close()
                break
            except psycopg.OperationalError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)
