"""Processes that wait behind a barrier and then all run one command at once: a program, and its client.

Each makes its application once. What it is sent is a command line; it answers with its exit code and output.
"""

import gc
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).parent.parent.parent


class Crowd:
    """`count` such processes, forked from one that has imported all they need."""

    def __init__(self, count: int, instance: Path, environ: dict[str, str]) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("REALMINT_", "FLASK_"))}
        asks, answers = [os.pipe() for _ in range(count)], [os.pipe() for _ in range(count)]
        theirs = [(ask[0], answer[1]) for ask, answer in zip(asks, answers, strict=True)]
        self._program = subprocess.Popen(
            [sys.executable, "-m", __name__, str(instance), json.dumps(theirs)], cwd=ROOT, env={**clean, **environ},
            pass_fds=[descriptor for pair in theirs for descriptor in pair],
        )  # fmt: skip
        for descriptor in (descriptor for pair in theirs for descriptor in pair):
            os.close(descriptor)
        self._asks = [os.fdopen(ask[1], "w") for ask in asks]
        self._answers = [os.fdopen(answer[0]) for answer in answers]
        assert [answer.readline() for answer in self._answers] == ["ready\n"] * count

    def all_at_once(self, line: str) -> list[tuple[int, Any]]:
        """Exit code and JSON of `flask LINE` in every process, all released before the first is waited for."""
        for ask in self._asks:
            ask.write(line + "\n")
        for ask in self._asks:
            ask.flush()
        answers = [json.loads(answer.readline()) for answer in self._answers]
        return [(code, json.loads(output)) for code, output in answers]

    def close(self) -> None:
        for file in (*self._asks, *self._answers):
            file.close()
        self._program.wait(20)


@contextmanager
def crowd(count: int, instance: Path, environ: dict[str, str]) -> Iterator[Crowd]:
    """The processes, until the block ends."""
    made = Crowd(count, instance, environ)
    try:
        yield made
    finally:
        made.close()


def _fork(instance: str, pairs: list[tuple[int, int]]) -> None:
    import psycopg  # noqa: F401

    import app  # noqa: F401

    gc.freeze()
    for ask, answer in pairs:
        if os.fork() == 0:
            for other in (descriptor for pair in pairs for descriptor in pair if descriptor not in (ask, answer)):
                os.close(other)
            _wait_and_run(instance, os.fdopen(ask), os.fdopen(answer, "w"))
            return
    for ask, answer in pairs:
        os.close(ask)
        os.close(answer)
    for _ in pairs:
        os.wait()


def _wait_and_run(instance: str, asks: TextIO, answers: TextIO) -> None:
    from app import create_app

    app = create_app(instance_path=instance)
    app.extensions["realmint"].boot()
    runner = app.test_cli_runner()
    print("ready", file=answers, flush=True)
    for line in asks:
        result = runner.invoke(args=shlex.split(line))
        output = result.stdout or json.dumps(repr(result.exception))
        print(json.dumps([result.exit_code, output]), file=answers, flush=True)


if __name__ == "__main__":
    _fork(sys.argv[1], json.loads(sys.argv[2]))
