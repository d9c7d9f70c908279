"""Bound tokens at every adapter: the same answers to the same requests, byte for byte, and nothing believed of a caller."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import realmint.asgi
import realmint.wsgi
from realmint import ClientCertificates, DPoPPolicy, MemoryReplays, ResourceServer, SQLiteReplays
from realmint.arrivals import OfEnviron
from realmint.testing import FakeIssuer, Prover, client_certificate
from tests.realmint.test_adapters import AT, MALFORMED, refused
from tests.support.certificates import pem
from tests.support.doors import OPEN, SITES, Answered, Door, exchange, site

AUDIENCE = "https://orders.example"
URL = f"{AUDIENCE}/orders"
POINTER = f'resource_metadata="{AUDIENCE}{AT}"'
ALGS = 'algs="ES256 EdDSA ES384 PS256"'
CERTIFICATE, OTHER = client_certificate(), client_certificate()
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


@pytest.mark.parametrize(
    ("changes", "status"),
    [({}, "200"), ({"HTTP_DPOP": "another"}, "401"), ({"RAW_URI": "/any"}, "401"), ({"REQUEST_METHOD": "POST"}, "401"),
     ({"SSL_CLIENT_CERT": pem(OTHER)}, "401")],
    ids=["the same", "proof", "path", "method", "certificate"],
)  # fmt: skip
def test_what_a_request_was_let_in_with_lets_in_no_other_inside_it(
    issuer: FakeIssuer, holder: Prover, changes: dict[str, str], status: str
) -> None:
    api = issuer.resource_server(AUDIENCE, dpop=DPoPPolicy(), certificates=ClientCertificates())
    guard, token = realmint.wsgi.Guard(api), issuer.issue(audience=AUDIENCE, bound_to=(holder, CERTIFICATE))
    started: list[str] = []

    def inner(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return []

    guarded = guard.require()(inner)

    def outer(environ: Any, start_response: Any) -> Any:
        return guarded({**environ, **changes}, start_response)

    environ = {"REQUEST_METHOD": "GET", "RAW_URI": "/orders", "SSL_CLIENT_CERT": pem(CERTIFICATE)}
    sent = {f"HTTP_{name.upper()}": value for name, value in holder.headers("GET", URL, token)}
    guard.protect(outer)({**environ, **sent}, lambda line, _: started.append(line[:3]))
    assert started == [status]
