"""A real nginx, found where Debian puts it, with a configuration of the test's own."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.process import until

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
WITHOUT_NGINX = pytest.mark.skipif(
    NGINX is None and not os.environ.get("CI"), reason="no nginx on this machine (apt-get install nginx-light)"
)


@contextmanager
def nginx(folder: Path, configuration: str, port: int) -> Iterator[None]:
    """nginx with a configuration, its own files in `folder`, until the block ends."""
    assert NGINX is not None
    own = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(configuration.replace("http {", f"http {{\n{own}", 1))
    options = f"daemon off; pid {folder}/nginx.pid;" + (" user root;" if os.geteuid() == 0 else "")
    command = [
        NGINX,
        "-c",
        str(folder / "nginx.conf"),
        "-p",
        str(folder),
        "-e",
        str(folder / "error.log"),
        "-g",
        options,
    ]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    with subprocess.Popen(command) as server:
        try:
            until(lambda: server.poll() is not None or reachable(port))
            assert server.poll() is None, (folder / "error.log").read_text()
            yield
        finally:
            server.terminate()
            server.wait(10)


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
