"""Every parser that sees what nobody has verified does work in proportion to its input (#26, #154).

Twice the input may take about twice as long, and never four times: the ratio is bounded, not the time.
"""

import contextlib
import json
import logging
import random
import re
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from authlib.oauth2 import OAuth2Error

from issuer import log
from issuer.client_auth.client_secret import _parse_basic
from issuer.form import check_content_type, parse_form
from issuer.peer import client_address
from issuer.tokens.resources import is_resource
from keys.key import KeyRefused
from keys.transfer import read_key
from realmint.bearer import TokenError, challenge, check_token, parse_authorization
from realmint.fetching import FetchError
from realmint.key_set import read_keys
from realmint.protocol.certificate_headers import CertificateError, from_header
from realmint.protocol.distinguished_names import DNError
from realmint.protocol.distinguished_names import parse as distinguished_name
from realmint.protocol.dpop import ProofError, check_proof
from realmint.protocol.jws import JWSError, parse_object, peek
from realmint.protocol.mtls import certificate
from realmint.protocol.names import ScopeError, parse_scope
from realmint.protocol.status_list import StatusListError, unpack
from realmint.protocol.urls import normalised
from tests.support.certificates import made
from tests.support.forge import Forge, b64
from tests.support.prover import Prover

FORGE = Forge()
PUBLIC = dict(FORGE.material.public_jwk)


def token(shape: Callable[[int], str]) -> Callable[[int], str]:
    return lambda n: f"{b64(json.dumps(FORGE.header).encode())}.{b64(shape(n).encode())}.{b64(bytes(64))}"


def proof(text: str) -> Any:
    return check_proof(text, "POST", "https://a.example/", 0, algorithms=["ES256"])


PROOF_HEAD = Prover().proof().partition(".")[0]
NOISE = random.Random(1).randbytes


SHAPES: dict[str, Callable[[int], str]] = {
    "brackets, then a string of quotes that never ends": lambda n: "[" * 33 + '"' + '\\"' * n,
    "brackets, then backslashes": lambda n: "[" * 33 + '"' + "\\" * n,
    "a string cut in its escape": lambda n: "{" * 33 + '"' + "a" * n + "\\",
    "strings side by side": lambda n: "[" * 33 + '"a",' * n,
    "quotes alone": lambda n: "[" * 33 + '"' * n,
    "open lists": lambda n: "[" * n,
    "open objects": lambda n: '{"a":' * n,
    "digits": lambda n: '{"a":' + "1" * n + "}",
    "a fraction": lambda n: '{"a":0.' + "1" * n + "}",
    "spaces": lambda n: " " * n + "{}" + " " * n,
    "members": lambda n: "{" + ",".join(f'"{i}":{i}' for i in range(n)) + "}",
    "one member over and over": lambda n: "{" + ",".join('"a":1' for _ in range(n)) + "}",
    "escapes": lambda n: '{"a":"' + "\\u00e9" * n + '"}',
}
# Of less than 16 KiB, four times as long too.
HEADERS: dict[str, tuple[Callable[[Any], Any], Callable[[int], Any]]] = {
    "colons": (lambda text: from_header(text, "rfc9440"), lambda n: ":" * n),
    "base64": (lambda text: from_header(text, "rfc9440"), lambda n: ":" + "A" * (n - n % 4) + ":"),
    "base64, unpadded": (lambda text: from_header(text, "haproxy"), lambda n: "A" * n + "="),
    "escapes": (lambda text: from_header(text, "nginx"), lambda n: "%41" * (n // 3)),
    "lines": (
        lambda text: from_header(text, "nginx"),
        lambda n: "-----BEGIN%20CERTIFICATE-----%0A" + "A%0A" * (n // 5),
    ),
    "beginnings": (lambda text: from_header(text, "nginx"), lambda n: "-----BEGIN" * (n // 10)),
    "pairs": (lambda text: from_header(text, "envoy"), lambda n: "a=b;" * (n // 4)),
    "quotes": (lambda text: from_header(text, "envoy"), lambda n: 'a="' + "\\a" * (n // 2)),
    "a name": (lambda text: from_header(text, "envoy"), lambda n: "a" * n),
    "certificates": (lambda text: from_header(text, "envoy"), lambda n: "cert=a;" * (n // 7) + "cert=a"),
}
PARSERS: dict[str, tuple[Callable[[Any], Any], Callable[[int], Any]]] = {
    **{f"JSON: {name}": (parse_object, lambda n, shape=shape: shape(n).encode()) for name, shape in SHAPES.items()},
    **{f"token: {name}": (peek, token(shape)) for name, shape in SHAPES.items()},
    "token: dots": (peek, lambda n: "." * n),
    "token: one segment": (peek, lambda n: "a" * n),
    **{
        f"proof: {name}": (proof, lambda n, shape=shape: f"{PROOF_HEAD}.{b64(shape(n // 2).encode())}.{b64(bytes(64))}")
        for name, shape in SHAPES.items()
    },
    "proof: commas": (proof, lambda n: "a," * n),
    "proof: a long key": (proof, lambda n: Prover().with_header(jwk={"kty": "RSA", "n": "A" * min(n, 2500), "e": "AQAB"})),
    "proof: a key of many members": (proof, lambda n: Prover().with_header(jwk=dict.fromkeys(map(str, range(min(n // 10, 240)))))),
    "URL of escapes": (normalised, lambda n: "https://a.example/" + "%41" * n),
    "URL of escapes, then none": (normalised, lambda n: "https://a.example/" + "%41" * n + "%"),
    "URL of dot segments": (normalised, lambda n: "https://a.example/" + "a/../" * n),
    "URL of parents": (normalised, lambda n: "https://a.example/" + "a/" * n + "../" * n),
    "URL of slashes": (normalised, lambda n: "https://a.example" + "/" * n),
    "URL of a host": (normalised, lambda n: "https://" + "a" * n + "@"),
    "URL of queries": (normalised, lambda n: "https://a.example" + "?" * n + "#" * n),
    **{f"certificate in a header: {name}": row for name, row in HEADERS.items()},
    "certificate": (certificate, lambda n: made() + bytes(min(n, 15000))),
    "certificate of lengths": (certificate, lambda n: b"\x30\x82" * min(n // 2, 7500)),
    "distinguished name": (distinguished_name, lambda n: ",".join(["CN=a"] * n)),
    "distinguished name of one RDN": (distinguished_name, lambda n: "+".join(f"CN={i}" for i in range(n))),
    "distinguished name of spaces": (distinguished_name, lambda n: "CN=" + " " * n + "a" + " " * n + '"'),
    "distinguished name of escapes": (distinguished_name, lambda n: "CN=" + "\\2c" * n + "\\"),
    "distinguished name of numbers": (distinguished_name, lambda n: "1" + ".1" * n),
    "bearer header": (lambda text: parse_authorization([text]), lambda n: "Bearer " + "a" * n + "!"),
    "bearer header of padding": (lambda text: parse_authorization([text]), lambda n: "Bearer a" + "=" * n + "!"),
    "bearer header of spaces": (lambda text: parse_authorization([text]), lambda n: "Bearer" + " " * n),
    "opaque token": (check_token, lambda n: "a" * n + "=" * n + "a"),
    "challenge": (lambda text: challenge(scope=text), lambda n: '"\n' * n),
    "JWKS of keys": (read_keys, lambda n: json.dumps({"keys": [PUBLIC | {"kid": str(i)} for i in range(n // 200)]}).encode()),
    "JWKS of rubbish": (read_keys, lambda n: json.dumps({"keys": [{"kty": "EC", "kid": str(i)} for i in range(n)]}).encode()),
    "JWKS of brackets": (read_keys, lambda n: SHAPES["brackets, then a string of quotes that never ends"](n).encode()),
    # Of a size that the allocator has at hand: fresh pages from the system cost more than their share.
    "status list": (unpack, lambda n: b64(zlib.compress(bytes(range(256)) * (n // 16)))),
    "status list of noise": (unpack, lambda n: b64(zlib.compress(NOISE(n), 0))),
    "status list of zeros, too long": (unpack, lambda n: b64(zlib.compress(bytes(5000 * n)))),
    "status list that is cut": (unpack, lambda n: b64(zlib.compress(NOISE(n)))[: n]),
    "status list of letters": (unpack, lambda n: "a" * n),
    "Basic header": (_parse_basic, lambda n: "Basic " + b64(b"a" * n)),
    "Basic header of escapes": (_parse_basic, lambda n: "Basic " + b64(b"%4" * n)),
    "form of escapes": (lambda body: parse_form(body, ()), lambda n: b"a=" + b"%41" * n),
    "form of a cut escape": (lambda body: parse_form(body, ()), lambda n: b"a=" + b"%41" * n + b"%"),
    "form of plus signs": (lambda body: parse_form(body, ()), lambda n: b"a=" + b"+" * n),
    "form of ampersands": (lambda body: parse_form(body, ()), lambda n: b"&" * n),
    "form of one name over and over": (lambda body: parse_form(body, {"r"}), lambda n: b"&".join([b"r=1"] * min(n, 900))),
    "content type": (check_content_type, lambda n: "application/x-www-form-urlencoded" + ";" * n),
    "scope": (parse_scope, lambda n: "a " * n),
    "scope of spaces": (parse_scope, lambda n: "a" + " " * n),
    "resource": (is_resource, lambda n: "a" * n + ":" + "/" * n),
    "forwarded addresses": (
        lambda text: client_address({"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": text}, NETWORKS), lambda n: "10.0.0.1," * n,
    ),
    "log value": (log._hidden, lambda n: "rms_" + "a" * n),
    "log value of prefixes": (log._hidden, lambda n: "rms_" * n),
    "log value of tokens": (log._hidden, lambda n: "eyJ" * n + ".a"),
    "log value of tokens that never end": (log._hidden, lambda n: "eyJ" * n),
    "log value of tokens that end in a dot": (log._hidden, lambda n: "eyJabcdefgh" * n + "."),
    "log line of a query": (lambda text: log._foreign(_record(text)), lambda n: "?" * n),
    "log line of colours": (lambda text: log._foreign(_record(text)), lambda n: "\x1b[" * n),
    "log line of a refused request": (lambda text: log._foreign(_record(text)), lambda n: "Invalid request from ip=" + " ?" * n),
    "key file: JWK": (lambda raw: read_key(raw, None, None, None), lambda n: ("{" * 33 + '"' + '\\"' * n).encode()),
    "key file: PEM": (lambda raw: read_key(raw, None, None, None), lambda n: b"-----BEGIN PRIVATE KEY-----\n" + b"A" * n),
    "key file: dots": (lambda raw: read_key(raw, None, None, None), lambda n: b"." * n),
}  # fmt: skip
SIZE = 4000

REFUSALS = (
    CertificateError, DNError, FetchError, JWSError, KeyRefused, OAuth2Error, ProofError, ScopeError, StatusListError, TokenError,
)  # fmt: skip


def _record(text: str) -> logging.LogRecord:
    return logging.LogRecord("gunicorn.error", logging.WARNING, "", 0, "%s", (text,), None)


def _networks() -> Any:
    import ipaddress

    return [ipaddress.ip_network("10.0.0.0/8")]


NETWORKS = _networks()


def seconds(parse: Callable[[Any], Any], text: Any) -> float:
    """The least of several runs; a refusal of ours is an answer too, any other exception a fault."""
    least = float("inf")
    for _ in range(5):
        started = time.thread_time()  # what others do on the machine counts for nothing
        for _ in range(4):
            with contextlib.suppress(*REFUSALS):
                parse(text)
        least = min(least, time.thread_time() - started)
    return least


@pytest.mark.parametrize("name", list(PARSERS))
def test_26_154_twice_the_input_takes_about_twice_as_long(name: str) -> None:
    parse, shape = PARSERS[name]
    texts = [shape(SIZE * factor) for factor in (1, 4)]
    small, large = [], []
    for _ in range(3):
        small.append(seconds(parse, texts[0]))
        large.append(seconds(parse, texts[1]))
        # Four times the input: linear is 4, quadratic 16. Below a tenth of a millisecond there is nothing to measure.
        if min(large) < 0.0001 or min(large) / min(small) < 8:
            return
    raise AssertionError(f"{name}: {min(large) / min(small):.1f} times as long for 4 times the input")


def test_26_the_old_way_of_leaving_strings_out_would_be_found() -> None:
    """The measure bites: what was there before is far above the bound."""
    old = re.compile(r'"(?:[^"\\]|\\.)*"')
    texts = [SHAPES["brackets, then a string of quotes that never ends"](SIZE * factor // 4) for factor in (1, 4)]
    small, large = (seconds(lambda text: old.sub("", text), text) for text in texts)
    assert large / small > 10
