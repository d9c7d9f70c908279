"""Every adapter says the same: one table of requests, and the whole answer to each, byte for byte."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from realmint import ResourceServer
from tests.support.doors import OPEN, SITES, Answered, Door, answered, site
from tests.support.fake_issuer import ISSUER, FakeIssuer

AT = "/.well-known/oauth-protected-resource"
POINTER = f'resource_metadata="https://orders.example{AT}"'
MALFORMED = "The Authorization header is malformed"
EXPIRED = "The token has expired"
Make = Callable[..., Door]


@pytest.fixture(params=sorted(SITES))
def make(request: pytest.FixtureRequest, api: ResourceServer) -> Iterator[Make]:
    """Makes the API behind one adapter."""
    with ExitStack() as stack:
        yield lambda protect=None, of=api: site(stack, request.param, of, protect)


def bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"


def refused(status: int, error: str, description: str, challenge: str | None, *more: tuple[str, str]) -> Answered:
    body = json.dumps({"error": error, "error_description": description}, separators=(",", ":")).encode() + b"\n"
    headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("cache-control", "no-store")]
    headers += [("www-authenticate", f"Bearer {challenge}")] if challenge else []
    return answered(status, [*headers, *more], body)


def missing(scope: str = "") -> Answered:
    said = f'scope="{scope}", {POINTER}' if scope else POINTER
    return refused(401, "unauthorized", "An access token is needed", said)


def said(error: str, description: str, more: str = "") -> str:
    return f'error="{error}", error_description="{description}"{more}, {POINTER}'


bad_request = refused(400, "invalid_request", MALFORMED, said("invalid_request", MALFORMED))
expired = refused(401, "invalid_token", EXPIRED, said("invalid_token", EXPIRED))
lacking = "The token lacks a required scope"
forbidden = refused(403, "insufficient_scope", lacking, said("insufficient_scope", lacking, ', scope="orders:admin"'))
unavailable = refused(
    503, "temporarily_unavailable", "The token cannot be checked at the moment", None, ("retry-after", "1")
)
CASES: list[tuple[str, Callable[[str], list[tuple[str, str]]], Answered]] = [
    ("/orders", lambda _: [], missing("orders:read")),
    ("/any", lambda _: [], missing()),
    ("/orders", lambda _: [("Cookie", "access_token=x")], missing("orders:read")),
    ("/orders", lambda good: [bearer(good)] * 2, bad_request),
    ("/orders", lambda good: [bearer(good), ("authorization", "Basic YTpi")], bad_request),
    ("/orders", lambda good: [("Authorization", ""), bearer(good)], bad_request),
    ("/orders", lambda _: [("Authorization", "Basic YTpi")], bad_request),
    ("/orders", lambda _: [("Authorization", "")], bad_request),
    ("/orders", lambda _: [("Authorization", "Bearer é")], bad_request),
    ("/orders", lambda good: [("Authorization", f"Bearer {good} x")], bad_request),
    ("/orders", lambda _: [("Authorization", "Bearer " + "a" * 9000)], bad_request),
    ("/admin", lambda good: [bearer(good)], forbidden),
]


@pytest.mark.parametrize("number", range(len(CASES)))
@pytest.mark.rfc("6750", "3")
def test_134_135_136_a_refusal_is_the_same_bytes_from_every_adapter(make: Make, fake: FakeIssuer, number: int) -> None:
    path, headers, answer = CASES[number]
    assert make().send("GET", path, *headers(fake.forge.token())) == answer


@pytest.mark.rfc("6750", "3")
def test_134_135_136_a_refusal_is_the_same_bytes_where_all_is_protected(make: Make, fake: FakeIssuer) -> None:
    door = make(OPEN)
    for path, headers, answer in CASES:
        expected = missing() if answer == missing("orders:read") else answer  # which route it is, is said to nobody
        assert door.send("GET", path, *headers(fake.forge.token())) == expected, path


@pytest.mark.parametrize("protect", [None, OPEN], ids=["marked", "protected"])
def test_a_bad_token_and_an_issuer_that_is_away_are_told_apart(make: Make, fake: FakeIssuer, protect: Any) -> None:
    door = make(protect)
    assert door.send("GET", "/orders", bearer(fake.forge.token(exp=1))) == expired
    fake.down = True
    answer = door.send("GET", "/orders", bearer(fake.forge.token()))
    seconds = answer.header("retry-after")
    assert seconds is not None
    assert int(seconds) >= 1
    headers = tuple((name, "1" if name == "retry-after" else value) for name, value in answer.headers)
    assert answer._replace(headers=headers) == unavailable


@pytest.mark.parametrize("protect", [None, OPEN], ids=["marked", "protected"])
def test_135_a_token_in_the_query_is_none(make: Make, fake: FakeIssuer, protect: Any) -> None:
    door, token = make(protect), fake.forge.token()
    answer = missing("orders:read") if protect is None else missing()
    assert door.send("GET", f"/orders?access_token={token}") == answer
    assert door.send("GET", f"/orders?access_token={token}", bearer(fake.forge.token(exp=1))) == expired


@pytest.mark.parametrize("protect", [None, OPEN], ids=["marked", "protected"])
def test_a_good_token_reaches_the_route_which_knows_whose_it_is(make: Make, fake: FakeIssuer, protect: Any) -> None:
    door = make(protect)
    for path in ("/orders", "/any"):
        answer = door.send("GET", path, bearer(fake.forge.token()))
        assert (answer.status, answer.body) == (200, b"svc")
    assert door.send("GET", "/nothing", bearer(fake.forge.token())).status == 404


@pytest.mark.parametrize("protect", [None, OPEN], ids=["marked", "protected"])
def test_head_is_answered_as_get_is_but_without_a_body(make: Make, fake: FakeIssuer, protect: Any) -> None:
    door = make(protect)
    for path, *headers in (("/orders",), ("/admin", bearer(fake.forge.token()))):
        head, get = door.send("HEAD", path, *headers), door.send("GET", path, *headers)
        assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")


@pytest.mark.rfc("9728", "3")
def test_the_metadata_is_the_same_bytes_from_every_adapter(make: Make, make_api: Callable[..., ResourceServer]) -> None:
    body = {
        "authorization_servers": [ISSUER],
        "bearer_methods_supported": ["header"],
        "resource": "https://orders.example/v1",
        "scopes_supported": ["orders:admin", "orders:read"],
    }
    text = json.dumps(body, separators=(",", ":")).encode() + b"\n"
    headers = [("content-type", "application/json"), ("content-length", str(len(text)))]
    door = make(OPEN, make_api(audience="https://orders.example/v1"))
    for path in (AT, f"{AT}/v1"):
        assert door.send("GET", path) == answered(200, headers, text)
        assert door.send("HEAD", path) == answered(200, headers, b"")
        assert door.send("POST", path).status == 401
    for path in (f"{AT}/", f"{AT}/v2", f"/{AT}", f"{AT}%2Fv1x"):
        assert door.send("GET", path).status == 401


def test_21_a_host_header_moves_no_address(make: Make) -> None:
    door = make(OPEN)
    for path in ("/orders", AT):
        assert door.send("GET", path, ("Host", "evil.example")) == door.send("GET", path, ("Host", "orders.example"))
        assert b"evil" not in door.send("GET", path, ("Host", "evil.example")).body


def test_where_a_test_assumes_a_caller_no_token_is_looked_for(make: Make, api: Any, fake: FakeIssuer) -> None:
    api.assumed = api.validate(fake.forge.token())
    for protect in (None, OPEN):
        door = make(protect)
        assert door.send("GET", "/orders").body == b"svc"
        assert door.send("GET", "/admin") == forbidden
    api.assumed = None
    assert door.send("GET", "/orders") == missing()


class Counting(ResourceServer):
    """Tells of each decision that it is asked for."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.asked: list[str | None] = []

    def validate(self, access_token: str, scope: str | None = None, *, live: bool = False) -> Any:
        self.asked.append(scope)
        return super().validate(access_token, scope, live=live)

    async def avalidate(self, access_token: str, scope: str | None = None, *, live: bool = False) -> Any:
        return self.validate(access_token, scope, live=live)


def test_a_token_is_looked_at_once_though_all_is_protected_and_the_route_is_marked(
    make: Make, fake: FakeIssuer, clock: Any
) -> None:
    clocks = {"clock": clock.wall, "monotonic": clock.monotonic}
    api = Counting(ISSUER, "https://orders.example", transport=fake, background=False, **clocks)
    door = make(OPEN, api)
    assert door.send("GET", "/orders", bearer(fake.forge.token())).status == 200
    assert api.asked == [None]
    assert door.send("GET", "/admin", bearer(fake.forge.token())) == forbidden
    assert api.asked == [None, None, "orders:admin"]  # and so the refusal is an event


def test_an_import_of_the_library_imports_no_framework() -> None:
    frameworks = "{'flask', 'fastapi', 'starlette', 'django', 'asgiref', 'werkzeug', 'pydantic'}"
    program = f"import realmint, realmint.wsgi, realmint.asgi, sys; print(sorted({frameworks} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
