"""deploy/nginx.conf and the auth_request of docs/operating.md in a real nginx: what reaches the issuer, and who is let in."""

import datetime as dt
import socket
import ssl
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support import pasted
from tests.support.nginx import WITHOUT_NGINX, nginx, reachable
from tests.support.process import BIN, ROOT, Deployment, free_port, post, until
from tests.support.tls import TLSSocket

CONFIGURATION = (ROOT / "deploy" / "nginx.conf").read_text()
ORDERS = "https://orders.example"
READER = f"--scope 'orders:read other' --default-scope orders:read --default-audience {ORDERS}"

pytestmark = WITHOUT_NGINX


def certificate(folder: Path) -> None:
    """issuer.pem and issuer.key for 127.0.0.1, as somebody's own authority would make them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer.example")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "issuer.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "issuer.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


class Front:
    """The issuer, two processes of eight threads, behind nginx as deploy/nginx.conf has it."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self.deployment = deployment
        self.port = free_port()
        self.folder = folder
        deployment.environ["REALMINT_BASE_URL"] = f"https://127.0.0.1:{self.port}"
        self.pool = urllib3.PoolManager(ca_certs=str(folder / "issuer.pem"), retries=False, timeout=5)

    @property
    def configuration(self) -> str:
        text = CONFIGURATION
        for there, here in (
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"), ("        listen [::]:443 ssl;\n", ""),
            ("/etc/nginx/tls", str(self.folder)), ("/var/log/nginx", str(self.folder)),
            ("127.0.0.1:5000", f"127.0.0.1:{self.deployment.port}"), ("worker_processes auto", "worker_processes 1"),
        ):  # fmt: skip
            assert there in text, there
            text = text.replace(there, here)
        return text

    def get(self, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
        return self.pool.request("GET", f"https://127.0.0.1:{self.port}{path}", headers=headers)

    def raw(self, data: bytes) -> ssl.SSLSocket:
        """A connection on which this much has been sent."""
        context = ssl.create_default_context(cafile=str(self.folder / "issuer.pem"))
        context.sslsocket_class = TLSSocket
        connection = context.wrap_socket(
            socket.create_connection(("127.0.0.1", self.port), 10), server_hostname="127.0.0.1"
        )
        connection.sendall(data)
        return connection


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    certificate(folder)
    deployment = Deployment(folder, TRUSTED_PROXIES="127.0.0.1")
    local = deployment.base_url
    front = Front(deployment, folder)
    # The server is asked for its health where it is, not where its name is.
    command = [
        str(BIN / "gunicorn"),
        "--config",
        "gunicorn.conf.py",
        "--bind",
        f"127.0.0.1:{deployment.port}",
        "--workers",
        "2",
    ]
    with ExitStack() as stack:
        deployment.run("realms create / --if-missing")
        stack.enter_context(deployment.process([*command, deployment.factory]))
        assert local.startswith("http://127.0.0.1")
        stack.enter_context(nginx(folder, front.configuration, front.port))
        stack.callback(front.pool.clear)
        yield front


SLOW = {
    "header": b"POST /oauth2/access_token HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "body": b"POST /oauth2/access_token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 1000\r\n\r\ngrant_type=",
}


@pytest.mark.parametrize("kind", SLOW)
def test_17_clients_that_send_slowly_hold_nobody_up_behind_the_proxy(front: Front, kind: str) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(front.raw(SLOW[kind])) for _ in range(64)]
        for _ in range(20):
            for connection in held:
                connection.send(b"x")
            assert front.get("/healthz").status == 200


@pytest.mark.parametrize("many", [40, pytest.param(1000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", SLOW)
def test_17_clients_that_stop_in_the_middle_are_cut_off_by_the_proxy(front: Front, kind: str, many: int) -> None:
    def median() -> float:
        waits = []
        for _ in range(60):
            started = time.monotonic()
            assert front.get("/healthz").status == 200
            waits.append(time.monotonic() - started)
        return statistics.median(waits)

    calm = median()
    with ExitStack() as stack:
        opened = time.monotonic()
        held = [stack.enter_context(front.raw(SLOW[kind])) for _ in range(many)]
        attacked = median()
        print(many, kind, "in front of gunicorn, /healthz", calm, attacked, attacked / calm)
        for connection in held:
            connection.settimeout(30)
            while connection.recv(4096):
                pass
        assert time.monotonic() - opened < 30
    assert attacked <= calm * 2.5


def test_22_the_log_has_the_address_that_nginx_saw_whatever_the_client_says(front: Front) -> None:
    front.deployment.log.write_text("")
    answer = front.pool.request(
        "POST", f"https://127.0.0.1:{front.port}/oauth2/access_token?client_secret=canary",
        body=b"x=1", headers={"X-Forwarded-For": "6.6.6.6"},
    )  # fmt: skip
    assert (answer.status, answer.json()["error"]) == (400, "invalid_request")
    (line,) = front.deployment.log.read_text().splitlines()
    assert "address=127.0.0.1" in line
    until(lambda: "POST /oauth2/access_token" in (front.folder / "access.log").read_text())
    assert "canary" not in (front.folder / "access.log").read_text() + line


def test_the_addresses_at_the_hosts_root_are_forwarded_and_the_issuer_is_the_proxys_name(front: Front) -> None:
    issuer = f"https://127.0.0.1:{front.port}/oauth2/realms/root"
    for path in (
        "/oauth2/realms/root/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/oauth2/realms/root",
    ):
        answer = front.get(path)
        assert (answer.status, answer.json()["issuer"]) == (200, issuer)
    assert front.get("/readyz").status == 200


def test_19_a_header_with_an_underscore_is_dropped_and_what_is_too_large_is_refused(front: Front) -> None:
    assert front.get("/healthz", X_Forwarded_User="root").status == 200
    assert front.get("/healthz", Padding="x" * 9000).status == 400  # nginx's way to say 431
    body = b"a" * (64 * 1024 + 1)
    assert front.pool.request("POST", f"https://127.0.0.1:{front.port}/oauth2/access_token", body=body).status == 413


# --- auth_request ----------------------------------------------------------------------------------------------------

BACKEND = """
import flask
app = flask.Flask("backend")
app.add_url_rule("/orders", view_func=lambda: "orders")
"""


@contextmanager
def gate(folder: Path, deployment: Deployment, location: str) -> Iterator[str]:
    """The address of an API behind an nginx whose locations are these."""
    (folder / "backend.py").write_text(BACKEND)
    port, checking, serving = free_port(), free_port(), free_port()
    location = location.replace("127.0.0.1:8000", f"127.0.0.1:{serving}").replace(
        "127.0.0.1:8001", f"127.0.0.1:{checking}"
    )
    programs = (("auth_request:app", checking, ROOT / "examples"), ("backend:app", serving, folder))
    environ = deployment.environ | {"ISSUER": deployment.issuer(), "AUDIENCE": ORDERS}
    with ExitStack() as stack:
        for program, bind, where in programs:
            command = [
                str(BIN / "gunicorn"),
                "--no-control-socket",
                "--bind",
                f"127.0.0.1:{bind}",
                "--threads",
                "8",
                program,
            ]
            process = stack.enter_context(subprocess.Popen(command, cwd=where, env=environ))
            stack.callback(process.terminate)
            until(lambda bind=bind: reachable(bind))
        configuration = (
            f"events {{}}\nhttp {{\nserver {{\nlisten 127.0.0.1:{port};\naccess_log off;\n{location}\n}}\n}}\n"
        )
        stack.enter_context(nginx(folder, configuration, port))
        yield f"http://127.0.0.1:{port}/orders"


def asked(address: str, token: str | None = None, **headers: str) -> urllib3.BaseHTTPResponse:
    headers |= {"Authorization": f"Bearer {token}"} if token is not None else {}
    return urllib3.request("GET", address, headers=headers, retries=False, timeout=10)


def test_auth_request_through_a_guarded_api_lets_in_whom_it_should_and_tells_no_from_cannot_tell(
    tmp_path: Path,
) -> None:
    deployment = Deployment(tmp_path)
    caller = ("svc", deployment.run(f"clients create svc {READER}")["client_secret"])

    def token(**form: str) -> str:
        answer = post(f"{deployment.issuer()}/access_token", {"grant_type": "client_credentials", **form}, caller)
        return str(answer.json()["access_token"])

    location = pasted.block(ROOT / "docs" / "operating.md", "auth_request.conf")
    with gate(tmp_path, deployment, location) as address:
        unknown = asked(address, "eyJhbGciOiJFUzI1NiIsImtpZCI6ImEiLCJ0eXAiOiJhdCtqd3QifQ.e30.AAAA")
        assert unknown.status == 401
        with deployment.gunicorn("--workers 1"):
            good, other = token(), token(scope="other")
            until(lambda: asked(address, good).status == 200)
            assert asked(address, good).data == b"orders"
            assert asked(address, other).status == 403
            for refused in (None, "", good[:-4] + "AAAA", "garbage"):
                answer = asked(address, refused)
                assert answer.status == 401, refused
            assert asked(address).headers["WWW-Authenticate"].startswith("Bearer")
            assert asked(address, good[:-4] + "AAAA").headers["WWW-Authenticate"].count("invalid_token") == 1
            # Nobody asks the check itself from outside.
            assert urllib3.request("GET", address.replace("/orders", "/_check/orders"), retries=False).status == 404
        assert asked(address, good).status == 200  # the keys are held
    with gate(tmp_path, deployment, location) as address:  # a fresh check, and no issuer
        answer = asked(address, good)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


def test_auth_request_straight_to_introspection_lets_everybody_in_as_the_document_says(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    made: dict[str, Any] = deployment.run(f"clients create api --resource-identifier {ORDERS}")
    credentials = urllib3.make_headers(basic_auth=f"api:{made['client_secret']}")["authorization"]
    location = f"""
        location /orders {{ auth_request /_check; proxy_pass http://127.0.0.1:8000; }}
        location = /_check {{
            internal;
            proxy_method POST;
            proxy_set_header Authorization "{credentials}";
            proxy_set_header Content-Type application/x-www-form-urlencoded;
            proxy_set_body "token=garbage";
            proxy_pass {deployment.issuer()}/introspect;
        }}"""
    with deployment.gunicorn("--workers 1"), gate(tmp_path, deployment, location) as address:
        assert asked(address, "garbage").status == 200
