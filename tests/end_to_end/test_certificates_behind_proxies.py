"""A client's certificate through a real nginx and a real HAProxy, configured as docs/operating.md has it pasted."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.test_certificates_served import Certificates, der, line
from tests.support import pasted
from tests.support.certificates import as_nginx, made
from tests.support.curl import WITHOUT_CURL, Curled, curl
from tests.support.haproxy import WITHOUT_HAPROXY, haproxy
from tests.support.nginx import WITHOUT_NGINX, nginx
from tests.support.process import ROOT, Deployment, free_port
from tests.support.shown import PATH, digest
from tests.support.tls import HERE

pytestmark = WITHOUT_CURL

PROXY = "127.0.0.2"
"""Where the proxies connect from, so that whoever asks the issuer himself is somebody else."""
DOCUMENT = ROOT / "docs" / "operating.md"
VICTIM = made()


def there(text: str, *changes: tuple[str, str]) -> str:
    for said, here in changes:
        assert text.count(said) == 1, said
        text = text.replace(said, here)
    return text


class Behind:
    """The issuer behind a proxy."""

    def __init__(self, deployment: Deployment, port: int, certificates: Certificates) -> None:
        self.deployment = deployment
        self.certificates = certificates
        self._url = f"https://{HERE}:{port}{PATH}"

    def __call__(self, shown: tuple[Path, Path] | None = None, *more: str, **headers: str) -> Curled:
        return curl(self._url, shown, self.certificates.ca, *more, **headers)

    def itself(self, **headers: str) -> Curled:
        """Asked past the proxy."""
        return curl(f"http://{HERE}:{self.deployment.port}{PATH}", **headers)


@contextmanager
def behind_nginx(folder: Path, deployment: Deployment, certificates: Certificates) -> Iterator[Behind]:
    port = free_port()
    server = there(
        pasted.block(DOCUMENT, "client_cert_nginx.conf"),
        ("listen 443 ssl", f"listen {HERE}:{port} ssl"), ("/etc/nginx/tls/issuer.pem", str(certificates.server[0])),
        ("/etc/nginx/tls/issuer.key", str(certificates.server[1])), ("/etc/nginx/tls/clients.pem", str(certificates.ca)),
        ("proxy_pass http://127.0.0.1:5000;", f"proxy_bind {PROXY}; proxy_pass http://{HERE}:{deployment.port};"),
    )  # fmt: skip
    configuration = f"worker_processes 1;\nevents {{}}\nhttp {{\naccess_log off;\n{server}\n}}\n"
    with nginx(folder, configuration, port):
        yield Behind(deployment, port, certificates)


@contextmanager
def behind_haproxy(
    folder: Path, deployment: Deployment, certificates: Certificates, *more: tuple[str, str]
) -> Iterator[Behind]:
    port, both = free_port(), folder / "both.pem"
    both.write_text(certificates.server[0].read_text() + certificates.server[1].read_text())
    ends = there(
        pasted.block(DOCUMENT, "client_cert_haproxy.cfg"),
        ("bind :443 ssl", f"bind {HERE}:{port} ssl"), ("/etc/haproxy/issuer.pem", str(both)),
        ("/etc/haproxy/clients.pem", str(certificates.ca)), ("127.0.0.1:5000", f"{HERE}:{deployment.port} source {PROXY}"),
        *more,
    )  # fmt: skip
    configuration = (
        f"defaults\n    mode http\n    timeout connect 5s\n    timeout client 20s\n    timeout server 20s\n\n{ends}\n"
    )
    with haproxy(folder, configuration, port):
        yield Behind(deployment, port, certificates)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@contextmanager
def issuing(folder: Path, server: str, form: str, header: str = "X-Client-Cert") -> Iterator[Deployment]:
    deployment = Deployment(folder, CLIENT_CERT_PROXIES=PROXY, CLIENT_CERT_HEADER=header, CLIENT_CERT_FORMAT=form)
    deployment.run("realms create / --if-missing")
    with deployment.process(line(deployment, server, "")):
        yield deployment


def shows_what_was_shown(ask: Behind, forged: str, header: str = "X_Client_Cert") -> None:
    """Whoever asks past the proxy says the same header to nobody."""
    certificates = ask.certificates
    for more in ({}, {header: forged}):
        assert ask(None, **more)[:2] == (200, b"{}\n"), more
        for shown in (certificates.client, certificates.second):
            answer = ask(shown, **more)
            assert (answer.status, answer.said) == (200, {"sha256": digest(der(shown)), "verified": False}), more
    twice = ("--header", f"{header.replace('_', '-')}: {forged}")
    assert ask(certificates.client, *twice, *twice).said["sha256"] == digest(der(certificates.client))
    assert ask(None, *twice, *twice)[:2] == (200, b"{}\n")
    for what, shown in certificates.bad.items():
        answer = ask(shown)
        assert answer.status in (0, 400), what
        assert b"sha256" not in answer.body
    assert ask.itself(**{header: forged})[:2] == (200, b"{}\n")
    log = ask.deployment.log.read_text()
    assert log.count("certificate_header_from_unlisted_peer address=127.0.0.1") == 1
    assert "certificate_malformed" not in log


@WITHOUT_NGINX
@pytest.mark.parametrize("server", ["ours", "gthread"])
def test_91_nginx_hands_on_what_it_was_shown_and_nothing_that_a_client_says(
    tmp_path: Path, certificates: Certificates, server: str
) -> None:
    with issuing(tmp_path, server, "nginx") as deployment, behind_nginx(tmp_path, deployment, certificates) as ask:
        shows_what_was_shown(ask, as_nginx(VICTIM))
        # nginx drops it.
        twin = ("--header", f"X_Client_Cert: {as_nginx(VICTIM)}")
        assert ask(None, *twin)[:2] == (200, b"{}\n")
        assert ask(certificates.client, *twin).said["sha256"] == digest(der(certificates.client))


@WITHOUT_HAPROXY
@pytest.mark.parametrize("server", ["ours", "gthread"])
def test_91_haproxy_hands_on_what_it_was_shown_and_nothing_that_a_client_says(
    tmp_path: Path, certificates: Certificates, server: str
) -> None:
    with issuing(tmp_path, server, "haproxy") as deployment, behind_haproxy(tmp_path, deployment, certificates) as ask:
        shows_what_was_shown(ask, base64.b64encode(VICTIM).decode())
        # HAProxy passes it on, and the server refuses it.
        twin = ("--header", f"X_Client_Cert: {base64.b64encode(VICTIM).decode()}")
        assert ask(None, *twin).status == 400
        assert ask(certificates.client, *twin).status == 400


@WITHOUT_HAPROXY
def test_91_haproxy_writes_the_header_of_rfc_9440_too(tmp_path: Path, certificates: Certificates) -> None:
    with issuing(tmp_path, "ours", "rfc9440", "Client-Cert") as deployment:
        more = (
            ("del-header X-Client-Cert", "del-header Client-Cert"),
            ("set-header X-Client-Cert %[ssl_c_der,base64]", "set-header Client-Cert :%[ssl_c_der,base64]:"),
        )
        with behind_haproxy(tmp_path, deployment, certificates, *more) as ask:
            shows_what_was_shown(ask, f":{base64.b64encode(VICTIM).decode()}:", "Client_Cert")


@WITHOUT_HAPROXY
def test_91_a_haproxy_that_sets_the_header_empty_says_that_there_is_none(
    tmp_path: Path, certificates: Certificates
) -> None:
    always = (" if { ssl_c_used }", "")
    with (
        issuing(tmp_path, "ours", "haproxy") as deployment,
        behind_haproxy(tmp_path, deployment, certificates, always) as ask,
    ):
        assert ask(None)[:2] == (200, b"{}\n")
        assert ask(certificates.client).said["sha256"] == digest(der(certificates.client))
