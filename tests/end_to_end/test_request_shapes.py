"""Requests that are none, or two at once, on the wire to both production servers (facts/security.md 16 to 20)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import Deployment
from tests.support.raw import heard

HEAD = b"POST /oauth2/access_token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
FORM = b"grant_type=client_credentials&canary=1"
TAIL = b"GET /healthz HTTP/1.1\r\nHost: smuggled\r\nConnection: close\r\n\r\n"
CHUNKS = b"0\r\n\r\n"


def length(data: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % len(data) + data


@pytest.fixture(scope="module", params=["ours", "gthread"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Deployment]]:
    deployment = Deployment(tmp_path_factory.mktemp(request.param), LOG_FORMAT="json")
    with deployment.served_by(request.param):
        heard(deployment.port, HEAD + b"Connection: close\r\n" + length(FORM))  # the first one makes the database
        yield request.param, deployment


TWO_REQUESTS_IN_ONE = {
    "a length, and chunks": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "chunks, and a length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + CHUNKS,
    "xchunked": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    "chunked, identity": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKS,
    "chunked twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "chunks in HTTP/1.0": HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "two lengths that differ": HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\na=bc",
    "a list of lengths": HEAD + b"Content-Length: 4, 4\r\n\r\na=bc",
    "a length with a sign": HEAD + b"Content-Length: +3\r\n\r\na=b",
    "a length with an underscore": HEAD + b"Content-Length: 0_3\r\n\r\na=b",
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\na=b",
    "no length": HEAD + b"Content-Length: \r\n\r\na=b",
    "a hexadecimal length": HEAD + b"Content-Length: 0x3\r\n\r\na=b",
    "a chunk with a hexadecimal mark": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\ngrant\r\n" + CHUNKS,
    "a chunk with a bare line feed": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\ngrant\r\n" + CHUNKS,
    "a line feed in a chunk's extension": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\ngrant\r\n" + CHUNKS,
    "a chunk that is longer than it says": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\ngrantXX\r\n" + CHUNKS,
}


@pytest.mark.parametrize("shape", TWO_REQUESTS_IN_ONE)
def test_19_where_a_body_ends_is_never_told_in_two_ways_and_what_follows_is_not_run(
    served: tuple[str, Deployment], shape: str
) -> None:
    answer = heard(served[1].port, TWO_REQUESTS_IN_ONE[shape] + TAIL)
    assert answer.closed_after is not None
    assert b'"up"' not in answer.answer
    (status,) = answer.statuses
    assert status in ((400, 501) if "hunked" in shape else (400,))


MALFORMED = {
    "a field over two lines": GET + b"A: b\r\n c\r\n\r\n",
    "a space before the colon": b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n",
    "NUL in a value": GET + b"A: b\0c\r\n\r\n",
    "NUL in a name": GET + b"A\0: b\r\n\r\n",
    "a bare carriage return": GET + b"A: b\rc\r\n\r\n",
    "an underscore in a name": GET + b"X_Forwarded_For: 6.6.6.6\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/3": b"GET /healthz HTTP/3.0\r\nHost: x\r\n\r\n",
    "a method that is no token": b"G(T /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "an empty line in the request line": b"GET /healthz\r HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("shape", MALFORMED)
def test_19_a_head_that_is_none_is_400_and_the_connection_is_closed(served: tuple[str, Deployment], shape: str) -> None:
    answer = heard(served[1].port, MALFORMED[shape] + TAIL)
    assert (answer.statuses, answer.closed_after is not None) == ([400], True), answer


def test_19_a_line_that_ends_with_a_line_feed_alone_is_refused(
    served: tuple[str, Deployment],
) -> None:
    # RFC 9112 section 2.2 lets it end there as well; what no parser may do is to see the end somewhere else.
    answer = heard(served[1].port, b"GET /healthz HTTP/1.1\nHost: x\nConnection: close\n\n")
    assert answer.statuses == [400]
    hidden = heard(served[1].port, b"GET /nowhere HTTP/1.1\r\nHost: x\nX_Hidden: a\r\nConnection: close\r\n\r\n")
    assert hidden.statuses == [400]


def test_19_two_lengths_that_are_the_same_are_refused(served: tuple[str, Deployment]) -> None:
    # RFC 9110 section 8.6 lets them be one length as well.
    answer = heard(served[1].port, HEAD + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\na=bc" + TAIL)
    assert answer.statuses == [400]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["length first", "chunks first"])
def test_19_a_length_and_chunks_are_refused_and_what_follows_is_not_run(
    served: tuple[str, Deployment], order: tuple[int, int]
) -> None:
    # RFC 9112 section 6.1 lets the chunks count as well, and has the connection closed in both.
    fields = [b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n"]
    first, second = (fields[each] for each in order)
    body = b"\r\n%x\r\n%s\r\n" % (len(FORM), FORM) + CHUNKS
    answer = heard(served[1].port, HEAD + first + second + body + TAIL)
    assert answer.statuses == [400]
    assert answer.closed_after is not None


UPGRADE = HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
UNKNOWN = b"grant_type=client_credentials&client_id=nobody&client_secret=x"
WITH_AN_UPGRADE = {
    "a length": length(UNKNOWN),
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(UNKNOWN), UNKNOWN) + CHUNKS,
    "another protocol": b"Upgrade: websocket\r\n" + length(UNKNOWN),
}


@pytest.mark.parametrize("shape", WITH_AN_UPGRADE)
def test_a_request_that_would_rather_speak_http_2_is_answered_by_what_its_body_says(
    served: tuple[str, Deployment], shape: str
) -> None:
    """Java's own client asks so of every server that it reaches without TLS."""
    answer = heard(served[1].port, UPGRADE + WITH_AN_UPGRADE[shape] + TAIL)
    assert answer.statuses == ([401] if served[0] == "ours" else [401, 200])  # gthread goes on with the connection
    assert b"invalid_client" in answer.answer
    assert answer.closed_after is not None


BASIC = b"Authorization: Basic eDp5\r\n"


@pytest.mark.parametrize(
    ("fields", "ours", "gthread"),
    [
        (b"Authorization: \xe9\r\n", 400, 401),  # to gthread, a scheme that nobody knows
        (b"Authorization: Basic \xe9\r\n" + BASIC, 400, 400),
        (b"Authorization: \xe9\r\n" + BASIC + BASIC, 400, 401),
        (b"Content-Type: \xe9\r\n" + BASIC, 400, 400),
        (b"Host: \xe9\r\n" + BASIC, 400, 400),
        (BASIC + b"Authorization: Basic \xe9\r\n", 400, 400),
        (BASIC + b"X: \xe9\r\n", 401, 401),
    ],
)
def test_40_a_field_that_decides_holds_ascii(
    served: tuple[str, Deployment], fields: bytes, ours: int, gthread: int
) -> None:
    line, _, rest = HEAD.partition(b"\r\n")
    answer = heard(served[1].port, line + b"\r\n" + fields + rest + b"Connection: close\r\n" + length(FORM))
    assert answer.statuses == [{"ours": ours, "gthread": gthread}[served[0]]]


def test_19_a_coding_before_chunked_is_refused_whatever_its_bytes(served: tuple[str, Deployment]) -> None:
    codings = b"Transfer-Encoding: \xe9\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = heard(served[1].port, HEAD + codings + b"%x\r\n%s\r\n" % (len(FORM), FORM) + CHUNKS + TAIL)
    assert answer.statuses == [{"ours": 400, "gthread": 501}[served[0]]]
    assert answer.closed_after is not None


@pytest.mark.parametrize("size", [b"zz", b"-5", b"", b"0x5", b"g"])
def test_19_a_chunk_whose_size_is_none_is_400_and_part_of_a_body_is_not_taken_for_it(
    served: tuple[str, Deployment], size: bytes
) -> None:
    first = b"%x\r\n%s\r\n" % (len(FORM), FORM)
    answer = heard(served[1].port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + first + size + b"\r\nx\r\n" + CHUNKS)
    assert answer.statuses == [400]
    assert b"The body is not framed as HTTP frames one" in answer.answer


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000\r\n\r\n" + FORM, b"Transfer-Encoding: chunked\r\n\r\n5\r\ngrant\r\n"]
)
def test_19_a_body_that_breaks_off_is_no_body(served: tuple[str, Deployment], framing: bytes) -> None:
    # RFC 9112 section 8: what is not there whole is not to be read as if it were.
    answer = heard(served[1].port, HEAD + framing, half_close=True)
    assert answer.statuses == [400]
    assert b"The body is not framed as HTTP frames one" in answer.answer


@pytest.mark.parametrize(
    "framing", [length(FORM), b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(FORM), FORM)]
)
def test_19_a_whole_body_is_read_whole_however_it_is_framed(served: tuple[str, Deployment], framing: bytes) -> None:
    answer = heard(served[1].port, HEAD + b"Connection: close\r\n" + framing)
    assert answer.statuses == [401]
    assert b"invalid_client" in answer.answer


@pytest.mark.parametrize(
    ("lines", "ours", "gthread"),
    [
        (b"Host: x\r\nHost: y\r\n", 400, 400),
        (b"Host: x\r\nHost: x\r\n", 400, 400),
        # Nothing is answered by the Host (#21), so gthread's indifference changes nothing.
        (b'Host: "</>\r\n', 400, 200),
        (b"Host: a b\r\n", 400, 200),
        (b"", 400, 200),
        (b"Host:\r\n", 200, 200),
        (b"Host: [::1]:5000\r\n", 200, 200),
    ],
)
def test_20_there_is_one_host(served: tuple[str, Deployment], lines: bytes, ours: int, gthread: int) -> None:
    answer = heard(served[1].port, b"GET /healthz HTTP/1.1\r\n" + lines + b"Connection: close\r\n\r\n")
    assert answer.statuses == [{"ours": ours, "gthread": gthread}[served[0]]]


@pytest.mark.parametrize(
    "request_line", [b"GET http://evil.test/oauth2/.well-known/oauth-authorization-server HTTP/1.1"]
)
def test_20_an_absolute_target_is_answered_as_its_path_and_names_nobody(
    served: tuple[str, Deployment], request_line: bytes
) -> None:
    deployment = served[1]
    answer = heard(deployment.port, request_line + b"\r\nHost: other.test\r\nConnection: close\r\n\r\n")
    assert answer.statuses == [200]
    assert b"evil" not in answer.answer
    assert b"other.test" not in answer.answer
    assert deployment.base_url.encode() in answer.answer


@pytest.mark.parametrize(
    "request_line",
    [b"CONNECT evil.test:443 HTTP/1.1", b"OPTIONS * HTTP/1.1", b"PRI * HTTP/2.0", b"TRACE /healthz HTTP/1.1"],
)
def test_20_no_tunnel_no_upgrade_and_no_echo(served: tuple[str, Deployment], request_line: bytes) -> None:
    answer = heard(served[1].port, request_line + b"\r\nHost: x\r\nX-Canary: canary\r\nConnection: close\r\n\r\n")
    assert all(400 <= status < 500 for status in answer.statuses), answer
    assert b"canary" not in answer.answer
    assert answer.closed_after is not None


def test_20_an_upgrade_that_is_offered_is_not_taken(served: tuple[str, Deployment]) -> None:
    offer = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    assert heard(served[1].port, offer, seconds=30).statuses == [200]
    socket = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    assert heard(served[1].port, socket, seconds=30).statuses == [400]


TOO_MUCH = [
    (b"GET /healthz HTTP/1.1\r\n" + b"A: x\r\n" * 62 + b"Host: x\r\nConnection: close\r\n\r\n", 200),
    (b"GET /healthz HTTP/1.1\r\n" + b"A: x\r\n" * 63 + b"Host: x\r\nConnection: close\r\n\r\n", 431),
    (b"GET /healthz HTTP/1.1\r\n" + b"A: x\r\n" * 500 + b"Host: x\r\nConnection: close\r\n\r\n", 431),
    (GET + b"A: " + b"x" * (8190 - 5) + b"\r\n\r\n", 200),
    (GET + b"A: " + b"x" * (8190 - 2) + b"\r\n\r\n", 431),
    (GET + b"A: " + b"x" * 200_000 + b"\r\n\r\n", 431),
    (b"GET /healthz?" + b"x" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (b"GET /healthz?" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
]


@pytest.mark.parametrize(("head", "status"), TOO_MUCH, ids=range(len(TOO_MUCH)))
def test_18_a_head_that_is_too_much_is_refused_by_its_size(
    served: tuple[str, Deployment], head: bytes, status: int
) -> None:
    answer = heard(served[1].port, head)
    # A server that closes while more is being sent may lose its own answer on the way: then there is none at all.
    assert answer.statuses in ([status], *([[]] if len(head) > 100_000 else []))
    assert answer.closed_after is not None


TOO_LONG = {
    "honest": b"Content-Length: 65537\r\n\r\n" + b"a" * 65537,
    "lying": b"Content-Length: 999999999\r\n\r\na=b",
    "absent": b"Transfer-Encoding: chunked\r\n\r\n10001\r\n" + b"a" * 65537 + b"\r\n0\r\n\r\n",
    "absent and endless": b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"a" * 65536 + b"\r\n") * 40,
}


@pytest.mark.parametrize("kind", TOO_LONG)
def test_16_a_body_over_the_limit_is_413_whatever_its_length_is_said_to_be(
    served: tuple[str, Deployment], kind: str
) -> None:
    answer = heard(served[1].port, HEAD + TOO_LONG[kind])
    assert answer.statuses in ([413], [] if "endless" in kind else [413])
    assert answer.closed_after is not None


def test_208_nothing_of_what_was_refused_stands_in_the_log_and_nothing_failed(served: tuple[str, Deployment]) -> None:
    said = served[1].log.read_text()
    for absent in ("canary", "6.6.6.6", "smuggled", "server_error", "Traceback", "protocol failure"):
        assert absent not in said


def test_24_a_refusal_is_no_page(served: tuple[str, Deployment]) -> None:
    name, deployment = served
    answer = heard(deployment.port, GET + b"X_User: a\r\n\r\n")
    if name == "ours":
        head, _, body = answer.answer.partition(b"\r\n\r\n")
        assert b"Content-Type: application/json" in head
        assert b"nosniff" in head
        assert body == b'{"error":"invalid_request","error_description":"A header has an underscore in its name"}\n'
        assert '"reason": "field_name"' in deployment.log.read_text()


def test_16_hundreds_of_bodies_that_are_too_long_leave_nothing_behind(
    served: tuple[str, Deployment],
) -> None:
    if served[0] == "gthread":
        pytest.skip("each of them takes it five seconds to close; what it reads of one is the same code")
    (worker,) = [int(pid) for pid in children_of(served[1])]

    def resident() -> int:
        return int(
            next(
                line.split()[1]
                for line in Path(f"/proc/{worker}/status").read_text().splitlines()
                if line.startswith("VmRSS")
            )
        )

    for _ in range(50):
        heard(served[1].port, HEAD + TOO_LONG["absent"])
    before = resident()
    for _ in range(300):
        heard(served[1].port, HEAD + TOO_LONG["absent"])
    # 300 of them hold 20 MB.
    assert resident() - before < 8 * 1024
    open_files = len(list(Path(f"/proc/{worker}/fd").iterdir()))
    assert open_files < 60


def children_of(deployment: Deployment) -> list[str]:
    """Of the process that listens on its port: its workers."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes().split(b"\0")
            if f"127.0.0.1:{deployment.port}".encode() in line:
                found = (path / "task" / path.name / "children").read_text().split()
                if found:
                    return found
        except OSError:
            continue
    raise AssertionError
