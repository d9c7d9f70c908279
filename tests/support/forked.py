"""Commands in processes of their own that pay for no imports: a program that forks a child for each, and its client.

A child is `flask LINE` as an operator starts it, and may be killed with SIGKILL at a point of its work with the
database: before each statement, before each commit and after it.
"""

import gc
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
LONGEST = 60
"""Seconds after which a child is ended by SIGALRM, which no test expects."""


@dataclass(frozen=True)
class Ended:
    """How a command ended; `code` is negative for the signal that killed it."""

    code: int
    stdout: str
    stderr: str

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL

    def json(self) -> Any:
        """What a command with --json printed."""
        return json.loads(self.stdout)


class Forked:
    """The client. `environ` goes to every command, without any setting of the caller's own."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self._folder = folder
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("REALMINT_", "FLASK_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=ROOT, env={**clean, **environ}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def command(
        self, line: str, instance: Path, environ: dict[str, str], *, stdin: str = "", kill_at: int = 0
    ) -> Ended:
        """Runs `flask LINE` to its end, or to the point at which it is killed (0: none)."""
        asked = {
            "line": line, "instance": str(instance), "environ": environ, "kill_at": kill_at,
            "in": str(self._folder / "in"), "out": str(self._folder / "out"), "err": str(self._folder / "err"),
        }  # fmt: skip
        (self._folder / "in").write_text(stdin)
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        out, err = ((self._folder / name).read_text(errors="surrogateescape") for name in ("out", "err"))
        return Ended(code, out, err)

    def close(self) -> None:
        self._process.communicate(timeout=10)


@contextmanager
def forked(folder: Path, **environ: str) -> Iterator[Forked]:
    """The program, until the block ends."""
    program = Forked(folder, **environ)
    try:
        yield program
    finally:
        program.close()


def _serve() -> None:
    # All that a command needs, once; and what is there is left to no child to collect.
    import alembic.command  # noqa: F401
    import flask.cli  # noqa: F401
    import psycopg  # noqa: F401

    import app  # noqa: F401
    import keys.transfer  # noqa: F401

    gc.freeze()

    # The channel moves away from standard input and output, which are the children's.
    asks, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    for line in asks:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(asked)
            return
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
        answers.flush()


def _child(asked: dict[str, Any]) -> None:
    from flask.cli import FlaskGroup

    signal.alarm(LONGEST)
    for name, number, flags in (
        ("in", 0, os.O_RDONLY),
        ("out", 1, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        ("err", 2, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        descriptor = os.open(asked[name], flags, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.update(asked["environ"])
    sys.argv = ["flask", *shlex.split(asked["line"])]

    def make_app() -> Any:
        from app import create_app

        app = create_app(instance_path=asked["instance"])
        if asked["kill_at"]:
            _count_points(app.extensions["realmint"].database.engine, asked["kill_at"])
        return app

    FlaskGroup(create_app=make_app, add_version_option=False).main()


def _count_points(engine: Any, kill_at: int) -> None:
    from sqlalchemy import event

    left = kill_at

    def reached(point: str, statement: str = "") -> None:
        nonlocal left
        left -= 1
        if left == 0:
            sys.stderr.write(f"killed {point} {statement}\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(engine, "before_cursor_execute", lambda _c, _k, text, *_: reached("before", text))
    event.listen(engine, "commit", lambda _: reached("before commit"))
    event.listen(engine, "rollback", lambda _: reached("before rollback"))
    # A connection comes back when its transaction has ended: the nearest point after a commit.
    event.listen(engine, "checkin", lambda *_: reached("after transaction"))


if __name__ == "__main__":
    _serve()
