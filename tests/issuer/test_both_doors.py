"""The short way in front of Flask and Flask behind it answer and log the same, byte for byte."""

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import flask
import pytest
from hypothesis import HealthCheck, given, settings
from werkzeug.test import run_wsgi_app

from issuer.doors.front import Front
from issuer.endpoints import ENDPOINTS
from issuer.request import MAX_BODY
from tests.issuer.conftest import ORDERS, READER, House, Lines
from tests.issuer.test_fuzz import environs
from tests.support.issuer import Issuer, claims, header
from tests.support.wire import FORM

GRANT = b"grant_type=client_credentials"
NOT_THE_SAME = re.compile(r"^\S+Z |(?<=jti=)\S+")
"""Of a line in the log: when it was written, and what is random in a token."""


def environ(method: str, path: str, body: bytes = b"", **more: Any) -> dict[str, Any]:
    """What a server hands over; None takes a member away."""
    given: dict[str, Any] = {
        "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "RAW_URI": path, "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "5000", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0), "wsgi.errors": io.StringIO(), "wsgi.multithread": True, "wsgi.multiprocess": True,
        "wsgi.run_once": False, "wsgi.input": io.BytesIO(body), "REMOTE_ADDR": "192.0.2.1",
    }  # fmt: skip
    if method not in ("GET", "HEAD"):
        given |= {"CONTENT_TYPE": FORM, "CONTENT_LENGTH": str(len(body))}
    return {name: value for name, value in (given | more).items() if value is not None}


def answered(app: Any, asked: dict[str, Any]) -> tuple[str, list[tuple[str, str]], Any]:
    """Status, headers in their order, body; without the second of a Date, what is random in a token, and its length."""
    sent = asked["wsgi.input"].getvalue()
    parts, status, headers = run_wsgi_app(app, asked | {"wsgi.input": io.BytesIO(sent)}, buffered=True)
    body = b"".join(parts)
    left_out = {"Date"}
    if b'"access_token"' in body:
        assert dict(headers)["Content-Length"] == str(len(body))
        left_out.add("Content-Length")
    return status, [(name, "" if name in left_out else value) for name, value in headers], readable(body)


def readable(body: bytes) -> Any:
    if b'"access_token"' not in body:
        return body
    said = json.loads(body)
    assert json.dumps(said, sort_keys=True, separators=(",", ":")).encode() + b"\n" == body
    token = said["access_token"]
    if "." not in token:
        return said | {"access_token": len(token)}
    payload = claims(token)
    drawn = {"jti": len(payload["jti"]), "auditTrackingId": "", "authGrantId": "", "status": sorted(payload["status"])}
    return said | {"access_token": (header(token), list(payload), payload | drawn)}


class Doors:
    """Both doors of one application, and what they log."""

    def __init__(self, issuer: Issuer, lines: Lines) -> None:
        front = issuer.app.wsgi_app
        assert isinstance(front, Front)
        self.front = front
        self.lines = lines
        issuer.http.get("/healthz")  # with the first request it opens

    def ask(self, asked: dict[str, Any]) -> tuple[str, list[tuple[str, str]], Any]:
        """The one answer of both."""
        said = [(answered(app, asked), self._logged()) for app in (self.front.behind, self.front, self.front)]
        assert said[0] == said[1] == said[2], asked
        assert asked["wsgi.errors"].getvalue() == ""
        return said[0][0]

    def _logged(self) -> list[str]:
        logged = [NOT_THE_SAME.sub("", line) for line in self.lines.text]
        del self.lines.text[:], self.lines.json[:]
        return logged


@pytest.fixture
def doors(house: House, lines: Lines) -> Doors:
    return Doors(house.issuer, lines)


@contextmanager
def reaching_flask(app: flask.Flask) -> Iterator[list[str]]:
    """The paths that Flask sees meanwhile."""
    seen: list[str] = []

    def note(*_: object, **__: object) -> None:
        seen.append(flask.request.path)

    with flask.request_started.connected_to(note, app):
        yield seen


REALMS = ["/realms/root", "", "/realms/root/realms/customers", "/customers", "/realms/root/realms/nobody", "/nobody"]
SUFFIXES = [endpoint.suffix.replace("{list}", "0") for endpoint in ENDPOINTS]
METHODS = ["GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE", "post", "get", "Q"]


@pytest.mark.parametrize(
    "suffix", [*SUFFIXES, "/status/1", "/status/x", "/status/access_token", "/status/", "/nothing"]
)
def test_every_method_at_every_address(doors: Doors, house: House, suffix: str) -> None:
    basic = house["svc"].basic["Authorization"]
    for realm in REALMS:
        for path in (
            f"/oauth2{realm}{suffix}",
            f"/oauth2{realm}{suffix}/",
            f"//oauth2{realm}{suffix}",
            f"{suffix}/oauth2{realm}",
        ):
            for method in METHODS:
                doors.ask(environ(method, path, GRANT, HTTP_AUTHORIZATION=basic))
                doors.ask(environ(method, path, b"token=x"))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"HTTP_IF_NONE_MATCH": "*"},
        {"HTTP_IF_NONE_MATCH": '"x", W/"ETAG"'},
        {"HTTP_IF_NONE_MATCH": '"ETAG"'},
        {"HTTP_IF_NONE_MATCH": "ETAG"},
        {"HTTP_IF_NONE_MATCH": ""},
        {"HTTP_IF_MATCH": '"ETAG"'},
        {"HTTP_IF_MATCH": '"x"'},
        {"HTTP_IF_MATCH": "*", "HTTP_IF_NONE_MATCH": '"ETAG"'},
        {"HTTP_IF_MODIFIED_SINCE": "Sun, 06 Nov 2094 08:49:37 GMT"},
        {"HTTP_RANGE": "bytes=0-1", "HTTP_IF_RANGE": '"ETAG"'},
        {"HTTP_ACCEPT_ENCODING": "gzip"},
        {"HTTP_ACCEPT_ENCODING": "gzip;q=0, *"},
        {"QUERY_STRING": "a=b%20c"},
        {"HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "upgrade"},
        {"HTTP_COOKIE": "session=x", "HTTP_HOST": "[::1"},
        pytest.param({"CONTENT_LENGTH": "5", "wsgi.input": io.BytesIO(b"extra")}, id="a body"),
    ],
    ids=str,
)
def test_conditions_of_a_document(doors: Doors, given: dict[str, Any]) -> None:
    for suffix in SUFFIXES[4:]:
        path = f"/oauth2/realms/root{suffix}"
        etag = dict(doors.ask(environ("GET", path))[1]).get("ETag", '""').removeprefix("W/").strip('"')
        for method in ("GET", "HEAD"):
            said = {
                name: value.replace("ETAG", etag) if isinstance(value, str) else value for name, value in given.items()
            }
            doors.ask(environ(method, path, **said))


def chunked(body: bytes) -> dict[str, Any]:
    return {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": None, "wsgi.input": io.BytesIO(body)}


BODIES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "good": (GRANT, {}),
    "resource": (GRANT + f"&resource={ORDERS}".encode(), {}),
    "terminated": (GRANT, {"wsgi.input_terminated": True}),
    "shorter_than_said": (GRANT, {"CONTENT_LENGTH": "999"}),
    "shorter_than_said_terminated": (GRANT, {"CONTENT_LENGTH": "999", "wsgi.input_terminated": True}),
    "longer_than_said": (GRANT + b"&x=y", {"CONTENT_LENGTH": str(len(GRANT))}),
    "longer_than_said_terminated": (GRANT + b"&x", {"CONTENT_LENGTH": str(len(GRANT)), "wsgi.input_terminated": True}),
    "no_length": (GRANT, {"CONTENT_LENGTH": None}),
    "no_length_terminated": (GRANT, {"CONTENT_LENGTH": None, "wsgi.input_terminated": True}),
    "empty_length_terminated": (GRANT, {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}),
    "chunked": (GRANT, chunked(GRANT)),
    "chunked_terminated": (GRANT, chunked(GRANT) | {"wsgi.input_terminated": True}),
    "chunked_and_length": (GRANT, chunked(GRANT) | {"CONTENT_LENGTH": "3", "wsgi.input_terminated": True}),
    "chunked_too_large": (b"", chunked(b"x" * (MAX_BODY + 5)) | {"wsgi.input_terminated": True}),
    "largest": (GRANT.ljust(MAX_BODY, b"&"), {}),
    "too_large": (GRANT.ljust(MAX_BODY + 1, b"&"), {}),
    "far_too_large": (b"x" * 900_000, {"wsgi.input_terminated": True}),
    "negative": (GRANT, {"CONTENT_LENGTH": "-1"}),
    "no_number": (GRANT, {"CONTENT_LENGTH": "x"}),
    "huge_number": (GRANT, {"CONTENT_LENGTH": "9" * 5000}),
    "empty": (b"", {}),
    "repeated": (GRANT + b"&" + GRANT, {}),
    "no_form": (GRANT, {"CONTENT_TYPE": "application/json"}),
    "no_type": (GRANT, {"CONTENT_TYPE": None}),
    "query": (GRANT, {"QUERY_STRING": "x=y"}),
    "raw_query": (GRANT, {"RAW_URI": "/x?%"}),
    "raw_path": (GRANT, {"RAW_URI": "/%61?x"}),
    "request_uri": (GRANT, {"RAW_URI": None, "REQUEST_URI": "/%61"}),
    "post": (GRANT + b"&client_id=svc&client_secret=rms_x", {"HTTP_AUTHORIZATION": None}),
    "bearer": (GRANT, {"HTTP_AUTHORIZATION": "Bearer x"}),
    "nobody": (GRANT, {"HTTP_AUTHORIZATION": "Basic eDp5"}),
    "dpop": (GRANT, {"HTTP_DPOP": "x"}),
    "forwarded": (GRANT, {"HTTP_X_FORWARDED_FOR": "198.51.100.7", "HTTP_X_HTTP_METHOD_OVERRIDE": "GET"}),
    "mapped_address": (GRANT, {"REMOTE_ADDR": "::ffff:192.0.2.7"}),
    "no_address": (GRANT, {"REMOTE_ADDR": None}),
    "revoked": (b"token=x", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("suffix", ["/access_token", "/introspect", "/token/revoke", "/authorize"])
def test_16_bodies_however_they_are_framed(doors: Doors, house: House, suffix: str, name: str) -> None:
    body, more = BODIES[name]
    for realm in ("/realms/root", "", "/customers", "/nobody"):
        path = f"/oauth2{realm}{suffix}"
        given = {"RAW_URI": path, "HTTP_AUTHORIZATION": house["svc"].basic["Authorization"]} | more
        doors.ask(environ("POST", path, body, **given))


class Breaks(io.BytesIO):
    """A body whose connection breaks off, as a server tells it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(GRANT)
        self.error = error

    def read(self, _size: int | None = -1, /) -> bytes:
        raise self.error

    def readinto(self, _buffer: Any, /) -> int:
        raise self.error


@pytest.mark.parametrize(
    "error", [OSError(), ValueError(), TimeoutError(), RuntimeError("a chunk of no size")], ids=repr
)
def test_16_a_body_that_breaks_off(house: House, doors: Doors, error: Exception) -> None:
    for terminated in (True, None):
        asked = environ(
            "POST", house.issuer.address("/access_token"), GRANT,
            **{"HTTP_AUTHORIZATION": house["svc"].basic["Authorization"], "wsgi.input_terminated": terminated},
        )  # fmt: skip
        said = []
        for app in (doors.front.behind, doors.front):
            parts, status, headers = run_wsgi_app(app, asked | {"wsgi.input": Breaks(error)}, buffered=True)
            said.append((status, list(headers), b"".join(parts)))
        assert said[0] == said[1]
        assert said[0][0] == "400 BAD REQUEST"


@pytest.mark.parametrize(
    ("script_name", "path"),
    [("", "/oauth2/realms/root/access_token"), ("/oauth2", "/realms/root/access_token"), ("/evil", "/oauth2/realms/root/access_token"),
     ("/oauth2/realms/root/access_token", ""), ("", "oauth2/realms/root/access_token"), ("", ""), ("", "/"),
     ("", "/oauth2/realms/root/access_token\u00e9"), ("", "/oauth2/realms/root/access_token\n"), ("/oauth2/x\u00c3\u00a9", "/access_token")],
)  # fmt: skip
def test_23_a_script_name_is_only_the_front_of_the_path(
    doors: Doors, house: House, script_name: str, path: str
) -> None:
    given = {"SCRIPT_NAME": script_name, "HTTP_AUTHORIZATION": house["svc"].basic["Authorization"]}
    doors.ask(environ("POST", path, GRANT, **given))


def test_introspection_and_revocation_of_live_tokens(house: House, doors: Doors) -> None:
    basic = house["svc"].basic["Authorization"]
    for suffix, status in (("/introspect", "200 OK"), ("/token/revoke", "200 OK"), ("/introspect", "200 OK")):
        body = b"token=" + house.issuer.token(house["svc"]).encode()
        del doors.lines.text[:]
        said = [
            answered(app, environ("POST", house.issuer.address(suffix), body, HTTP_AUTHORIZATION=basic))
            for app in (doors.front.behind, doors.front)
        ]
        assert said[0] == said[1]
        assert said[0][0] == status
        first, second = doors.lines.text
        assert len({NOT_THE_SAME.sub("", line).replace("effect=true", "effect=false") for line in (first, second)}) == 1


@pytest.mark.parametrize("fault", ["the store is away", "too old"])
def test_what_cannot_be_decided(make_issuer: Callable[..., Issuer], lines: Lines, fault: str) -> None:
    issuer = make_issuer()
    issuer.runtime.boot()
    caller = issuer.client("svc", READER)
    doors = Doors(issuer, lines)
    if fault == "too old":
        issuer.token(caller)
    issuer.runtime.database.path.unlink()
    issuer.runtime.database.engine.dispose()
    issuer.clock.advance(10_000)
    basic = caller.basic["Authorization"]
    seen: Counter[str] = Counter()
    for suffix in SUFFIXES:
        method = "POST" if suffix in ("/access_token", "/introspect", "/token/revoke") else "GET"
        for realm in ("/realms/root", "/customers"):
            body = GRANT if suffix == "/access_token" else b"token=x"
            seen[doors.ask(environ(method, f"/oauth2{realm}{suffix}", body, HTTP_AUTHORIZATION=basic))[0]] += 1
    assert seen["503 SERVICE UNAVAILABLE"] >= 10, seen


def test_26_whatever_is_sent(house: House, doors: Doors) -> None:
    seen: Counter[str] = Counter()

    @given(environs(house["svc"].basic["Authorization"]))
    @settings(max_examples=1500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def ask(asked: dict[str, Any]) -> None:
        seen[doors.ask(asked)[0]] += 1

    ask()
    assert {"200 OK", "400 BAD REQUEST", "401 UNAUTHORIZED", "404 NOT FOUND"} <= set(seen), seen


def test_requests_that_are_sound_go_the_short_way_and_others_do_not(house: House, doors: Doors) -> None:
    sound = [
        ("POST", "/access_token"),
        ("POST", "/introspect"),
        ("POST", "/token/revoke"),
        *(("GET", suffix) for suffix in SUFFIXES[4:]),
    ]
    with reaching_flask(house.issuer.app) as seen:
        for method, suffix in sound:
            answered(doors.front, environ(method, house.issuer.address(suffix), GRANT))
        assert seen == []
        for method, path in (
            ("GET", "/healthz"),
            ("GET", "/readyz"),
            ("PUT", house.issuer.address("/access_token")),
            ("GET", "/x"),
        ):
            answered(doors.front, environ(method, path))
        assert len(seen) == 4


@pytest.mark.parametrize("given", ["before", "after", "teardown", "view", "handler", "signal"])
def test_an_application_that_somebody_changed_is_served_by_flask_alone(
    make_issuer: Callable[..., Issuer], given: str
) -> None:
    issuer = make_issuer()
    seen: list[str] = []

    def note(*arguments: Any, **_: Any) -> Any:
        seen.append(flask.request.path)
        return arguments[0] if given == "after" else None

    if given == "before":
        issuer.app.before_request(note)
    elif given == "after":
        issuer.app.after_request(note)
    elif given == "teardown":
        issuer.app.teardown_request(note)
    elif given == "view":
        inner = issuer.app.view_functions["jwks"]
        issuer.app.view_functions["jwks"] = lambda **known: note() or inner(**known)
    elif given == "handler":
        issuer.app.register_error_handler(404, lambda _error: note() or ("", 404))
    if given == "signal":
        flask.request_started.connect(note, issuer.app)
    path = issuer.address("/connect/jwk_uri") if given != "handler" else "/oauth2/nothing"
    for _ in range(3):
        issuer.http.get(path)
    flask.request_started.disconnect(note, issuer.app)
    assert seen == [path] * 3


def test_made_up_addresses_are_not_remembered(house: House, doors: Doors) -> None:
    before = doors.front.remembered
    for number in range(50):
        answered(doors.front, environ("GET", f"/oauth2/realms/root/realms/made-up-{number}/connect/jwk_uri"))
        answered(doors.front, environ("GET", f"/oauth2/realms/root/status/{number + 5}"))
        answered(doors.front, environ("POST", f"/oauth2/made-up-{number}/access_token", GRANT))
    assert doors.front.remembered == before


def test_other_spellings_of_an_address_are_answered_and_not_remembered(house: House, doors: Doors) -> None:
    path = house.issuer.address("/connect/jwk_uri")
    for spelling in (path, f"{path}/"):
        doors.ask(environ("GET", spelling))
    before = doors.front.remembered
    for slashes in range(2, 50):
        for method in ("GET", "HEAD"):
            assert doors.ask(environ(method, "/" * slashes + path.lstrip("/")))[0] == "200 OK"
    assert doors.front.remembered == before


def test_more_addresses_than_are_remembered_are_answered_all_the_same(house: House, doors: Doors) -> None:
    behind, app = doors.front.behind, house.issuer.app
    small = Front(app, house.issuer.runtime, doors.front._services, most=3)
    small.behind = behind
    answered(small, environ("GET", "/healthz"))
    for _ in range(2):
        for suffix in SUFFIXES[4:]:
            path = house.issuer.address(suffix)
            assert answered(small, environ("GET", path)) == answered(behind, environ("GET", path))
            assert small.remembered <= 3
