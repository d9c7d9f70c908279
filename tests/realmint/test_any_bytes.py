"""Any bytes in any document, header or token: only our refusals come out, and the Guard answers each of them (#161)."""

import asyncio
import json
import zlib
from typing import Any

import flask
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realmint import Introspection, ResourceServer, TokenError
from realmint.flask import Guard
from realmint.transport import Request, Response
from tests.support.clock import FakeClock
from tests.support.fake_issuer import INTROSPECT, ISSUER, JWKS_URI, METADATA, STATUS_LIST, FakeIssuer, ok
from tests.support.forge import Forge, b64

ANSWERS = {200, 400, 401, 403, 503}
FORGES = {alg: Forge(alg) for alg in ("ES256", "RS256", "EdDSA")}
many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
some = settings(many, max_examples=40)

odd_text = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["http://[::1/jwks", "https://[x]/", "https://issuer.example\u2100/", "https://issuer.example:x/", "\ud800", "\0",
         "https://issuer.example/\ud800", "https://issuer.example/\n", ISSUER, JWKS_URI, INTROSPECT, "P-256", "EC", "RSA",
         "OKP", "Ed25519", "sig", "AQAB", "AA", "svc", "at+jwt", "x" * 2000]
    ),
)  # fmt: skip
odd_number = st.one_of(
    st.integers(), st.floats(allow_nan=False), st.sampled_from([1e308, -1, 0, 2**63, 2**64, -(2**63), 253402300800])
)
odd_value = st.recursive(
    st.one_of(st.none(), st.booleans(), odd_number, odd_text),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(odd_text, inner, max_size=4)),
    max_leaves=12,
)
odd_bytes = st.one_of(
    st.binary(max_size=200),
    odd_value.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b"[" * 60_000, b'{"a":' * 60_000, b'{"a":1e999}', b"{}" + b" " * 100, b"\xef\xbb\xbf{}", b'{"a":' + b"9" * 5000 + b"}"]),
)  # fmt: skip
header_text = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=40),
    st.integers().map(str),
    st.sampled_from(
        ["max-age=" + "9" * 400, "max-age=-1", "max-age=٣", '"' + "x" * 9000 + '"', '"\xff"', '"a\r\n b"', "²"]
    ),
)
odd_headers = st.dictionaries(st.sampled_from(["cache-control", "age", "etag", "content-type"]), header_text)
max_age = header_text.map("max-age=60, {}".format) | st.integers().map("max-age={}".format)


def changed(document: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """The good document with some of its members gone or replaced by anything."""
    changes = st.dictionaries(st.sampled_from(list(document)), odd_value | st.just(...), max_size=3)
    return changes.map(
        lambda new: json.dumps(
            {name: value for name, value in {**document, **new}.items() if value is not ...}
        ).encode()
    )


@pytest.fixture
def fake() -> FakeIssuer:
    return FakeIssuer()


class Api:
    """A guarded route in front of a resource server that has asked nothing yet."""

    def __init__(self, fake: FakeIssuer, mode: Any = "opaque") -> None:
        clock = FakeClock()
        self.api = ResourceServer(
            issuer=ISSUER, audience="https://orders.example", transport=fake, clock=clock.wall,
            monotonic=clock.monotonic, introspection=Introspection("orders-api", "secret", mode=mode),
        )  # fmt: skip
        app = flask.Flask("orders")
        app.testing = True  # what is not ours comes out as it is
        guard = Guard(self.api)
        guard.init_app(app)
        app.add_url_rule("/orders", view_func=guard.require("orders:read")(lambda: guard.token.client_id))
        self._http = app.test_client()

    def status(self, authorization: str) -> int:
        return self._http.get("/orders", environ_overrides={"HTTP_AUTHORIZATION": authorization}).status_code

    def decide(self, token: Any) -> None:
        """Both doors: the Guard answers, and validate() raises our family alone."""
        assert self.status(f"Bearer {token}") in ANSWERS
        try:
            self.api.validate(token)
        except TokenError as refused:
            assert refused.status in ANSWERS  # noqa: PT017 - either outcome is right

    def adecide(self, token: Any) -> None:
        """The same on an event loop."""
        try:
            asyncio.run(self.api.avalidate(token))
        except TokenError as refused:
            assert refused.status in ANSWERS  # noqa: PT017 - either outcome is right


def answered(body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> Any:
    return lambda _request: Response(status, headers or {}, body)


@many
@given(token=st.one_of(st.text(), st.text(st.characters(max_codepoint=127)), odd_text, st.binary().map(b64)))
def test_161_any_token(fake: FakeIssuer, token: str) -> None:
    Api(fake).decide(token)


@many
@given(parts=st.tuples(odd_bytes, odd_bytes, st.binary(max_size=100)))
def test_161_any_bytes_as_header_payload_and_signature(fake: FakeIssuer, parts: tuple[bytes, bytes, bytes]) -> None:
    Api(fake).decide(".".join(b64(part) for part in parts))


@many
@given(header=changed(FORGES["ES256"].header), payload=changed(FORGES["ES256"].claims))
def test_161_any_value_as_a_claim_of_a_token_with_a_right_signature(
    fake: FakeIssuer, header: bytes, payload: bytes
) -> None:
    Api(fake).decide(fake.forge.token(header, payload))
    Api(fake).decide(fake.forge.token(claims=payload))


@many
@given(
    authorization=st.one_of(st.text(), odd_text, odd_text.map("Bearer {}".format), header_text.map("bearer {}".format))
)
def test_136_161_any_authorization_header(fake: FakeIssuer, authorization: str) -> None:
    assert Api(fake).status(authorization) in ANSWERS


GOOD_METADATA = {"issuer": ISSUER, "jwks_uri": JWKS_URI, "introspection_endpoint": INTROSPECT}
odd_address = st.sampled_from(
    ["http://[", "https://[", "https://", "http://127.0.0.1:", "//", ISSUER, "https://issuer.example"]
)
addresses = st.tuples(odd_address, st.text("[]:/@\\?#x1\u2100\uff0e \t\n%", max_size=6)).map("".join)
moved = st.tuples(addresses, addresses).map(
    lambda pair: json.dumps(GOOD_METADATA | {"jwks_uri": pair[0], "introspection_endpoint": pair[1]}).encode()
)


@many
@given(
    body=odd_bytes | changed(GOOD_METADATA) | moved,
    headers=odd_headers,
    status=st.sampled_from([200, 200, 200, 304, 404, 500]),
)
def test_161_171_any_metadata(fake: FakeIssuer, body: bytes, headers: dict[str, str], status: int) -> None:
    fake.answers[METADATA] = answered(body, headers, status)
    Api(fake).decide(fake.forge.token())
    Api(fake).decide("rmt_0123456789")


jwk = st.sampled_from(list(FORGES.values())).flatmap(lambda forge: changed(dict(forge.material.public_jwk)))
jwks = st.lists(jwk, max_size=3).map(lambda keys: b'{"keys":[' + b",".join(keys) + b"]}")


@many
@given(body=odd_bytes | jwks | changed({"keys": []}), alg=st.sampled_from(list(FORGES)))
def test_161_164_165_any_key_set(fake: FakeIssuer, body: bytes, alg: str) -> None:
    fake.answers[JWKS_URI] = answered(body)
    api = Api(fake, "rescue")
    api.decide(FORGES[alg].token())
    assert api.api.health()["keys"]["state"] in ("cold", "fresh")


@many
@given(headers=odd_headers, cache_control=max_age)
def test_161_any_header_of_a_key_set(fake: FakeIssuer, headers: dict[str, str], cache_control: str) -> None:
    good = fake.answers[JWKS_URI](Request("GET", JWKS_URI)).body
    for sent in (headers, headers | {"cache-control": cache_control}):
        fake.answers[JWKS_URI] = answered(good, sent)
        api = Api(fake)
        assert api.status(f"Bearer {fake.forge.token()}") == 200
        api.api.refresh_keys()


@many
@given(body=odd_bytes | changed({"active": True, **FORGES["ES256"].claims}), headers=odd_headers)
def test_161_175_any_introspection_answer(fake: FakeIssuer, body: bytes, headers: dict[str, str]) -> None:
    fake.answers[INTROSPECT] = answered(body, headers)
    Api(fake).decide("rmt_0123456789")
    Api(fake, "live").decide(fake.forge.token())
    fake.answers[JWKS_URI] = lambda _: ok(b"")
    Api(fake, "rescue").decide(fake.forge.token())


@some
@given(body=odd_bytes | changed({"active": True, **FORGES["ES256"].claims}), headers=odd_headers)
def test_161_175_any_introspection_answer_on_an_event_loop(
    fake: FakeIssuer, body: bytes, headers: dict[str, str]
) -> None:
    fake.answers[INTROSPECT] = answered(body, headers)
    Api(fake).adecide("rmt_0123456789")
    Api(fake, "live").adecide(fake.forge.token())


where = st.fixed_dictionaries(
    {}, optional={"uri": odd_text | st.just(STATUS_LIST) | st.just(f"{STATUS_LIST}0"), "idx": odd_number}
)


@some
@given(status=odd_value | where | where.map(lambda at: {"status_list": at}))
def test_161_any_status_in_a_token_with_a_right_signature(fake: FakeIssuer, status: Any) -> None:
    Api(fake, "rescue").decide(fake.forge.token(claims={**fake.forge.claims, "status": status}))
    Api(fake, "rescue").adecide(fake.forge.token(claims={**fake.forge.claims, "status": status}))


LISTED = FakeIssuer().list_claims()
packed = st.one_of(
    st.binary(max_size=100), st.binary(max_size=100).map(zlib.compress), st.just(zlib.compress(bytes(2**25)))
)
bits = st.sampled_from([1, 2, 4, 8, 3, 0, -1, True, "1", 1.0, 2**70, None])
odd_list = st.tuples(bits, packed.map(b64) | odd_text).map(lambda pair: {"bits": pair[0], "lst": pair[1]})
said_of_list = changed(LISTED) | odd_list.map(lambda found: json.dumps({**LISTED, "status_list": found}).encode())


@some
@given(body=odd_bytes, said=said_of_list, headers=odd_headers)
def test_161_any_status_list_signed_or_not(fake: FakeIssuer, body: bytes, said: bytes, headers: dict[str, str]) -> None:
    header = {**fake.forge.header, "typ": "statuslist+jwt"}
    for sent in (body, fake.forge.token(header, said).encode(), fake.forge.token(header, body).encode()):
        fake.answers[STATUS_LIST] = answered(sent, headers)
        Api(fake).decide(fake.status_token(5))
        Api(fake).adecide(fake.status_token(5))
