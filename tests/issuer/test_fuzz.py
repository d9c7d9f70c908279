"""Anything at all as method, path, headers, query and body: an answer, and one of ours (#24, #26)."""

import base64
import io
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse, run_wsgi_app
from werkzeug.wrappers import Request

from tests.issuer.conftest import House
from tests.support.wire import FORM, assert_clean

SUFFIXES = [
    "/access_token", "/introspect", "/connect/jwk_uri", "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration", "/token/revoke", "/status", "/healthz", "/readyz", "", "/authorize", "/.well-known/jwks.json",
]  # fmt: skip
FRONTS = [
    "/oauth2", "/oauth2/realms/root", "/oauth2/realms/root/realms/customers", "/oauth2/customers", "",
    "/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/oauth2/realms/root",
    "/oauth2/realms/root/realms/nobody", "/oauth2/realms", "/.well-known/openid-configuration/oauth2/realms/root",
]  # fmt: skip
PIECES = [
    "/", "//", ".", "..", "/..", "/./", ";", "?", "#", "%", "%2f", "%2e%2e", "%00", "\x00", "\r\n", " ", "\\", "\xff", "\xc3\xa9",
    "realms", "root", "/realms/customers", "CUSTOMERS", "access_token", "a" * 64, "a" * 1100, "r/" * 40, "<script>", "+", "*", ":",
]  # fmt: skip
# What a server hands to WSGI is bytes written as latin-1 (PEP 3333).
raw_text = st.binary(max_size=60).map(lambda raw: raw.decode("latin-1"))
visible = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)


def mostly(usual: st.SearchStrategy[Any], strange: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The usual in nine of ten: a refusal at the door hides everything behind it."""
    return st.integers(0, 9).flatmap(lambda n: usual if n else strange)


methods = (
    st.sampled_from(["GET", "POST", "HEAD"])
    | st.sampled_from(["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PRI", "post", "GET\x00", "", "Q" * 300])
    | visible.filter(bool)
)  # fmt: skip


@st.composite
def near_misses(draw: st.DrawFn) -> str:
    """An address of ours, mostly with something put in, taken out or doubled."""
    path: str = draw(st.sampled_from(FRONTS)) + draw(st.sampled_from(SUFFIXES))
    for _ in range(draw(st.integers(0, 3))):
        start, end = sorted(draw(st.tuples(st.integers(0, len(path)), st.integers(0, len(path)))))
        path = path[:start] + draw(st.sampled_from([*PIECES, path[start:end] * 2, ""])) + path[end:]
    return path


SANE = [
    (method, front + suffix)
    for front in FRONTS[:4]
    for method, suffix in zip(["POST", "POST", "POST", "POST", "GET", "GET", "GET"], ["/access_token"] * 2 + SUFFIXES[:5], strict=True)
]  # fmt: skip
paths = near_misses() | near_misses() | raw_text.map("/".__add__) | raw_text
readable_pairs = st.sampled_from(
    ["scope=read", "scope=write", "scope=", "resource=https://orders.example", "resource=x", "audience=https://orders.example", "audience=x%20y", "token_type_hint=x", "client_id=svc",
     "client_secret=rms_x", "client_id=legacy", "client_assertion=a.b.c", "scope=read%20%20write", "", "x=%c3%a9", "a=b" * 50]
)  # fmt: skip
unreadable_pairs = st.sampled_from(
    [
        "%zz",
        "%ff=%00",
        "=",
        "&",
        "x=%c3%28",
        "x=\xff",
        "grant_type=password",
        "token=x",
        "grant_type=client_credentials",
    ]
)
forms = st.lists(mostly(readable_pairs, unreadable_pairs), max_size=4, unique=True).map(
    lambda pairs: "&".join(pairs).encode("latin-1")
)
queries = mostly(st.just(""), forms.map(lambda form: form.decode("latin-1")) | raw_text)
bodies = mostly(
    forms.map(lambda form: b"grant_type=client_credentials&token=a.b.c&" + form),
    forms
    | st.binary(max_size=200)
    | st.sampled_from([b'{"grant_type":"client_credentials"}', b"x" * 70_000, b"&" * 2000, b"[" * 5000, b"scope=" + b"r " * 9000]),
)  # fmt: skip


@st.composite
def authorizations(draw: st.DrawFn, good: str) -> str | None:
    """Mostly the right header, or one that is nearly one."""
    kind = draw(st.integers(0, 6))
    if kind < 3:
        return good
    if kind == 3:
        return None
    if kind == 4:
        scheme = draw(st.sampled_from(["Basic", "basic", "BASIC ", "Bearer", "DPoP", "Digest", ""]))
        credentials = draw(st.binary(max_size=30) | st.just(b"svc:") | st.just(b":x") | st.just(b"a%zz:b"))
        return f"{scheme} {base64.b64encode(credentials).decode()}"
    if kind == 5:
        return draw(
            st.sampled_from(
                [f"{good}, {good}", f"{good}=", good[:-3], good + "\x00", f"{good} x", "Basic", "Basic " + "A" * 9000]
            )
        )
    return draw(raw_text)


content_types = mostly(
    st.sampled_from([FORM, FORM + "; charset=utf-8"]),
    raw_text | st.sampled_from(["multipart/form-data; boundary=b", "application/json", "text/plain; charset=\xff", "", ";", FORM + ";"]),
)  # fmt: skip
lengths = st.sampled_from(
    ["", "0", "1", "-1", "+5", "0_3", "999999999999", "9" * 400, "x", "\u0663".encode().decode("latin-1"), "1.5", " 3"]
)
other_headers = st.dictionaries(
    st.sampled_from(
        ["HTTP_HOST", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_PREFIX", "HTTP_FORWARDED", "HTTP_COOKIE",
         "HTTP_X_ORIGINAL_URL", "HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_RANGE", "HTTP_ACCEPT",
         "HTTP_ACCEPT_ENCODING", "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT", "HTTP_DPOP", "HTTP_USER_AGENT", "HTTP_X_HTTP_METHOD_OVERRIDE",
         "HTTP_CONTENT_ENCODING", "HTTP_ORIGIN", "HTTP_UPGRADE", "HTTP_X", "SCRIPT_NAME", "RAW_URI", "REQUEST_URI", "REMOTE_ADDR"]
    ),
    raw_text | st.sampled_from(["", "*", "bytes=0-1", "evil.test", "https", "[::1", "PUT", 'W/"x"', "gzip", "chunked", "%", "/x?y", "x" * 9000]),
    max_size=4,
)  # fmt: skip


@st.composite
def environs(draw: st.DrawFn, good: str) -> dict[str, Any]:
    """What a server hands to a WSGI application, as far from a sane request as it can be, or nearly sane.

    A wrong address hides everything behind it, so most requests have a right one and are wrong elsewhere.
    """
    method, path = draw(st.sampled_from(SANE) | st.sampled_from(SANE) | st.tuples(methods, paths))
    body = draw(bodies)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": draw(queries),
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "5000", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "127.0.0.1:5000",
        "CONTENT_TYPE": draw(content_types), "CONTENT_LENGTH": draw(mostly(st.just(str(len(body))), lengths)),
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body), "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True, "wsgi.multiprocess": True, "wsgi.run_once": False,
        "wsgi.input_terminated": draw(st.booleans()),
    }  # fmt: skip
    authorization = draw(authorizations(good))
    if authorization is not None:
        environ["HTTP_AUTHORIZATION"] = authorization
    return environ | draw(other_headers)


def answer(house: House, environ: dict[str, Any]) -> Any:
    """What the whole WSGI application answers; an exception that leaves it fails the test."""
    return TestResponse(*run_wsgi_app(house.issuer.app, environ, buffered=True), request=Request(environ))


def check(house: House, examples: int) -> Counter[int]:
    """Sends that many requests; how often each status came."""
    seen: Counter[int] = Counter()

    @given(environs(house["svc"].basic["Authorization"]))
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def check_one(environ: dict[str, Any]) -> None:
        method, errors = environ["REQUEST_METHOD"], environ["wsgi.errors"]
        response = answer(house, environ)
        assert_clean(response)
        assert errors.getvalue() == ""
        for name, value in response.headers.items():
            assert (name + value).isprintable()
            assert house["svc"].secret not in value
        if method == "HEAD" or response.status_code == 304:
            assert response.data == b""
        elif response.status_code >= 400:
            assert set(response.json) == {"error", "error_description"}
            assert "<" not in response.text
        seen[response.status_code] += 1

    check_one()
    return seen


def test_26_whatever_is_sent_the_answer_is_one_of_ours(house: House) -> None:
    seen = check(house, 3000)
    assert {200, 400, 401, 404, 405} <= set(seen), seen
    assert house.issuer.token(house["svc"])


@pytest.mark.soak
def test_26_whatever_is_sent_the_answer_is_one_of_ours_for_a_long_time(house: House) -> None:
    seen = check(house, 100_000)
    assert {200, 304, 400, 401, 404, 405, 413} <= set(seen), seen
    assert house.issuer.token(house["svc"])
