"""What a warm request costs, in work and not in time: the same on a busy machine as on an idle one."""

import base64
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from issuer import log
from tests.support.issuer import Caller, Issuer
from tests.support.wire import FORM

READER = "--scope read --default-scope read"
GROWTH = 1.05
"""How much more than CALLS a request may take without an edit of CALLS, whose commit says why."""
CALLS = {"a token": 189, "a token through Flask": 386, "an introspection": 366}
"""Calls of Python functions, on CPython 3.11 with the versions in constraints.txt; later ones make fewer."""

SQL = ("Cursor:execute", "Engine.connect")


class Work:
    """Calls by name, of Python functions and of what is written in C, and where the Python ones were from."""

    def __init__(self) -> None:
        self.python: Counter[str] = Counter()
        self.native: Counter[str] = Counter()

    def note(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "call":
            self.python[f"{frame.f_globals.get('__name__')}:{frame.f_code.co_qualname}"] += 1
        elif event == "c_call":
            self.native[
                f"{called.__module__ or type(getattr(called, '__self__', None)).__name__}:{called.__name__}"
            ] += 1

    def of(self, *names: str) -> int:
        """How often those were called whose name ends like one of these."""
        return sum(count for name, count in (self.python + self.native).items() if name.endswith(names))


@contextmanager
def counted() -> Iterator[Work]:
    work = Work()
    before = sys.getprofile()
    sys.setprofile(work.note)
    try:
        yield work
    finally:
        sys.setprofile(before)


@pytest.fixture
def caller(issuer: Issuer) -> Caller:
    return issuer.client(options=READER)


def asking(app: Callable[..., Any], caller: Caller, path: str, body: bytes) -> Callable[[], Any]:
    """One WSGI call, as a server makes it; everything that it needs was made before."""
    credentials = base64.b64encode(f"{caller.client_id}:{caller.secret}".encode()).decode()
    environ = {
        "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": path, "RAW_URI": path, "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "5000", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0), "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": True,
        "wsgi.run_once": False, "REMOTE_ADDR": "192.0.2.1", "CONTENT_TYPE": FORM, "CONTENT_LENGTH": str(len(body)),
        "HTTP_AUTHORIZATION": f"Basic {credentials}",
    }  # fmt: skip
    statuses: list[str] = []
    start_response = lambda status, *_: statuses.append(status)  # noqa: E731 - the least there is

    def ask() -> bytes:
        answer = b"".join(app(environ | {"wsgi.input": io.BytesIO(body)}, start_response))
        assert statuses.pop() == "200 OK", answer
        return answer

    return ask


def token_requests(issuer: Issuer, caller: Caller, app: Callable[..., Any]) -> Callable[[], Any]:
    ask = asking(app, caller, issuer.address("/access_token"), b"grant_type=client_credentials&scope=read")
    for _ in range(3):  # warm: the first opens the front, the next learns the address
        ask()
    return ask


def introspections(issuer: Issuer, caller: Caller) -> Callable[[], Any]:
    token = issuer.token(caller)
    ask = asking(issuer.app, caller, issuer.address("/introspect"), f"token={token}".encode())
    for _ in range(3):
        ask()
    return ask


def work_of(ask: Callable[[], Any]) -> Work:
    log.configure("INFO", "text")  # as a server has it: a test's own handlers would have records made
    with counted() as work:
        ask()
    return work


def test_a_warm_token_is_one_signature_and_nothing_is_done_twice(issuer: Issuer, caller: Caller) -> None:
    for app in (issuer.app, issuer.app.wsgi_app.behind):  # type: ignore[attr-defined]
        work = work_of(token_requests(issuer, caller, app))
        assert work.of(":sign") - work.of("jws:sign") == 1, work.native
        assert work.of(*SQL) == 0
        assert work.of(":parse_form") == 1
        assert work.of(":dumps", ":JSONEncoder.encode") == 2  # the claims and the answer
        assert work.of(":urandom") == 1
        assert work.of(":import_key", ":load_der_private_key", ":load_pem_private_key", ":verification_key") == 0
        assert work.of(":loads", "JSONDecoder.decode") == 0


def test_what_counts_work_sees_it(issuer: Issuer, caller: Caller) -> None:
    """The names above are those of what is called: each is met where it has to be."""
    with counted() as cold:
        other = Issuer(issuer.runtime.settings.instance_path, issuer.clock)
        other.token(caller)
        other.introspect(caller, other.token(caller))
        other.runtime.close()
    for name in (*SQL, ":load_der_private_key", ":verification_key", ":urandom", ":dumps", ":parse_form"):
        assert cold.of(name) > 0, name


def test_a_warm_introspection_is_one_statement_and_one_verification(issuer: Issuer, caller: Caller) -> None:
    work = work_of(introspections(issuer, caller))
    assert (
        work.native["sqlite3.Cursor:execute"] + work.of("Cursor:execute") - work.native["sqlite3.Cursor:execute"] == 1
    )
    assert work.of("ECPublicKey:verify") == 1
    assert work.of(":sign") == 0
    assert work.of(":parse_form") == 1
    assert work.of(":dumps", ":JSONEncoder.encode") == 1


@pytest.mark.parametrize("name", CALLS)
def test_a_request_takes_no_more_calls_than_it_did(issuer: Issuer, caller: Caller, name: str) -> None:
    asks = {
        "a token": lambda: token_requests(issuer, caller, issuer.app),
        "a token through Flask": lambda: token_requests(issuer, caller, issuer.app.wsgi_app.behind),  # type: ignore[attr-defined]
        "an introspection": lambda: introspections(issuer, caller),
    }
    work = work_of(asks[name]())
    calls = work.python.total()
    assert calls <= CALLS[name] * GROWTH, f"{calls} calls: {work.python.most_common(60)}"
