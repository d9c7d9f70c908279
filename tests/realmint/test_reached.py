"""How an issuer is reached: certificates, proxies, and what is said where it is not. Real TLS, real tunnels."""

import datetime as dt
import hashlib
import socket
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from realmint.proxies import from_environment, only
from realmint.transport import HTTPTransport, Request, TransportError
from tests.support.servers import proxying, serving
from tests.support.tls import Authority

VARIABLES = (
    "https_proxy",
    "http_proxy",
    "no_proxy",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def here(_: str, port: int, **more: Any) -> Sequence[Any]:
    """A resolver for which every name is this machine."""
    return socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)


def nowhere(*_: Any, **__: Any) -> Sequence[Any]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def failure(transport: HTTPTransport, url: str, **more: Any) -> TransportError:
    with pytest.raises(TransportError) as failed:
        transport(Request("GET", url, **more))
    return failed.value


def test_170_a_private_authority_is_trusted_where_its_file_is_named_and_nowhere_else(authority: Authority) -> None:
    with serving(certificate=authority.certificate("issuer.test")) as server:
        url = f"https://issuer.test:{server.port}/"
        assert HTTPTransport(ca_file=authority.file, resolve=here)(Request("GET", url)).body == b"{}"
        failed = failure(HTTPTransport(resolve=here), url)
        assert str(failed) == "certificate not trusted"
        assert "CERTIFICATE_VERIFY_FAILED" in str(failed.__cause__)
        assert len(server.asked) == 1


def test_the_file_of_an_authority_takes_the_place_of_the_system_s(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Authority(tmp_path)
    with serving(certificate=authority.certificate("issuer.test")) as server:
        url = f"https://issuer.test:{server.port}/"
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        assert HTTPTransport(resolve=here)(Request("GET", url)).status == 200
        assert str(failure(HTTPTransport(ca_file=other.file, resolve=here), url)) == "certificate not trusted"


def test_the_folder_of_authorities_is_read(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # OpenSSL finds an authority by a hash of its name in canonical form: here `CN=authority`, a UTF8String, in a SET.
    canonical = bytes.fromhex("311230100603550403 0c09") + b"authority"
    name = int.from_bytes(hashlib.sha1(canonical).digest()[:4], "little")
    (tmp_path / f"{name:08x}.0").write_bytes(authority.file.read_bytes())
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with serving(certificate=authority.certificate("issuer.test")) as server:
        assert HTTPTransport(resolve=here)(Request("GET", f"https://issuer.test:{server.port}/")).status == 200


@pytest.mark.parametrize(
    ("names", "days", "kind"),
    [
        (["other.test"], 1, "certificate of another host"),
        (["issuer.test"], -1, "certificate expired"),
        (["127.0.0.2"], 1, "certificate of another host"),
    ],
)
def test_170_a_certificate_of_another_host_and_an_expired_one_are_told_apart(
    authority: Authority, names: list[str], days: int, kind: str
) -> None:
    certificate = authority.certificate(*names, ends=dt.timedelta(days=days))
    with serving(certificate=certificate) as server:
        host = "issuer.test" if names[0].endswith("test") else "127.0.0.1"
        failed = failure(HTTPTransport(ca_file=authority.file, resolve=here), f"https://{host}:{server.port}/")
    assert str(failed) == kind
    assert "certificate verify failed" in str(failed.__cause__)
    assert server.asked == []


def test_a_server_that_speaks_no_tls_is_called_that(authority: Authority) -> None:
    with serving() as server:
        assert str(failure(HTTPTransport(), f"https://127.0.0.1:{server.port}/")) == "TLS failed"


def test_166_what_kept_an_issuer_from_being_reached_is_said_in_a_few_fixed_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    refused = failure(HTTPTransport(), f"http://127.0.0.1:{closed}/")
    assert (str(refused), type(refused.__cause__)) == ("connection refused", ConnectionRefusedError)
    unknown = failure(HTTPTransport(resolve=nowhere), "https://issuer.test/")
    assert (str(unknown), type(unknown.__cause__)) == ("no such name", socket.gaierror)
    with serving(lambda _: (200, {"Content-Length": "5"}, b"x")) as server:
        assert str(failure(HTTPTransport(timeout=0.3), f"http://127.0.0.1:{server.port}/")) == "timed out"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answers = {b"": "connection reset", b"HELLO\r\n\r\n": "malformed answer"}
        for answer, kind in answers.items():
            assert str(_against(listener, answer)) == kind
        cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"
        assert str(_against(listener, cut)) == "answer cut short"


def _against(listener: socket.socket, answer: bytes) -> TransportError:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    failed = failure(HTTPTransport(timeout=5), f"http://127.0.0.1:{listener.getsockname()[1]}/")
    thread.join(10)
    return failed


def test_no_failure_shows_an_address_or_what_stands_in_one(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(certificate=authority.certificate("other.test")) as server:
        for host in (f"issuer.test:{server.port}", "issuer.test:1", "127.0.0.1:1"):
            for transport in (HTTPTransport(resolve=here), HTTPTransport(proxy="http://user:pass-word@127.0.0.1:1")):
                url = f"https://user:pass-word@{host}/keys?api_key=pass-word"
                failed = failure(transport, url, headers={"Authorization": "Basic pass-word"})
                told = shown(failed) + repr(transport) + caplog.text
                assert "pass-word" not in told
                assert "Max retries" not in told


def shown(error: BaseException | None) -> str:
    """What a traceback says of an exception and of those behind it."""
    if error is None:
        return ""
    behind = error.__cause__ if error.__suppress_context__ else error.__cause__ or error.__context__
    return "".join(traceback.format_exception_only(error)) + repr(error) + shown(behind)


def test_170_https_goes_through_a_tunnel_and_the_proxy_sees_no_more_than_the_host(authority: Authority) -> None:
    with (
        serving(certificate=authority.certificate("issuer.test")) as server,
        proxying(server.port) as proxy,
    ):
        # Nobody here looks the name up: the proxy does.
        transport = HTTPTransport(
            ca_file=authority.file, proxy=f"http://api:s%40cret@{proxy.url}", resolve=only_proxies
        )
        for _ in range(2):
            answer = transport(
                Request("POST", "https://issuer.test:8443/introspect", {"Authorization": "Basic x"}, b"token=t")
            )
            assert answer.body == b"{}"
        transport.close()
    assert [line.rpartition("/")[0] for line in proxy.asked] == ["CONNECT issuer.test:8443 HTTP"]
    assert proxy.authorizations == ["Basic YXBpOnNAY3JldA=="]
    assert [one.target for one in server.asked] == ["/introspect", "/introspect"]
    assert all("proxy-authorization" not in one.headers for one in server.asked)


def only_proxies(host: str, port: int, **_: Any) -> Sequence[Any]:
    assert host == "127.0.0.1"
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def test_170_a_certificate_is_checked_behind_a_tunnel_too(authority: Authority) -> None:
    with serving(certificate=authority.certificate("other.test")) as server, proxying(server.port) as proxy:
        transport = HTTPTransport(ca_file=authority.file, proxy=proxy.url)
        assert str(failure(transport, "https://issuer.test/")) == "certificate of another host"
    assert server.asked == []


@pytest.mark.parametrize("status", [407, 502, 503])
def test_a_proxy_that_refuses_is_named_by_its_status_and_not_quoted(authority: Authority, status: int) -> None:
    with proxying(1, refuse=status) as proxy:
        failed = failure(HTTPTransport(proxy=f"http://api:pass-word@{proxy.url}"), "https://issuer.test/")
    assert str(failed) == f"proxy: status {status}"
    assert "secret reason" not in shown(failed)


def test_a_proxy_that_is_not_there_is_told_from_an_issuer_that_is_not() -> None:
    failed = failure(HTTPTransport(proxy="http://127.0.0.1:1"), "https://issuer.test/")
    assert str(failed) == "proxy: connection refused"
    failed = failure(HTTPTransport(proxy="http://proxy.test:1", resolve=nowhere), "https://issuer.test/")
    assert str(failed) == "proxy: no such name"


def test_170_a_proxy_that_is_silent_holds_nobody_past_the_deadline() -> None:
    with proxying(1, silent=True) as proxy:
        assert str(failure(HTTPTransport(proxy=proxy.url, timeout=0.3), "https://issuer.test/")) == "timed out"


def test_http_that_may_leave_the_machine_is_asked_of_the_proxy(authority: Authority) -> None:
    with serving() as proxy:
        transport = HTTPTransport(proxy=f"http://api:s%40cret@127.0.0.1:{proxy.port}", resolve=only_proxies)
        assert transport(Request("GET", "http://issuer.internal:5000/keys", insecure=True)).body == b"{}"
    assert [(one.target, one.headers["host"], one.headers["proxy-authorization"]) for one in proxy.asked] == [
        ("http://issuer.internal:5000/keys", "issuer.internal:5000", "Basic YXBpOnNAY3JldA==")
    ]


def test_no_proxy_is_asked_for_what_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with serving() as server:
        assert HTTPTransport()(Request("GET", f"http://127.0.0.1:{server.port}/")).status == 200
        assert HTTPTransport(proxy="127.0.0.1:1")(Request("GET", f"http://localhost:{server.port}/")).status == 200
        transport = HTTPTransport(resolve=here)
        assert str(failure(transport, f"https://issuer.test:{server.port}/")) == "proxy: connection refused"
        assert (
            str(failure(HTTPTransport(proxy="", resolve=here), f"https://issuer.test:{server.port}/")) == "TLS failed"
        )


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({"HTTPS_PROXY": "http://p:3128"}, "https://issuer.test/", "http://p:3128"),
        ({"HTTPS_PROXY": "p:3128"}, "https://issuer.test/", "http://p:3128"),
        ({"HTTPS_PROXY": "http://p:3128/"}, "https://issuer.test/", "http://p:3128"),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": "http://p:2"}, "https://issuer.test/", "http://p:2"),
        ({"HTTPS_PROXY": "http://p:3128"}, "http://issuer.test/", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http://issuer.test/", "http://p:3128"),
        ({"HTTP_PROXY": "http://p:3128"}, "https://issuer.test/", None),
        ({"HTTP_PROXY": "http://p:3128", "REQUEST_METHOD": "GET"}, "http://issuer.test/", None),
        ({"http_proxy": "http://p:3128", "REQUEST_METHOD": "GET"}, "http://issuer.test/", "http://p:3128"),
        ({"HTTPS_PROXY": ""}, "https://issuer.test/", None),
        ({}, "https://issuer.test/", None),
    ],
)
def test_the_standard_variables_name_a_proxy(environ: dict[str, str], url: str, proxy: str | None) -> None:
    found = from_environment(environ).of(url)
    assert (found.url if found is not None else None) == proxy


def test_the_credentials_of_a_proxy_are_its_alone_and_shown_nowhere() -> None:
    proxies = only("http://api:s%40cret@p:3128")
    found = proxies.of("https://issuer.test/")
    assert found is not None
    assert found.headers == {"Proxy-Authorization": "Basic YXBpOnNAY3JldA=="}
    assert str(found) == "Proxy(url='http://p:3128')"
    assert not any(secret in repr(proxies) for secret in ("s%40cret", "s@cret", "YXBp"))


@pytest.mark.parametrize(
    ("no_proxy", "direct", "proxied"),
    [
        ("*", ["issuer.test", "10.0.0.1", "[fd00::1]"], []),
        ("issuer.test", ["issuer.test", "a.issuer.test", "issuer.test.", "issuer.test:8443"], ["myissuer.test", "issuer.tests", "test"]),
        (".issuer.test", ["a.issuer.test", "issuer.test"], ["aissuer.test"]),
        ("*.issuer.test", ["a.issuer.test"], ["aissuer.test"]),
        ("ISSUER.test", ["issuer.TEST"], []),
        ("issuer.test:8443", ["issuer.test:8443"], ["issuer.test", "issuer.test:844"]),
        ("issuer.test:443", ["issuer.test"], ["issuer.test:8443"]),
        ("a.test, issuer.test ,,b.test", ["a.test", "issuer.test", "b.test"], ["c.test"]),
        ("10.1.0.0/16", ["10.1.2.3"], ["10.2.0.1", "issuer.test"]),
        ("10.1.2.3", ["10.1.2.3"], ["10.1.2.30", "110.1.2.3"]),
        ("10.1.2.3:8443", ["10.1.2.3:8443"], ["10.1.2.3"]),
        ("fd00::/8", ["[fd00::1]"], ["[fe80::1]", "10.1.2.3"]),
        ("fd00::1", ["[fd00::1]"], ["[fd00::2]"]),
        ("[fd00::1]:8443", ["[fd00::1]:8443"], ["[fd00::1]"]),
        (".", [], ["issuer.test"]),
        ("", [], ["issuer.test"]),
    ],
)  # fmt: skip
def test_no_proxy_names_hosts_domains_ports_and_networks(no_proxy: str, direct: list[str], proxied: list[str]) -> None:
    proxies = from_environment({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": no_proxy})
    assert [host for host in direct if proxies.of(f"https://{host}/") is not None] == []
    assert [host for host in proxied if proxies.of(f"https://{host}/") is None] == []
    assert only("p:1").of("https://127.0.0.1/") is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "[::1]"])
def test_this_machine_is_asked_directly_whatever_the_environment_says(host: str) -> None:
    assert (
        from_environment({"HTTPS_PROXY": "http://p:3128", "HTTP_PROXY": "http://p"}).of(f"http://{host}:5000/") is None
    )


BAD = [
    "https://user:pass-word@p:3128",
    "socks5://user:pass-word@p",
    "http://user:pass-word@p/path",
    "http://user:pass-word@",
    "http://user:pass-word@p:x",
]


@pytest.mark.parametrize("proxy", BAD)
def test_a_proxy_that_cannot_work_is_refused_by_name_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    with pytest.raises(ValueError, match=r"^proxy must be http://host:port") as refused:
        HTTPTransport(proxy=proxy)
    assert "pass-word" not in str(refused.value)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ValueError, match=r"^HTTPS_PROXY must be") as refused:
        HTTPTransport()
    assert "pass-word" not in str(refused.value)


def test_a_file_of_authorities_that_holds_none_is_refused_by_name(tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    for path in (empty, tmp_path):
        with pytest.raises(ValueError, match="ca_file"):
            HTTPTransport(ca_file=path)
    empty.write_text("none")
    with pytest.raises(ValueError, match=r"ca_file .*ca\.pem"):
        HTTPTransport(ca_file=empty)
