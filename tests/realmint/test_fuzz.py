"""A minute of a fuzzer that is led by coverage, at the door of the library (#161)."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.soak
def test_161_a_minute_of_fuzzing_brings_out_nothing_but_refusals(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.support.fuzz_validate",
        "-max_total_time=60",
        "-rss_limit_mb=2048",
        "-timeout=10",
    ]
    done = subprocess.run(
        [*command, f"-artifact_prefix={tmp_path}/", str(tmp_path)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    runs = re.search(r"Done (\d+) runs", done.stderr)
    assert done.returncode == 0, done.stderr[-4000:]
    assert runs is not None, done.stderr[-4000:]
    print(f"{runs[1]} runs")
    assert int(runs[1]) > 1000
