"""keys/ is a library: usable without click, Flask, Authlib and the issuer, on a database of the caller's own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_every_module_of_keys_and_a_rotation_need_nothing_of_ours_but_the_protocol() -> None:
    program = [sys.executable, "-m", "tests.support.keys_alone"]
    ran = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (0, "done\n"), ran.stderr
