"""Certificates of clients at real servers: shown to our own TLS, under both workers, and in headers as they come."""

import datetime as dt
import json
import signal
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from issuer.serving.tls import TLS, TLSUnusable
from tests.support.certificates import as_nginx, made
from tests.support.curl import WITHOUT_CURL, curl
from tests.support.process import BIN, ROOT, Deployment, until
from tests.support.raw import heard
from tests.support.shown import PATH, digest
from tests.support.tls import HERE, Authority, certificate

SERVERS = ("ours", "gthread")
DER = made()
HEADER = {"CLIENT_CERT_HEADER": "X-Client-Cert", "CLIENT_CERT_FORMAT": "nginx"}


def module(deployment: Deployment) -> str:
    """The text of one whose application has the endpoint that says what it was shown."""
    made = deployment.factory.replace(":", ".", 1)
    return f"import app\nfrom tests.support.shown import with_it\napplication = with_it({made})\n"


def line(deployment: Deployment, server: str, options: str) -> list[str]:
    if server == "ours":
        return deployment.production_line(f"--workers 1 {options}", module(deployment))
    return deployment.gunicorn_line(f"--worker-class gthread --workers 1 {options}", module(deployment))


class Certificates:
    """Of one authority, and others."""

    def __init__(self, folder: Path) -> None:
        authority, other = Authority(folder / "ours"), Authority(folder / "other")
        self.ca = authority.file
        self.server = authority.certificate(HERE)
        self.client = authority.certificate("svc", usage=ExtendedKeyUsageOID.CLIENT_AUTH)
        self.second = authority.certificate("second")
        self.bad = {
            "expired": authority.certificate("svc", ends=dt.timedelta(minutes=-5)),
            "of another authority": other.certificate("svc"),
            "self-signed": certificate(folder / "self", "svc"),
            "for servers": authority.certificate("server.example", usage=ExtendedKeyUsageOID.SERVER_AUTH),
        }

    @property
    def options(self) -> str:
        return f"--certfile {self.server[0]} --keyfile {self.server[1]}"


def der(shown: tuple[Path, Path]) -> bytes:
    return ssl.PEM_cert_to_DER_cert(shown[0].read_text())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@contextmanager
def secured(
    folder: Path, server: str, certificates: Certificates, options: str, **settings: str
) -> Iterator[Deployment]:
    deployment = Deployment(folder, **settings)
    deployment.run("realms create / --if-missing")
    command = line(deployment, server, f"{certificates.options} {options}")
    with deployment.process(command, ca=str(certificates.ca), shown=certificates.client):
        yield deployment
    said = deployment.log.read_text()
    assert "server_error" not in said
    assert "Traceback" not in said


@WITHOUT_CURL
@pytest.mark.parametrize("server", SERVERS)
def test_89_a_certificate_is_asked_for_verified_and_handed_in_and_who_has_none_is_served_without(
    tmp_path: Path, certificates: Certificates, server: str
) -> None:
    with secured(tmp_path, server, certificates, f"--ca-certs {certificates.ca} --cert-reqs 1") as deployment:
        url = f"https://{HERE}:{deployment.port}{PATH}"
        assert curl(url, None, certificates.ca)[:2] == (200, b"{}\n")
        for shown in (certificates.client, certificates.second):
            answer = curl(url, shown, certificates.ca)
            assert (answer.status, answer.said) == (200, {"sha256": digest(der(shown)), "verified": True})
        for what, shown in certificates.bad.items():
            assert curl(url, shown, certificates.ca).status == 0, what
        assert curl(url, certificates.client, certificates.ca, "--tls-max", "1.2").said["verified"]
        # TLS 1.2 and later, and of 1.2 what BCP 195 recommends.
        for older in ("ECDHE+AES:!AESGCM", "ECDHE+CHACHA20", "DHE+AESGCM"):
            assert curl(url, certificates.client, certificates.ca, "--tls-max", "1.2", "--ciphers", older).status == 0
        assert curl(url, certificates.client, certificates.ca, "--tls-max", "1.1", "--ciphers", "ALL").status == 0
        # The connection is what shows it: each of its requests comes with it, and nobody else's.
        twice = curl(url, certificates.client, certificates.ca, url)
        assert (twice.body.count(digest(der(certificates.client)).encode()), twice.connections) == (2, 0)
        assert curl(url, None, certificates.ca)[:2] == (200, b"{}\n")


@WITHOUT_CURL
@pytest.mark.parametrize("server", SERVERS)
def test_89_where_it_is_required_nobody_is_heard_without(
    tmp_path: Path, certificates: Certificates, server: str
) -> None:
    with secured(tmp_path, server, certificates, f"--ca-certs {certificates.ca} --cert-reqs 2") as deployment:
        for path in (PATH, "/healthz"):
            url = f"https://{HERE}:{deployment.port}{path}"
            assert curl(url, None, certificates.ca).status == 0
            for what, shown in certificates.bad.items():
                assert curl(url, shown, certificates.ca).status == 0, what
            assert curl(url, certificates.client, certificates.ca).status == 200


@WITHOUT_CURL
@pytest.mark.parametrize("server", SERVERS)
def test_91_over_tls_of_ours_no_header_is_a_certificate(
    tmp_path: Path, certificates: Certificates, server: str
) -> None:
    """From an address that is not listed; nobody is asked for a certificate here, so that none is shown."""
    settings = HEADER | {"CLIENT_CERT_PROXIES": "127.0.0.2"}
    with secured(tmp_path, server, certificates, "", **settings) as deployment:
        url = f"https://{HERE}:{deployment.port}{PATH}"
        for more in (
            {},
            {"X_Client_Cert": as_nginx(DER)},
            {"realmint.client_certificate": "x", "gunicorn.socket": "x"},
        ):
            assert curl(url, certificates.client, certificates.ca, **more)[:2] == (200, b"{}\n"), more
    assert deployment.log.read_text().count("certificate_header_from_unlisted_peer address=127.0.0.1") == 1


def asked(port: int, *fields: str) -> tuple[int, object]:
    """Status and body of `/shown`, with these lines of a head."""
    head = "\r\n".join([f"GET {PATH} HTTP/1.1", "Host: x", "Connection: close", *fields])
    answer = heard(port, f"{head}\r\n\r\n".encode("latin-1")).answer
    status, _, body = answer.partition(b"\r\n\r\n")
    return int(status.split()[1]), json.loads(body) if body.startswith(b"{") else None


@contextmanager
def plain(folder: Path, server: str, *options: str) -> Iterator[Deployment]:
    """Behind a proxy at 127.0.0.1, which is whoever asks."""
    deployment = Deployment(folder, CLIENT_CERT_PROXIES="127.0.0.0/30", **HEADER)
    deployment.run("realms create / --if-missing")
    if server == "flask":
        deployment.production_line("", module(deployment))
        command = [str(BIN / "flask"), "--app", "served_here:application", "run", "--port", str(deployment.port)]
    else:
        command = line(deployment, server, " ".join(options))
    with deployment.process(command):
        yield deployment


@pytest.mark.parametrize("server", [*SERVERS, "flask"])
def test_91_headers_as_servers_join_refuse_or_drop_them(tmp_path: Path, server: str) -> None:
    value, other = as_nginx(DER), as_nginx(made(serial=6))
    with plain(tmp_path, server) as deployment:
        port = deployment.port
        assert asked(port, f"X-Client-Cert: {value}") == (200, {"sha256": digest(DER), "verified": False})
        assert asked(port) == (200, {})
        for fields in (
            [f"X-Client-Cert: {value}", f"X-Client-Cert: {value}"], [f"X-Client-Cert: {value}", f"x-client-cert: {other}"],
            [f"X-Client-Cert: {value},{other}"], [f"X-Client-Cert: {value}{other}"], ["X-Client-Cert: " + "A" * 8000],
        ):  # fmt: skip
            status, said = asked(port, *fields)
            assert status == 401, fields
            assert isinstance(said, dict)
            assert said["error"] == "invalid_client"
        # Neither alone nor beside the real one does its twin count.
        for name in ("X_Client_Cert", "X-Client_Cert", "x_client-cert"):
            for fields in ([f"{name}: {value}"], [f"X-Client-Cert: {value}", f"{name}: {other}"]):
                status, said = asked(port, *fields)
                if server == "flask" and status == 200:
                    assert said == ({} if len(fields) == 1 else {"sha256": digest(DER), "verified": False})
                else:
                    assert status == 400, (name, fields)
        # Folded, and longer than servers read; `flask run` is nobody's server.
        if server != "flask":
            assert asked(port, f"x-client-cert:\t {value} ") == (200, {"sha256": digest(DER), "verified": False})
            assert asked(port, "X-Client-Cert:", f" {value}")[0] == 400
            assert asked(port, f"X-Client-Cert: {value[:40]}", f"\t{value[40:]}")[0] == 400
            assert asked(port, "X-Client-Cert: " + "A" * 20 * 1024)[0] in (400, 431)


@WITHOUT_CURL
@pytest.mark.parametrize("server", SERVERS)
def test_91_a_peer_without_an_address_is_in_no_network(tmp_path: Path, server: str) -> None:
    deployment = Deployment(tmp_path, CLIENT_CERT_PROXIES="0.0.0.0/1,128.0.0.0/1,::/1,8000::/1", **HEADER)
    deployment.run("realms create / --if-missing")
    kind = "" if server == "ours" else "--worker-class gthread"
    command = deployment.gunicorn_line(f"{kind} --workers 1 --bind unix:{tmp_path}/socket", module(deployment))
    with deployment.process(command):
        through = ("--unix-socket", f"{tmp_path}/socket")
        assert curl(f"http://x{PATH}", None, None, *through, X_Client_Cert=as_nginx(DER))[:2] == (200, b"{}\n")
        assert curl(f"http://{HERE}:{deployment.port}{PATH}", X_Client_Cert=as_nginx(DER)).said["sha256"] == digest(DER)
    assert "certificate_header_from_unlisted_peer" in deployment.log.read_text()


def test_sighup_reads_the_certificates_anew(tmp_path: Path, certificates: Certificates) -> None:
    deployment = Deployment(tmp_path)
    deployment.run("realms create / --if-missing")
    own = (tmp_path / "cert.pem", tmp_path / "key.pem")

    def put(found: tuple[Path, Path]) -> str:
        for here, file in zip(own, found, strict=True):
            here.write_text(file.read_text())
        return own[0].read_text()

    def served() -> str:
        return ssl.get_server_certificate((HERE, deployment.port), timeout=10)

    first = put(certificates.server)
    command = line(deployment, "ours", f"--certfile {own[0]} --keyfile {own[1]}")
    with deployment.process(command, ca=str(certificates.ca)) as server:
        assert served() == first
        second = put(certificates.second)
        server.send_signal(signal.SIGHUP)
        until(lambda: served() == second)


def test_tls_that_could_not_be_served_or_would_ask_nobody_is_a_fault(
    tmp_path: Path, certificates: Certificates
) -> None:
    cert, key, ca = (str(file) for file in (*certificates.server, certificates.ca))
    TLS().check()
    TLS(cert, key).check()
    TLS(cert, key, ca, 1).check()
    both = tmp_path / "both.pem"
    both.write_text(Path(cert).read_text() + Path(key).read_text())
    TLS(str(both)).check()
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    for tls, fault in (
        (TLS(keyfile=key), "take --certfile"), (TLS(ca_certs=ca), "take --certfile"), (TLS(cert_reqs=1), "take --certfile"),
        (TLS(cert), "--certfile with --keyfile cannot be used"), (TLS(cert, str(certificates.client[1])), "KEY_VALUES_MISMATCH"),
        (TLS(cert, "/nowhere"), "No such file"), (TLS(str(nothing), key), "--certfile with --keyfile cannot be used"),
        (TLS(cert, key, ca), "--cert-reqs 1 or 2, both"), (TLS(cert, key, None, 2), "--cert-reqs 1 or 2, both"),
        (TLS(cert, key, str(nothing), 1), "--ca-certs cannot be used"), (TLS(cert, key, "/nowhere", 1), "--ca-certs cannot be used: No such"),
    ):  # fmt: skip
        with pytest.raises(TLSUnusable, match=fault):
            tls.check()


@pytest.mark.parametrize("server", SERVERS)
def test_and_ends_the_start_with_2(tmp_path: Path, certificates: Certificates, server: str) -> None:
    deployment = Deployment(tmp_path)
    command = line(deployment, server, f"{certificates.options} --cert-reqs 2")
    ended = subprocess.run(
        command, cwd=ROOT, env=deployment.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    assert "certificates of clients take --ca-certs and --cert-reqs 1 or 2, both" in ended.stderr
    assert "Booting worker" not in ended.stderr
    assert "Traceback" not in ended.stderr
