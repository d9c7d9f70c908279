"""Bound tokens at every adapter: the same answers to the same requests, byte for byte, and nothing believed of a caller."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import realmint.asgi
import realmint.wsgi
from issuer.certificate import Presented as ShownToOurServer
from issuer.serving.environ import Environs, Head
from realmint import ClientCertificates, DPoPPolicy, MemoryReplays, ResourceServer, SQLiteReplays
from realmint.arrivals import OfEnviron, OfScope
from realmint.testing import FakeIssuer, Prover, client_certificate
from tests.realmint.test_adapters import AT, MALFORMED, refused
from tests.support.certificates import as_envoy, as_nginx, pem
from tests.support.doors import OPEN, SITES, Answered, Door, exchange, site

AUDIENCE = "https://orders.example"
URL = f"{AUDIENCE}/orders"
POINTER = f'resource_metadata="{AUDIENCE}{AT}"'
ALGS = 'algs="ES256 EdDSA ES384 PS256"'
CERTIFICATE, OTHER = client_certificate(), client_certificate()
HEAD = Head(b"GET", b"/orders", "1.0", [], "192.0.2.1", ShownToOurServer(CERTIFICATE, verified=True))
SCOPE = "orders:read"
Make = Callable[..., Door]


@pytest.fixture
def issuer() -> FakeIssuer:
    return FakeIssuer()


@pytest.fixture
def holder(issuer: FakeIssuer) -> Prover:
    return issuer.prover()


@pytest.fixture
def token(issuer: FakeIssuer, holder: Prover) -> str:
    return issuer.issue(audience=AUDIENCE, scope=SCOPE, client_id="svc", bound_to=holder)


@pytest.fixture(params=sorted(SITES))
def make(request: pytest.FixtureRequest, issuer: FakeIssuer) -> Iterator[Make]:
    """Makes the API behind one adapter; `options` are those of its ResourceServer."""
    with ExitStack() as stack:

        def made(protect: Any = None, audience: str = AUDIENCE, **options: Any) -> Door:
            api = issuer.resource_server(audience, **{"dpop": DPoPPolicy(), **options})
            return site(stack, request.param, api, protect)

        yield made


PROTECTED = pytest.mark.parametrize("protect", [None, OPEN], ids=["marked", "protected"])


def said(scheme: str, error: str, description: str, beside: str = "", more: str = "") -> Answered:
    """A refusal with 401, both schemes in one value of WWW-Authenticate."""
    own = f"{ALGS}, " if scheme == "DPoP" else ""
    challenge = f'{scheme} error="{error}", error_description="{description}", {own}{POINTER}{beside}'
    made = refused(401, error, description, "x", *([("dpop-nonce", more)] if more else []))
    headers = [(name, challenge if name == "www-authenticate" else value) for name, value in made.headers]
    return made._replace(headers=tuple(sorted(headers)))


BEARER, DPOP = f", Bearer {POINTER}", f", DPoP {ALGS}, {POINTER}"


@PROTECTED
@pytest.mark.rfc("9449", "7.1")
def test_93_103_105_a_bound_token_gets_in_with_its_proof_once(
    make: Make, holder: Prover, token: str, protect: Any
) -> None:
    door = make(protect)
    for path in ("/orders", "/any"):
        headers = holder.headers("GET", AUDIENCE + path, token)
        answer = door.send("GET", path, *headers)
        assert (answer.status, answer.body) == (200, b"svc")
        again = door.send("GET", path, *headers)
        assert again == said("DPoP", "invalid_dpop_proof", "The DPoP proof was used before", BEARER)


@PROTECTED
@pytest.mark.rfc("9449", "7.1")
def test_101_102_103_a_refusal_is_the_same_bytes_from_every_adapter(
    make: Make, issuer: FakeIssuer, holder: Prover, token: str, protect: Any
) -> None:
    door, unproven = make(protect), "The token is bound to a key that was not proven"
    for scheme in ("DPoP", "dpop", "DPOP"):
        answer = door.send("GET", "/orders", ("Authorization", f"{scheme} {token}"))
        assert answer == said("DPoP", "invalid_dpop_proof", "There is no DPoP proof", BEARER)
    answer = door.send("GET", "/orders", *issuer.prover().headers("GET", URL, token))
    assert answer == said("DPoP", "invalid_token", unproven, BEARER)
    answer = door.send("GET", "/orders", ("Authorization", f"Bearer {token}"), *holder.headers("GET", URL, token)[1:])
    assert answer == said("Bearer", "invalid_token", unproven, DPOP)
    plain = issuer.issue(audience=AUDIENCE, scope=SCOPE)
    answer = door.send("GET", "/orders", *holder.headers("GET", URL, plain))
    assert answer == said("DPoP", "invalid_token", "The token is not bound to a key", BEARER)
    assert door.send("GET", "/orders", ("Authorization", f"Bearer {plain}")).status == 200
    challenge = door.send("GET", "/any").header("www-authenticate")
    assert challenge == f"Bearer {POINTER}{DPOP}"


@PROTECTED
def test_94_two_proofs_are_none(make: Make, holder: Prover, token: str, protect: Any) -> None:
    door = make(protect)
    for names in (("DPoP", "DPoP"), ("DPoP", "dpop")):
        proofs = [(name, holder.proof("GET", URL, token)) for name in names]
        answer = door.send("GET", "/orders", ("Authorization", f"DPoP {token}"), *proofs)
        assert answer == said("DPoP", "invalid_dpop_proof", "There is more than one DPoP proof", BEARER)


@pytest.mark.parametrize(
    "values",
    [("Bearer {0}", "DPoP {0}"), ("DPoP {0}", "Bearer {0}"), ("DPoP {0}", "DPoP {0}"), ("DPoP {0}, Bearer {0}",),
     ("DPoP {0} {0}",), ("DPoP",), ("DPoP ",), ("DPoP\t{0}",), ("XDPoP {0}",), ("DPoP é",), ("Basic YTpi",)],
    ids=str,
)  # fmt: skip
@PROTECTED
@pytest.mark.rfc("9449", "7.2")
def test_104_135_two_schemes_two_headers_and_what_is_no_token_are_400(
    make: Make, holder: Prover, token: str, protect: Any, values: tuple[str, ...]
) -> None:
    sent = [("Authorization", value.format(token)) for value in values]
    answer = make(protect).send("GET", "/orders", *sent, *holder.headers("GET", URL, token)[1:])
    assert (answer.status, MALFORMED.encode() in answer.body) == (400, True)
    assert (answer.header("www-authenticate") or "").startswith('Bearer error="invalid_request"')


@PROTECTED
def test_a_good_proof_without_the_scope_is_403_though_it_is_looked_at_twice(
    make: Make, holder: Prover, token: str, protect: Any
) -> None:
    door = make(protect)
    answer = door.send("GET", "/admin", *holder.headers("GET", f"{AUDIENCE}/admin", token))
    assert answer.status == 403
    lacking = 'error="insufficient_scope", error_description="The token lacks a required scope", scope="orders:admin"'
    assert answer.header("www-authenticate") == f"DPoP {lacking}, {ALGS}, {POINTER}"


@PROTECTED
@pytest.mark.rfc("9449", "9")
def test_106_a_nonce_comes_with_the_refusal_that_asks_for_it(
    make: Make, holder: Prover, token: str, protect: Any
) -> None:
    door = make(protect, dpop=DPoPPolicy(nonce=b"n" * 32))
    answer = door.send("GET", "/orders", *holder.headers("GET", URL, token))
    nonce = answer.header("dpop-nonce") or ""
    assert answer == said("DPoP", "use_dpop_nonce", "The DPoP proof needs a nonce of this API", BEARER, nonce)
    assert door.send("GET", "/orders", *holder.headers("GET", URL, token, nonce=nonce)).status == 200


@PROTECTED
def test_where_proofs_are_required_that_alone_is_offered(
    make: Make, issuer: FakeIssuer, holder: Prover, token: str, protect: Any
) -> None:
    door, plain = make(protect, dpop=DPoPPolicy(required=True)), issuer.issue(audience=AUDIENCE, scope=SCOPE)
    assert door.send("GET", "/any").header("www-authenticate") == f"DPoP {ALGS}, {POINTER}"
    answer = door.send("GET", "/orders", ("Authorization", f"Bearer {plain}"))
    assert answer == said("DPoP", "invalid_token", "The token is not bound to a key")
    assert door.send("GET", "/orders", *holder.headers("GET", URL, token)).status == 200


@pytest.mark.rfc("9449", "4.3")
def test_21_99_the_address_is_the_api_s_own_whatever_a_caller_says(make: Make, holder: Prover, token: str) -> None:
    door = make(OPEN)
    for host in ("evil.example", "orders.example"):
        forged = [("Host", host), ("X-Forwarded-Host", host), ("X-Forwarded-Proto", "http"), ("X-Original-URL", "/any")]
        answer = door.send("GET", "/orders", *holder.headers("GET", URL, token), *forged)
        assert answer.status == 200
        headers = holder.headers("GET", "https://evil.example/orders", token)
        assert door.send("GET", "/orders", *headers, *forged).status == 401
    assert door.send("GET", "/orders?a=b%20c", *holder.headers("GET", f"{URL}?x=y", token)).status == 200
    assert door.send("POST", "/orders", *holder.headers("GET", URL, token)).status == 401
    assert door.send("HEAD", "/orders", *holder.headers("GET", URL, token)).status == 401
    assert door.send("HEAD", "/orders", *holder.headers("HEAD", URL, token)).status == 200


def test_99_a_path_counts_as_it_was_sent(make: Make, holder: Prover, token: str) -> None:
    door = make(OPEN)
    paths = ("/a%2Fb", "/a/b", "/%C3%A9", "/a%20b", "/a;b=c", "/a%3Bb", "//a", "/a%25b")
    for sent in paths:
        for proven in paths:
            headers = holder.headers("GET", AUDIENCE + proven, token)
            assert door.send("GET", sent, *headers).status == (404 if sent == proven else 401), (sent, proven)


@pytest.mark.parametrize("uri", [True, False], ids=["as sent", "decoded alone"])
def test_99_a_mounted_application_is_proven_by_its_whole_path(
    make: Make, holder: Prover, token: str, uri: bool
) -> None:
    door = make(OPEN)
    headers = holder.headers("GET", f"{AUDIENCE}/v1/orders", token)
    assert door.send("GET", "/orders", *headers, mount="/v1", uri=uri).status == 200
    assert door.send("GET", "/orders", *holder.headers("GET", URL, token), mount="/v1", uri=uri).status == 401
    # What no server says as it was sent is escaped again, where it has to be.
    headers = holder.headers("GET", f"{AUDIENCE}/v1/%C3%A9%20%25", token)
    assert door.send("GET", "/%C3%A9%20%25", *headers, mount="/v1", uri=uri).status == 404


@pytest.mark.rfc("9728", "2")
def test_the_metadata_says_how_tokens_are_to_be_bound(make: Make) -> None:
    def document(**options: Any) -> str:
        return make(OPEN, **options).send("GET", AT).body.decode()

    algorithms = '"dpop_signing_alg_values_supported":["ES256","EdDSA","ES384","PS256"]'
    required, certificates = (
        '"dpop_bound_access_tokens_required":true',
        '"tls_client_certificate_bound_access_tokens":true',
    )
    for options, there in (
        ({"dpop": None}, set()),
        ({}, {algorithms}),
        ({"dpop": DPoPPolicy(required=True)}, {algorithms, required}),
        ({"dpop": None, "certificates": ClientCertificates()}, {certificates}),
    ):
        text = document(**options)
        assert {one for one in (algorithms, required, certificates) if one in text} == there


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


def test_where_clients_reach_an_api_may_be_said(issuer: FakeIssuer, holder: Prover) -> None:
    api = issuer.resource_server("orders", dpop=DPoPPolicy())
    with pytest.raises(ValueError, match="a proof is for an address"):
        realmint.wsgi.Guard(api)
    for wrong in ("orders.example", "https://orders.example?x", "https://orders.example#x", "ftp://orders.example", ""):
        with pytest.raises(ValueError, match="url must be"):
            realmint.wsgi.Guard(api, url=wrong)
    token = issuer.issue(audience="orders", scope=SCOPE, bound_to=holder)
    environ = {"REQUEST_METHOD": "GET", "RAW_URI": "/orders?x", "HTTP_AUTHORIZATION": f"DPoP {token}"}
    guards: list[tuple[dict[str, Any], str]] = [
        ({"resource": AUDIENCE}, URL),
        ({"url": "https://public.example/orders-api/"}, "https://public.example/orders-api/orders"),
        ({"url": lambda path: f"https://public.example{path.upper()}"}, "https://public.example/ORDERS"),
        ({"resource": AUDIENCE, "url": "http://localhost:8000"}, "http://localhost:8000/orders"),
    ]
    for options, url in guards:
        app = realmint.wsgi.Guard(api, **options).protect(lambda _, start: start("204 No Content", []) or [])
        for proven, status in ((url, "204"), ("https://evil.example/orders", "401")):
            started: list[str] = []
            sent = {**environ, "HTTP_DPOP": holder.proof("GET", proven, token)}
            app(sent, lambda line, _, started=started: started.append(line[:3]))
            assert started == [status], (options, proven)


@pytest.mark.parametrize(
    ("target", "url"),
    [("https://evil.example/orders", URL), ("http://x?y", f"{AUDIENCE}/"), ("*", ""), (".evil.example/orders", ""),
     ("@evil.example/orders", ""), ("//evil.example/orders", f"{AUDIENCE}//evil.example/orders"), ("", "")],
)  # fmt: skip
def test_99_no_target_moves_the_host(issuer: FakeIssuer, target: str, url: str) -> None:
    from realmint.gate import _address
    from realmint.protected_resource import resource_of

    made = _address(resource_of([AUDIENCE], None), None)
    assert made is not None
    assert made(OfEnviron({"RAW_URI": target}).path()) == url


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


def test_an_api_that_takes_neither_knows_no_scheme_but_bearer(make: Make, holder: Prover, token: str) -> None:
    answer = make(OPEN, dpop=None).send("GET", "/orders", *holder.headers("GET", URL, token))
    assert answer.status == 400
    assert "DPoP" not in (answer.header("www-authenticate") or "")


def test_a_stranger_s_proof_is_not_looked_at_before_its_token(issuer: FakeIssuer, holder: Prover) -> None:
    asked: list[str] = []

    class Asking(ResourceServer):
        def validate(self, access_token: str, scope: str | None = None, **more: Any) -> Any:
            asked.append(str(sorted(more)))
            return super().validate(access_token, scope, **more)

    clocks = {"clock": issuer.clock.wall, "monotonic": issuer.clock.monotonic}
    api = Asking(issuer.issuer, AUDIENCE, transport=issuer, background=False, dpop=DPoPPolicy(), **clocks)
    with ExitStack() as stack:
        door = site(stack, "wsgi", api, OPEN)
        assert door.send("GET", "/orders", *holder.headers("GET", URL, "a.b.c")).status == 401
        good = issuer.issue(audience=AUDIENCE, scope=SCOPE, client_id="svc")
        assert door.send("GET", "/orders", ("Authorization", f"Bearer {good}")).status == 200
    assert asked == ["['live', 'presented']", "['live']"]


def test_105_a_memory_that_is_one_process_s_among_several_is_warned_of_once(
    issuer: FakeIssuer, holder: Prover, token: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def warned(replay: Any, several: bool, scheme: str = "DPoP") -> int:
        caplog.clear()
        api = issuer.resource_server(AUDIENCE, dpop=DPoPPolicy(replay=replay))
        app = realmint.wsgi.Guard(api).protect(lambda _, start: start("204 No Content", []) or [])
        for _ in range(3):
            environ = {"REQUEST_METHOD": "GET", "RAW_URI": "/", "wsgi.multiprocess": several}
            sent = {"HTTP_AUTHORIZATION": f"{scheme} {token}", "HTTP_DPOP": holder.proof("GET", f"{AUDIENCE}/", token)}
            app(environ | sent, lambda *_: None)
        return sum("SQLiteReplays" in record.getMessage() for record in caplog.records)

    shared = SQLiteReplays(tmp_path / "marks.db")
    assert warned(MemoryReplays(), several=True) == 1
    assert warned(MemoryReplays(), several=False) == warned(shared, several=True) == 0
    assert warned(MemoryReplays(), several=True, scheme="Bearer") == 0
    shared.close()


def test_93_a_websocket_is_proven_as_the_get_that_opens_it(issuer: FakeIssuer, holder: Prover, token: str) -> None:
    guard = realmint.asgi.Guard(issuer.resource_server(AUDIENCE, dpop=DPoPPolicy()))

    async def talk(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept", "client": guard.token(scope).client_id})

    def opened(method: str) -> dict[str, Any]:
        headers = [(name.lower().encode(), value.encode()) for name, value in holder.headers(method, URL, token)]
        scope = {"type": "websocket", "path": "/orders", "headers": headers, "query_string": b""}
        return asyncio.run(exchange(guard.protect(talk), scope, {"type": "websocket.connect"}))[0]

    assert opened("GET") == {"type": "websocket.accept", "client": "svc"}
    assert opened("POST") == {"type": "websocket.close", "code": 1008}
