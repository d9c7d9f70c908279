"""Every line that a server writes, its own and its libraries', has the form that LOG_FORMAT says; and where it writes."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import urllib3

from tests.support.process import ROOT, Deployment, until
from tests.support.server_log import STAMP, told

OF_A_LIBRARY = """
import logging, threading, warnings
import app
application = app.create_app()
logging.getLogger("sqlalchemy.pool").error("two\\nlines of %s", "a pool")
logging.getLogger("some.library").info("chatter")
warnings.simplefilter("default")
warnings.warn("old ways", stacklevel=1)
thread = threading.Thread(target=lambda: {}["canary"])
thread.start()
thread.join()
"""


def sent(deployment: Deployment, request: bytes) -> bytes:
    """The answer to bytes on a connection of their own."""
    with socket.create_connection(("127.0.0.1", deployment.port), 10) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    return answer


def messages(deployment: Deployment, logger: str) -> str:
    return "\n".join(line["message"] for line in told(deployment) if line.get("logger") == logger)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("options", ["--workers 1 --timeout 2", "--workers 1 --timeout 2 --preload"])
def test_209_from_its_first_line_to_its_last_gunicorn_writes_json_where_json_is_asked_for(
    tmp_path: Path, options: str
) -> None:
    deployment = Deployment(tmp_path, LOG_FORMAT="json")
    with deployment.gthread(options) as server:
        assert sent(deployment, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX_User: a\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        (worker,) = children(server.pid)
        os.kill(worker, signal.SIGSTOP)
        until(lambda: "WORKER TIMEOUT" in deployment.log.read_text())
        until(lambda: children(server.pid) not in ([], [worker]) and deployment.answers("/healthz"))
    said = messages(deployment, "gunicorn.error")
    for part in (
        "Starting gunicorn", "Listening at: http://127.0.0.1", "Booting worker", "WORKER TIMEOUT", "Shutting down",
        "Invalid request from ip=127.0.0.1: Invalid HTTP header name: 'X_USER'",
    ):  # fmt: skip
        assert part in said, said
    assert said.count("Starting gunicorn") == 1
    assert {line["level"] for line in told(deployment) if "WORKER TIMEOUT" in str(line)} == {"CRITICAL"}


@pytest.mark.parametrize("style", ["text", "json"])
def test_209_warnings_other_loggers_and_failed_threads_are_lines_of_the_same_form(tmp_path: Path, style: str) -> None:
    deployment = Deployment(tmp_path, LOG_FORMAT=style)
    with deployment.gthread("--workers 1", module=OF_A_LIBRARY):
        pass
    said = deployment.log.read_text()
    assert "two lines of a pool" in said
    assert "old ways" in said
    assert "KeyError" in said
    assert "canary" not in said  # an exception's message may quote what a client sent
    assert "chatter" not in said
    if style == "json":
        assert messages(deployment, "sqlalchemy.pool") == "two lines of a pool"
        assert "UserWarning: old ways" in messages(deployment, "py.warnings")
    for line in said.splitlines() if style == "text" else []:
        assert re.match(rf"{STAMP} (info|warning|error|critical) [a-z_]+( [a-z_]+=\S+)", line), line


@pytest.mark.parametrize("style", ["text", "json"])
def test_209_the_development_server_writes_one_form_and_no_colours(tmp_path: Path, style: str) -> None:
    deployment = Deployment(tmp_path, LOG_FORMAT=style)
    deployment.run("realms create /x")
    with (
        deployment.log.open("wb") as log,
        subprocess.Popen(
            deployment.command_line(f"run --port {deployment.port}"), cwd=ROOT, env=deployment.environ,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
        ) as server,
    ):  # fmt: skip
        try:
            until(lambda: server.poll() is not None or deployment.answers("/healthz"))
            assert not deployment.answers("/nowhere?token=canary")
        finally:
            server.terminate()
    said = deployment.log.read_text()
    assert f"Running on http://127.0.0.1:{deployment.port}" in said
    assert "/nowhere?" in said
    for absent in ("\x1b", "x1b", "u001b", "canary"):
        assert absent not in said
    if style == "json":
        assert '"GET /nowhere? HTTP/1.1" 404' in messages(deployment, "werkzeug")
    else:
        assert all(re.match(f"{STAMP} info [a-z_]+ ", line) for line in said.splitlines()), said


def test_209_on_a_terminal_no_colour_is_none_too(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.environ["NO_COLOR"] = "1"
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        deployment.command_line(f"run --port {deployment.port}"),
        cwd=ROOT, env=deployment.environ, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
    ) as server:  # fmt: skip
        try:
            until(lambda: server.poll() is not None or deployment.answers("/healthz"))
            assert not deployment.answers("/nowhere")
            said = ""
            while "/nowhere" not in said:
                said += os.read(controller, 65536).decode()
        finally:
            server.terminate()
    os.close(terminal)
    os.close(controller)
    assert "curl" in said
    assert "\x1b" not in said
    assert "x1b" not in said


def test_209_a_level_is_every_loggers(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, LOG_LEVEL="WARNING")
    with deployment.gthread("--workers 1"):
        sent(deployment, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX_User: a\r\n\r\n")
    (line,) = deployment.log.read_text().splitlines()
    assert re.match(rf"{STAMP} warning log logger=gunicorn.error pid=\d+ message=", line)
    assert "X_USER" in line
    deployment.log.write_text("")
    deployment.run("realms create /x")
    with deployment.serving():
        assert not deployment.answers("/nowhere")
    assert "/nowhere" not in deployment.log.read_text()
    assert "\x1b" not in deployment.log.read_text()


@pytest.mark.parametrize(
    "line",
    [
        b"GET /x?client_secret=canary HTTP/1.1 more\r\nHost: x\r\n\r\n",
        b"GET /x?client_secret=canary\r\nHost: x\r\n\r\n",
        b"canary-secret of 'somebody'\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization Basic canary=\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic\r\n canary=\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBasic canary=: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nExpect: canary=\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: canary='\"\r\n\r\n",
        b"GET /x?client_secret=canary HTTP/1.1\r\nHost: x\r\nA: \x00canary\r\n\r\n",
    ],
)
def test_208_what_the_server_refuses_is_told_without_what_it_was(tmp_path: Path, line: bytes) -> None:
    deployment = Deployment(tmp_path, LOG_FORMAT="json")
    with deployment.gthread("--workers 1"):
        status = int(sent(deployment, line).split(b" ")[1])
        assert 400 <= status < 500 or status == 501
        until(lambda: "Invalid request from ip=127.0.0.1" in messages(deployment, "gunicorn.error"))
    assert "canary" not in deployment.log.read_text().lower()


def test_an_error_log_in_a_file_has_the_same_form(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, LOG_FORMAT="json")
    with deployment.gthread(f"--workers 1 --error-logfile {tmp_path / 'errors.log'}"):
        pass
    lines = [json.loads(line) for line in (tmp_path / "errors.log").read_text().splitlines()]
    assert any("Listening at" in line["message"] for line in lines)
    assert "Listening at" not in deployment.log.read_text()


def test_a_server_leaves_nothing_in_the_home_folder_and_opens_no_door_beside_its_port(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    for name, variable in (("home", "HOME"), ("runtime", "XDG_RUNTIME_DIR")):
        (tmp_path / name).mkdir(mode=0o700)
        deployment.environ[variable] = str(tmp_path / name)
    with deployment.gthread("--workers 1"):
        assert deployment.answers("/readyz")
        assert list((tmp_path / "home").iterdir()) == []
        assert list((tmp_path / "runtime").iterdir()) == []
        sockets = Path("/proc/net/unix").read_text()
        assert str(tmp_path) not in sockets
    del deployment.environ["XDG_RUNTIME_DIR"]
    with deployment.gthread("--workers 1"):
        assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize(("name", "status"), [("X_Forwarded_User", 400), ("X-Forwarded-User", 200), ("X-Y_Z", 400)])
def test_19_a_header_with_an_underscore_is_refused_by_the_production_server(
    tmp_path: Path, name: str, status: int
) -> None:
    deployment = Deployment(tmp_path)
    with deployment.gthread("--workers 1"):
        answer = urllib3.request("GET", f"{deployment.base_url}/healthz", headers={name: "x"}, timeout=10)
        assert answer.status == status
    said = deployment.log.read_text()
    named = f"Invalid HTTP header name: '{name.upper()}'"
    assert (named in said) == (status == 400)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\n" + b"A: x\r\n" * 62 + b"Host: x\r\nConnection: close\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\n" + b"A: x\r\n" * 63 + b"Host: x\r\nConnection: close\r\n\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: " + b"x" * (8190 - 5) + b"\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: " + b"x" * (8190 - 4) + b"\r\n\r\n", 431),
        (b"GET /healthz?" + b"x" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    ],
)
def test_18_the_production_server_refuses_what_is_too_much_with_its_own_status(
    tmp_path: Path, head: bytes, status: int
) -> None:
    deployment = Deployment(tmp_path)
    with deployment.gthread("--workers 1"):
        answer = sent(deployment, head)
        assert int(answer.split(b" ")[1]) == status
