"""A real HAProxy, found where Debian puts it, with a configuration of the test's own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.nginx import reachable
from tests.support.process import until

HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
WITHOUT_HAPROXY = pytest.mark.skipif(
    HAPROXY is None and not os.environ.get("CI"), reason="no HAProxy on this machine (apt-get install haproxy)"
)


@contextmanager
def haproxy(folder: Path, configuration: str, port: int) -> Iterator[None]:
    """HAProxy with a configuration, until the block ends."""
    assert HAPROXY is not None
    file, log = folder / "haproxy.cfg", folder / "haproxy.log"
    file.write_text(configuration)
    command = [HAPROXY, "-db", "-f", str(file)]
    checked = subprocess.run([*command, "-c"], check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with log.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said) as server:
        try:
            until(lambda: server.poll() is not None or reachable(port))
            assert server.poll() is None, log.read_text()
            yield
        finally:
            server.terminate()
            server.wait(10)
