"""Which addresses outside are asked: facts/security.md case 83, at registration and at each fetch."""

import json
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from issuer.outside.addresses import Guarded, is_public
from issuer.outside.key_sources import KeysAt, KeysOutOfReach, OutsideKeys
from issuer.outside.transport import Outside
from realmint.messages import Request, TransportError
from realmint.protocol.jws import peek
from tests.issuer.conftest import READER, Lines
from tests.support.assertions import Signer, ask
from tests.support.clock import FakeClock
from tests.support.issuer import Issuer
from tests.support.publisher import Publisher, publishing
from tests.support.servers import proxying
from tests.support.tls import DAY, Authority
from tests.support.wire import assert_refused

PRIVATE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1",
    "169.254.169.254", "192.0.0.1", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8", "2002:7f00:1::1", "2002:a00:1::", "100::1",
    "2001::1:2:3:80ff:fffe", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "3fff::1", "5f00::1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "ff02::1", "ff0e::1", "4000::1",
    "::ffff:224.0.0.1", "", "a", "1.2.3", "8.8.8.8.8",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "2606:4700::1111",
    "2a00:1450::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_83_an_address_of_anybodys_own_network_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_83_an_address_of_the_net_is(address: str) -> None:
    assert is_public(address)


REGISTRATION = [
    "http://svc.example/keys", "http://svc.example:8443/keys", "ftp://svc.example/keys", "file:///etc/passwd", "file:keys",
    "data:application/json,{}", "gopher://svc.example/", "javascript:1", "svc.example/keys", "//svc.example/keys",
    "https:svc.example", "https://", "https:///keys", "https://svc.example:99999/keys", "https://svc.example:x/keys",
    "https://user@svc.example/keys", "https://user:pw@svc.example/keys", "https://svc.example@127.0.0.1/keys",
    "https://svc.example/keys#x", "https://svc.example\\@127.0.0.1/", "https://svc.example/ keys", "https://svc.example/\n",
    "https://\u0455vc.example/keys", "https://127.0.0.1/keys", "https://127.1.2.3/keys", "https://10.0.0.1/keys",
    "https://192.168.1.1:8443/keys", "https://169.254.169.254/latest/meta-data", "https://0.0.0.0/", "https://[::1]/keys",
    "https://[::ffff:127.0.0.1]/keys", "https://[::ffff:7f00:1]/keys", "https://[fe80::1]/keys", "https://[fc00::1]/",
    "https://[64:ff9b::7f00:1]/keys", "https://[2002:7f00:1::]/keys", "https://[ff02::1]/", "https://[::127.0.0.1]/",
    "https://[fec0::1]/", "https://localhost/keys", "https://LOCALHOST/keys", "https://a.localhost/keys",
    "https://localhost./keys", "https://a.localhost./", "http://127.0.0.1:8080/keys", "http://localhost:8080/keys",
    "http://[::1]:8080/keys", "https://svc.example:22/keys", "https://svc.example:25/keys", "https://svc.example:80/keys",
    "https://svc.example:0/keys", "https://8.8.8.8:22/keys", "https://2130706433/keys", "https://0x7f000001/keys",
    "https://0177.0.0.1/keys", "https://127.1/keys", "https://0/keys", "https://" + "x" * 2100 + ".example/",
]  # fmt: skip


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    """With one client, to which nothing is ever added."""
    issuer = Issuer(tmp_path_factory.mktemp("desk"), FakeClock())
    issuer.runtime.boot()
    issuer.run(f"clients create svc --auth-method private_key_jwt {READER}")
    yield issuer
    issuer.runtime.close()


@pytest.mark.parametrize("url", REGISTRATION)
def test_83_an_address_that_can_never_be_asked_is_not_registered(desk: Issuer, url: str) -> None:
    issuer = desk
    runner = issuer.app.test_cli_runner()
    lines = [
        ["clients", "keys", "add", "svc", "--jwks-uri", url, "--json"],
        ["clients", "trust", "add", "svc", "--issuer", "https://ci.example", "--match", "sub=a", "--jwks-uri", url],
        ["clients", "trust", "add", "svc", "--issuer", url, "--match", "sub=a"],
    ]
    for line in lines:
        result = runner.invoke(args=line)
        assert result.exit_code == 2, (line, result.output)
        assert "Traceback" not in result.output
    assert issuer.run("clients keys list svc") == issuer.run("clients trust list svc") == []


@pytest.mark.parametrize(
    "url",
    ["https://svc.example/keys", "https://svc.example:8443/a?b=c", "https://[2606:4700::1111]/k", "https://8.8.8.8/k"],
)
def test_83_an_address_of_the_net_is_registered_and_nobody_asks_for_it_then(issuer: Issuer, url: str) -> None:
    issuer.run("clients create svc --auth-method private_key_jwt")
    assert issuer.run(f"clients keys add svc --jwks-uri '{url}'")["keys"][0]["jwks_uri"] == url


class Names:
    """A resolver of the test's own: where each name leads, one answer after the other."""

    def __init__(self, **leads: list[str]) -> None:
        self.leads = {name.replace("_", "."): addresses for name, addresses in leads.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **_: Any) -> Sequence[Any]:
        self.asked.append(host)
        addresses = self.leads.get(host)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        now = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in now.split()]


def get(url: str, names: Names, internal: Sequence[str] = ()) -> Any:
    return Outside(Guarded(internal, names))(Request("GET", url, {}))


@pytest.mark.parametrize("leads", ["127.0.0.1", "10.1.2.3", "8.8.8.8 127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254"])
def test_83_a_name_that_leads_into_a_private_network_is_not_asked(lines: Lines, leads: str) -> None:
    with publishing() as publisher:
        names = Names(rebind_example=[leads])
        with pytest.raises(TransportError):
            get(f"https://rebind.example:{publisher.port}/keys", names)
        assert publisher.asked == []
    assert set(names.asked) == {"rebind.example"}
    (line, *_) = [line for line in lines.text if "outside_address_refused" in line]
    assert ("private_address" in line, len(line) < 300) == (True, True)


def test_83_a_name_that_leads_elsewhere_a_moment_later_is_looked_at_with_each_connection() -> None:
    """What was looked up is what is connected to: there is no second look-up that could say something else."""
    guarded_first: list[str] = []
    names = Names(rebind_example=["192.0.2.9", "127.0.0.1"], good_example=["127.0.0.1"])

    def resolve(host: str, port: int, **more: Any) -> Sequence[Any]:
        guarded_first.append(host)
        return names(host, port, **more)

    with publishing() as publisher:
        inside = f"good.example:{publisher.port}"
        guarded = Guarded([inside], resolve)
        for _ in range(3):
            with pytest.raises(TransportError):
                Outside(guarded)(Request("GET", f"https://rebind.example:{publisher.port}/keys", {}))
        assert publisher.asked == []
        # A name that is allowed is asked wherever it leads, on the port that is allowed and no other.
        assert [each[4][0] for each in guarded("good.example", publisher.port)] == ["127.0.0.1"]
        with pytest.raises(OSError, match="may not be asked"):
            guarded("good.example", publisher.port + 1)
    assert guarded_first


@pytest.mark.parametrize(
    ("named", "asked", "others"),
    [
        ("[fd00::1]:8443", ("fd00::1", 8443), [("fd00::1", 443), ("fd00::1:8443", 9000), ("fd00::1:8443", 443)]),
        ("[FD00::1:8443]", ("fd00::1:8443", 9000), [("fd00::1", 8443), ("fd00::1", 443)]),
        ("[fd00::1]", ("fd00::1", 9000), [("fd00::1:9000", 443)]),
    ],
)
def test_83_the_port_of_an_address_that_is_named_is_no_end_of_another(
    make_issuer: Callable[..., Issuer], named: str, asked: tuple[str, int], others: list[tuple[str, int]]
) -> None:
    guarded = make_issuer(INTERNAL_HOSTS=named).runtime.addresses_outside
    assert guarded.fault(f"https://[{asked[0]}]:{asked[1]}/keys") is None
    assert [each[4][:2] for each in guarded(*asked, type=socket.SOCK_STREAM)] == [asked]
    for host, port in others:
        assert guarded.fault(f"https://[{host}]:{port}/keys") == "a private address"
        with pytest.raises(OSError, match="may not be asked"):
            guarded(host, port, type=socket.SOCK_STREAM)


@pytest.mark.parametrize("port", [1, 22, 25, 80, 1023])
def test_83_a_port_of_another_service_is_not_asked(port: int) -> None:
    names = Names(svc_example=["8.8.8.8"])
    with pytest.raises(OSError, match="port"):
        Guarded([], names)("svc.example", port)
    assert names.asked == []


def test_83_a_number_that_stands_for_an_address_is_looked_at_as_the_address() -> None:
    for host in ("2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "localhost"):
        with pytest.raises(OSError, match="may not be asked"):
            Guarded([])(host, 443, type=socket.SOCK_STREAM)


@pytest.mark.parametrize("leads", ["127.0.0.1", "10.0.0.1"])
def test_83_keys_at_such_a_name_are_out_of_reach(clock: FakeClock, leads: str) -> None:
    outside = OutsideKeys(
        Outside(Guarded([], Names(svc_example=[leads]))), clock.wall, clock.monotonic, background=False
    )
    token = peek(Signer("svc").assertion(clock.now))
    for at in (KeysAt(None, "https://svc.example/keys"), KeysAt("https://svc.example", None)):
        with pytest.raises(KeysOutOfReach):
            outside.find(at, token)
    outside.close()


def test_83_an_address_that_nobody_allows_any_more_is_503_and_one_short_line(
    make_issuer: Callable[..., Issuer], request: pytest.FixtureRequest
) -> None:
    """Whether there is such a key nobody can tell, so that it is no 401; and nobody connects."""
    with publishing() as publisher:
        signer = registered(make_issuer("one", INTERNAL_HOSTS=publisher.internal), publisher)
        again = make_issuer("one")
        lines: Lines = request.getfixturevalue("lines")
        response = ask(again, signer.assertion(again.clock.now))
        assert_refused(response, "temporarily_unavailable", also={"Retry-After": response.headers["Retry-After"]})
        assert publisher.asked == []
    said = [json.loads(line) for line in lines.json if "outside" in line]
    assert said
    assert all(len(json.dumps(each)) < 300 for each in said)


def registered(issuer: Issuer, publisher: Publisher) -> Signer:
    issuer.runtime.boot()
    issuer.run(f"clients create svc --auth-method private_key_jwt {READER}")
    issuer.run(f"clients keys add svc --jwks-uri {publisher.jwks_uri}")
    signer = Signer("svc")
    publisher.publish(signer)
    return signer


@pytest.mark.parametrize(
    ("names", "days", "trusted", "status"),
    [(["127.0.0.1"], 1, True, 200), (["127.0.0.1"], 1, False, 503), (["127.0.0.1"], -1, True, 503),
     (["other.example"], 1, True, 503)],
)  # fmt: skip
def test_83_keys_come_over_tls_from_who_can_show_that_it_is_who_was_named(
    make_issuer: Callable[..., Issuer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], days: int,
    trusted: bool, status: int,
) -> None:  # fmt: skip
    authority = Authority(tmp_path / "one")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with publishing(authority.certificate(*names, ends=days * DAY)) as publisher:
        issuer = make_issuer(INTERNAL_HOSTS=publisher.internal)
        signer = registered(issuer, publisher)
        assert ask(issuer, signer.assertion(issuer.clock.now)).status_code == status
        assert publisher.paths == (["/keys"] if status == 200 else [])


def test_83_no_proxy_is_asked_for_keys(
    make_issuer: Callable[..., Issuer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would look a name up where nobody here sees what it leads to."""
    with proxying(9) as proxy, publishing() as publisher:
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.url}")
        issuer = make_issuer(INTERNAL_HOSTS=publisher.internal)
        assert ask(issuer, registered(issuer, publisher).assertion(issuer.clock.now)).status_code == 200
        with pytest.raises(TransportError):
            get("https://rebind.example/keys", Names(rebind_example=["10.0.0.1"]))
        assert proxy.asked == []
