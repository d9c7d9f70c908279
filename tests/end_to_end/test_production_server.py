"""What `make serve` starts: it stops, reloads, respawns and logs as the documents say, and takes nobody's port."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import urllib3

from tests.support.issuer import KEK
from tests.support.load import Load
from tests.support.process import ROOT, Deployment, post, until
from tests.support.raw import heard
from tests.support.server_log import STAMP, told

OTHER_KEK = "BBECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
HEAD = b"POST /oauth2/access_token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
OF_A_LIBRARY = """
import logging, threading, warnings
import app
application = app.create_app()
logging.getLogger("sqlalchemy.pool").error("two\\nlines of %s", "a pool")
logging.getLogger("some.library").info("chatter")
warnings.simplefilter("default")
warnings.warn("old ways", stacklevel=1)
"""


def workers(server: "subprocess.Popen[bytes]") -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


def credentials(deployment: Deployment) -> tuple[str, str]:
    return "svc", deployment.run("clients create svc --scope read --default-scope read")["client_secret"]


def test_make_serve_starts_it_on_the_port_and_with_the_workers_that_are_asked_for(tmp_path: Path) -> None:
    said = subprocess.run(
        ["make", "--dry-run", "--always-make", "serve", "PORT=5999", "WORKERS=3"], cwd=ROOT, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert "serve.py --bind 127.0.0.1:5999 --workers 3" in said.stdout


def test_209_from_its_first_line_to_its_last_it_writes_json_where_json_is_asked_for(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, LOG_FORMAT="json")
    with deployment.production("--workers 1", OF_A_LIBRARY) as server:
        assert heard(deployment.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX_User: a\r\n\r\n").statuses == [400]
        (worker,) = workers(server)
        os.kill(worker, signal.SIGKILL)
        until(lambda: workers(server) not in ([], [worker]) and deployment.answers("/healthz"))
    lines = told(deployment)
    said = " ".join(str(line.get("message")) for line in lines)
    for part in (
        "Starting gunicorn", "Listening at: http://127.0.0.1", "Booting worker with pid", "was sent SIGKILL",
        "Shutting down: Master", "two lines of a pool", "UserWarning: old ways",
    ):  # fmt: skip
        assert part in said, said
    assert "chatter" not in said
    assert "access" not in {line.get("logger") for line in lines}


def test_209_and_text_where_nothing_is_said(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with deployment.production("--workers 1"):
        assert heard(deployment.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX_User: a\r\n\r\n").statuses == [400]
    for line in deployment.log.read_text().splitlines():
        assert re.match(rf"{STAMP} (info|warning|error|critical) [a-z_]+( [a-z_]+=\S+)", line), line
    assert "refused address=127.0.0.1 error=invalid_request reason=field_name" in deployment.log.read_text()


def test_209_a_level_is_its_own_too(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, LOG_LEVEL="WARNING")
    with deployment.production("--workers 1"):
        pass
    assert deployment.log.read_text() == ""


def test_sigterm_ends_it_after_what_is_in_flight_and_a_keepalive_connection_does_not_hold_it(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    client_id, secret = credentials(deployment)
    form = f"grant_type=client_credentials&client_id={client_id}&client_secret={secret}".encode()
    with (
        deployment.production("--workers 1") as server,
        socket.create_connection(("127.0.0.1", deployment.port), 10) as idle,
        socket.create_connection(("127.0.0.1", deployment.port), 10) as busy,
    ):
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")
        busy.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(form) + form[:5])
        assert deployment.answers("/healthz")  # which came later, so that the other has arrived
        server.send_signal(signal.SIGTERM)
        until(lambda: not deployment.answers("/healthz"))
        busy.sendall(form[5:])
        answer = b""
        while piece := busy.recv(65536):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200")
        assert idle.recv(1) == b""
        assert server.wait(10) == 0


def test_sigterm_waits_for_nobody_longer_than_it_gives_a_body(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with deployment.production("--workers 2") as server:
        with socket.create_connection(("127.0.0.1", deployment.port), 10) as never:
            never.sendall(HEAD + b"Content-Length: 100\r\n\r\nx")
            assert deployment.answers("/healthz")
            started = time.monotonic()
            server.send_signal(signal.SIGTERM)
            assert server.wait(25) == 0
        assert time.monotonic() - started < 20
    assert "SIGKILL" not in deployment.log.read_text()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_all_of_them_is_no_unexpected_end(tmp_path: Path, name: str) -> None:
    deployment = Deployment(tmp_path)
    with deployment.production("--workers 2") as server:
        os.killpg(server.pid, getattr(signal, name))
        assert server.wait(20) == 0
    assert "was sent" not in deployment.log.read_text()


@pytest.mark.parametrize(
    "bind", ["5079", ":5079", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:70000", "[::1]"]
)
def test_an_address_that_is_not_said_whole_is_refused_and_never_every_address(tmp_path: Path, bind: str) -> None:
    deployment = Deployment(tmp_path)
    command = [sys.executable, "serve.py", "--bind", bind]
    done = subprocess.run(
        command, cwd=ROOT, env=deployment.environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert f"--bind takes ADDRESS:PORT, not {bind}" in done.stderr


def test_a_worker_that_is_told_to_stop_before_it_serves_stops(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    command = deployment.production_line("--workers 2")
    with deployment.log.open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=deployment.environ, stdout=log, stderr=log)
        try:
            until(lambda: "Booting worker" in deployment.log.read_text())
            started = time.monotonic()
            server.send_signal(signal.SIGTERM)
            server.wait(20)
            assert time.monotonic() - started < 15
        finally:
            server.kill()
            server.wait()


def test_sighup_replaces_every_worker_and_no_request_is_lost(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    client = credentials(deployment)
    with deployment.production("--workers 2") as server:
        assert post(f"{deployment.issuer()}/access_token", {"grant_type": "client_credentials"}, client).status == 200
        before = set(workers(server))
        with Load([deployment.issuer()], client, threads=4, pause=0.005).running() as load:
            server.send_signal(signal.SIGHUP)
            until(lambda: len(workers(server)) == 2 and not before & set(workers(server)), 40)
            seen = len(load.answers)
            until(lambda: len(load.answers) > seen + 50)
        assert load.failed == []
        assert len(load.answers) > 100


def test_workers_end_with_the_main_process_even_where_it_is_killed(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with deployment.production("--workers 2") as server:
        left = workers(server)
        server.kill()
        server.wait()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))
    with deployment.production("--workers 1"):
        assert deployment.answers("/readyz")


def test_a_worker_that_dies_is_replaced_and_the_others_serve_meanwhile(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    client = credentials(deployment)
    with deployment.production("--workers 2") as server:
        os.kill(workers(server)[0], signal.SIGKILL)
        answers = [
            post(f"{deployment.issuer()}/access_token", {"grant_type": "client_credentials"}, client) for _ in range(20)
        ]
        assert {answer.status for answer in answers} == {200}
        until(lambda: len(workers(server)) == 2)


@pytest.mark.parametrize(("fault", "code"), [("settings", 2), ("key-encryption key", 7), ("schema", 6), ("port", 2)])
def test_179_what_can_never_serve_ends_the_start_before_any_worker_with_one_sentence(
    tmp_path: Path, fault: str, code: int
) -> None:
    deployment = Deployment(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/outside.db", KEK=KEK)
    if fault != "schema":
        deployment.run("db upgrade")
        deployment.run("realms create /")
    if fault == "settings":
        deployment.environ["REALMINT_LOG_FORMAT"] = "yaml"
    elif fault == "key-encryption key":
        deployment.environ["REALMINT_KEK"] = OTHER_KEK
    with socket.socket() as taken:
        if fault == "port":
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Not even one that would share it.
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            taken.bind(("127.0.0.1", deployment.port))
            taken.listen()
        ended = subprocess.run(
            deployment.production_line(), cwd=ROOT, env=deployment.environ, capture_output=True, text=True, timeout=60, check=False
        )  # fmt: skip
    assert ended.returncode == code, ended.stderr
    assert len([line for line in ended.stderr.splitlines() if line.startswith("Error: ")]) == 1
    assert "Booting worker" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_no_setting_of_gunicorns_own_changes_it(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.environ |= {
        "GUNICORN_CMD_ARGS": "--workers 7 --worker-class sync --access-logfile -", "FORWARDED_ALLOW_IPS": "*",
        "PORT": "1", "WEB_CONCURRENCY": "7",
    }  # fmt: skip
    with deployment.production("--workers 1") as server:
        assert len(workers(server)) == 1
        for path, status in (("/static/passwd", 404), ("/x/healthz", 404), ("/healthz", 200)):
            answer = urllib3.request("GET", f"{deployment.base_url}{path}", retries=False)
            assert answer.status == status


@pytest.mark.parametrize(
    "name", ["X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "Forwarded", "Script-Name", "Path-Info"]
)
def test_22_23_no_forwarded_header_changes_an_answer_or_the_log(tmp_path: Path, name: str) -> None:
    deployment = Deployment(tmp_path)
    metadata = f"{deployment.issuer()}/.well-known/oauth-authorization-server"
    with deployment.production("--workers 1"):
        plain = urllib3.request("GET", metadata, retries=False)
        said = urllib3.request("GET", metadata, headers={name: "https://evil.test/x"}, retries=False)
        assert (said.status, said.data) == (200, plain.data)
        urllib3.request(
            "POST", f"{deployment.issuer()}/access_token", headers={name: "6.6.6.6", "X-Forwarded-For": "6.6.6.6"}
        )
    assert "6.6.6.6" not in deployment.log.read_text()


def test_what_it_opens_beside_its_port_is_nothing(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    (tmp_path / "home").mkdir()
    deployment.environ["HOME"] = str(tmp_path / "home")
    with deployment.production("--workers 2") as server:
        assert deployment.answers("/readyz")
        inodes = set()
        for pid in (server.pid, *workers(server)):
            for path in Path(f"/proc/{pid}/fd").iterdir():
                target = str(path.readlink())
                if target.startswith("socket:"):
                    inodes.add(target[8:-1])
        listening = [
            line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
        ]
        ports = {int(fields[1].partition(":")[2], 16) for fields in listening if fields[9] in inodes}
        assert ports == {deployment.port}
        assert list((tmp_path / "home").iterdir()) == []


def test_head_304_and_large_answers_come_as_they_are(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with deployment.production("--workers 1"):
        keys = f"{deployment.issuer()}/connect/jwk_uri"
        whole = urllib3.request("GET", keys)
        head = urllib3.request("HEAD", keys)
        assert (head.status, head.data, head.headers["Content-Length"]) == (200, b"", str(len(whole.data)))
        again = urllib3.request("GET", keys, headers={"If-None-Match": whole.headers["ETag"]})
        assert (again.status, again.data) == (304, b"")


def test_hundreds_of_requests_on_one_connection_are_answered_in_their_order(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with (
        deployment.production("--workers 1"),
        socket.create_connection(("127.0.0.1", deployment.port), 10) as connection,
    ):
        paths = [f"/nothing/{n}" if n % 2 else "/healthz" for n in range(300)]
        text = "".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths)
        sender = threading.Thread(
            target=connection.sendall, args=(text.encode() + b"GET / HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n",)
        )
        sender.start()
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        sender.join()
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answer)] == [200, 404] * 150 + [404]


FAILING = """
import app
application = app.create_app()

def broken(environ, start_response):
    raise RuntimeError("canary of " + environ["PATH_INFO"])

behind = application.wsgi_app
application.wsgi_app = lambda environ, start: (broken if environ["PATH_INFO"] == "/broken" else behind)(environ, start)
"""


@pytest.mark.parametrize(
    "body", [b"", b"Content-Length: 3\r\n\r\na=b", b"Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n"]
)
def test_what_an_application_raises_is_a_json_answer_and_a_line_in_the_log_without_its_message(
    tmp_path: Path, body: bytes
) -> None:
    deployment = Deployment(tmp_path, LOG_FORMAT="json")
    with deployment.production("--workers 1", FAILING):
        answer = heard(deployment.port, b"POST /broken HTTP/1.1\r\nHost: x\r\n" + (body or b"\r\n"))
        assert answer.statuses == [500]
        assert b'"error":"server_error"' in answer.answer
        assert deployment.answers("/healthz")
    assert [line["exception"] for line in told(deployment) if line["event"] == "server_error"] == ["RuntimeError"]
    assert "canary" not in deployment.log.read_text()


def test_a_client_that_hangs_up_before_its_answer_is_no_fault(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with deployment.production("--workers 1"):
        for number in range(60):
            with socket.create_connection(("127.0.0.1", deployment.port), 10) as connection:
                connection.sendall(HEAD + b"Content-Length: 10\r\n\r\na=b" + (b"1234567" if number % 2 else b""))
        assert deployment.answers("/readyz")
    for absent in ("server_error", "Traceback", "protocol failure", "error log"):
        assert absent not in deployment.log.read_text()
