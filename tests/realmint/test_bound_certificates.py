"""Certificates of clients at every adapter: from the server, or from a header of a named proxy, and from nobody else."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from issuer.certificate import Presented as ShownToOurServer
from issuer.serving.environ import Environs, Head
from realmint import ClientCertificates, DPoPPolicy
from realmint.arrivals import OfEnviron, OfScope
from realmint.testing import FakeIssuer, Prover, client_certificate
from tests.realmint.test_bound_adapters import PROTECTED, URL, said
from tests.support.certificates import as_envoy, as_nginx, pem
from tests.support.doors import SITES, Door, site

AUDIENCE = "https://orders.example"
CERTIFICATE, OTHER = client_certificate(), client_certificate()
SCOPE = "orders:read"
Make = Callable[..., Door]


@pytest.fixture
def issuer() -> FakeIssuer:
    return FakeIssuer()


@pytest.fixture
def holder(issuer: FakeIssuer) -> Prover:
    return issuer.prover()


@pytest.fixture(params=sorted(SITES))
def make(request: pytest.FixtureRequest, issuer: FakeIssuer) -> Iterator[Make]:
    """Makes the API behind one adapter; `options` are those of its ResourceServer."""
    with ExitStack() as stack:

        def made(protect: Any = None, audience: str = AUDIENCE, **options: Any) -> Door:
            api = issuer.resource_server(audience, **{"dpop": DPoPPolicy(), **options})
            return site(stack, request.param, api, protect)

        yield made


def by_certificate(issuer: FakeIssuer) -> tuple[str, str]:
    return "Authorization", f"Bearer {issuer.issue(audience=AUDIENCE, scope=SCOPE, bound_to=CERTIFICATE)}"


@PROTECTED
@pytest.mark.rfc("8705", "3")
def test_92_a_certificate_that_the_server_saw_counts_where_it_is_to(
    make: Make, issuer: FakeIssuer, protect: Any
) -> None:
    sent = by_certificate(issuer)
    door = make(protect, dpop=None, certificates=ClientCertificates())
    for _ in range(2):
        assert door.send("GET", "/orders", sent, certificate=pem(CERTIFICATE)).status == 200
        for other in (pem(OTHER), None, "", pem(CERTIFICATE) + pem(OTHER), "x"):
            answer = door.send("GET", "/orders", sent, certificate=other)
            assert answer == said("Bearer", "invalid_token", "The token is bound to a key that was not proven")
    door = make(protect, dpop=None)
    assert door.send("GET", "/orders", sent, certificate=pem(CERTIFICATE)).status == 401


WRITTEN: dict[str, Callable[[bytes], str]] = {"nginx": as_nginx, "envoy": as_envoy}


@pytest.mark.parametrize("form", sorted(WRITTEN))
@PROTECTED
@pytest.mark.rfc("9440", "2.4")
def test_91_92_a_header_counts_from_a_named_proxy_alone(
    make: Make, issuer: FakeIssuer, form: str, protect: Any
) -> None:
    named = ClientCertificates(proxies=["10.0.0.0/8", "::1", "unix"], header="X-Client-Cert", format=form)
    door, write = make(protect, dpop=None, certificates=named), WRITTEN[form]
    sent, good, bad = by_certificate(issuer), ("X-Client-Cert", write(CERTIFICATE)), ("X-Client-Cert", write(OTHER))

    def status(*headers: tuple[str, str], **more: Any) -> int:
        return door.send("GET", "/orders", sent, *headers, **more).status

    for peer in ("10.1.2.3", "::1", "::ffff:10.1.2.3", None):
        assert status(good, peer=peer) == 200
        assert status(peer=peer) == status(bad, peer=peer) == 401
        assert status(good, good, peer=peer) == status(good, bad, peer=peer) == status(bad, good, peer=peer) == 401
        assert status(("Client-Cert", write(CERTIFICATE)), peer=peer) == 401
        assert status(peer=peer, certificate=pem(CERTIFICATE)) == 401, "that one is the proxy's own"
        assert status(good, peer=peer, certificate=pem(OTHER)) == 200
    for peer in ("11.0.0.1", "127.0.0.1", "::2", "10.1.2.3.evil", "testclient"):
        forged = [("X-Forwarded-For", "10.1.2.3"), ("X-Real-IP", "10.1.2.3"), ("Forwarded", "for=10.1.2.3")]
        assert status(good, *forged, peer=peer) == 401
        assert status(bad, peer=peer, certificate=pem(CERTIFICATE)) == 200


@PROTECTED
def test_104_both_members_need_both(make: Make, issuer: FakeIssuer, holder: Prover, protect: Any) -> None:
    door = make(protect, certificates=ClientCertificates())
    both = issuer.issue(audience=AUDIENCE, scope=SCOPE, bound_to=(holder, CERTIFICATE))

    def status(**more: Any) -> int:
        return door.send("GET", "/orders", *holder.headers("GET", URL, both), **more).status

    assert [status(certificate=pem(CERTIFICATE)), status(certificate=pem(OTHER)), status()] == [200, 401, 401]
    assert door.send("GET", "/orders", ("Authorization", f"Bearer {both}"), certificate=pem(CERTIFICATE)).status == 401


HEAD = Head(b"GET", b"/orders", "1.0", [], "192.0.2.1", ShownToOurServer(CERTIFICATE, verified=True))


def test_91_a_certificate_comes_from_where_each_server_puts_it() -> None:
    class Socket:
        def getpeercert(self, *, binary_form: bool) -> bytes:
            raise AssertionError("it is no TLS")

    for environ, found in (
        ({"realmint.client_certificate": CERTIFICATE}, CERTIFICATE),
        (Environs(443, secure=True, multiprocess=False).of(HEAD), CERTIFICATE),
        ({"realmint.client_certificate": None}, None),
        ({"SSL_CLIENT_CERT": pem(CERTIFICATE)}, CERTIFICATE),
        ({"gunicorn.socket": Socket()}, None),
        ({"HTTP_SSL_CLIENT_CERT": pem(CERTIFICATE)}, None),
        ({"HTTP_CLIENT_CERT": as_nginx(CERTIFICATE)}, None),
    ):
        assert ClientCertificates().of(OfEnviron(environ)) == found
    for tls in (
        {"client_cert_chain": [pem(CERTIFICATE)], "client_cert_error": "expired"},
        {"client_cert_chain": []},
        {},
        None,
    ):
        assert ClientCertificates().of(OfScope({"extensions": {"tls": tls}})) is None
    assert ClientCertificates().of(OfScope({})) is None
    proxied = {"REMOTE_ADDR": "10.9.9.9", "werkzeug.proxy_fix.orig": {"REMOTE_ADDR": "192.0.2.1"}}
    assert OfEnviron(proxied).peer() == "192.0.2.1"


@pytest.mark.parametrize(
    "options",
    [{"proxies": ["10.0.0.0/8"]}, {"header": "Client-Cert"}, {"format": "nginx"}, {"proxies": "10.0.0.0/8"},
     {"proxies": ["10.0.0.0/8"], "header": "Client-Cert"}, {"proxies": [], "header": "Client-Cert", "format": "nginx"},
     {"proxies": ["10.0.0.1/8"], "header": "Client-Cert", "format": "nginx"},
     {"proxies": ["*"], "header": "Client-Cert", "format": "nginx"},
     {"proxies": ["10.0.0.0/8"], "header": "Client_Cert", "format": "nginx"},
     {"proxies": ["10.0.0.0/8"], "header": "Client-Cert", "format": "pem"}],
    ids=str,
)  # fmt: skip
def test_91_half_a_proxy_is_refused_at_the_start(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="ClientCertificates"):
        ClientCertificates(**options)
