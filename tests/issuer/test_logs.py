"""What is written to the log: one line each, that nothing sent can forge, and no secret (#207-#209)."""

import base64
import io
import json
import logging
import re
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from cryptography.hazmat.primitives.serialization import load_der_private_key
from hypothesis import given
from hypothesis import strategies as st

from issuer import log
from keys import store as key_store
from tests.issuer.conftest import READER, House, Lines
from tests.support.clock import FakeClock
from tests.support.issuer import KEK, Caller, Issuer, basic, claims, header
from tests.support.meanwhile import listening
from tests.support.process import Deployment
from tests.support.wire import FORM

FORGED = {
    "crlf": "a\r\ninfo token_issued realm=/ client_id=evil",
    "ansi": "\x1b[2J\x1b[31mred",
    "json": '","event":"forged","x":"',
    "pairs": 'a client_id=other "quoted" x=y',
    "surrogate": "a\ud800b",
    "lines_of_unicode": "a\u2028b\u2029c\x85d\x0be",
    "backslashes": "\\\\n\\x1b\\",
    "1_mb": "x" * 1_000_000,
    "60_kb": "y" * 60_000,
}


def assert_one_line(lines: Lines) -> dict[str, Any]:
    """One event in both forms: printable ASCII, short, and the JSON one an object. That object."""
    assert (len(lines.text), len(lines.json)) == (1, 1), lines.text
    for line in (*lines.text, *lines.json):
        assert line.isascii()
        assert line.isprintable()
        assert len(line) < 8000
    written: dict[str, Any] = json.loads(lines.json[0])
    assert all(not isinstance(value, str) or len(value) <= 12 * log.MAX_VALUE for value in written.values())
    return written


@pytest.mark.parametrize("place", ["basic", "post", "scope", "user_agent", "grant_type", "query"])
@pytest.mark.parametrize("value", FORGED.values(), ids=FORGED)
def test_207_whatever_is_sent_is_one_line_that_it_cannot_forge(
    house: House, lines: Lines, value: str, place: str
) -> None:
    caller, encoded = house["svc"], value.encode("utf-8", "surrogatepass")
    form: dict[str, Any] = {"grant_type": "client_credentials", "scope": "read", "x": "1"}
    sent: dict[str, Any] = {"headers": caller.basic}
    if place == "basic":
        sent["headers"] = {"Authorization": "Basic " + base64.b64encode(encoded + b":secret").decode()}
    elif place == "post":
        form, sent = form | {"client_id": encoded, "client_secret": "wrong"}, {}
    elif place == "user_agent":
        sent["environ_overrides"] = {"HTTP_USER_AGENT": encoded.decode("latin-1")}
    elif place == "query":
        sent["environ_overrides"] = {"QUERY_STRING": encoded.decode("latin-1")}
    else:
        form[place] = encoded
    house.issuer.http.post(house.issuer.address("/access_token"), data=form, **sent)
    written = assert_one_line(lines)
    assert written["event"] == ("token_issued" if place == "user_agent" else "refused")
    assert written["realm"] == "/"
    assert written.get("client_id") != "evil"
    assert "forged" not in written


@pytest.mark.parametrize("value", FORGED.values(), ids=FORGED)
def test_207_a_path_is_no_line_unless_it_could_name_a_realm(house: House, lines: Lines, value: str) -> None:
    path = "/oauth2/" + value.encode("utf-8", "surrogatepass").decode("latin-1") + "/access_token"
    assert house.issuer.http.post("/", environ_overrides={"PATH_INFO": path}).status_code == 404
    assert lines.text == []


@pytest.mark.parametrize("suffix", ["/access_token", "/introspect", "/connect/jwk_uri"])
def test_207_an_unknown_realm_is_one_cut_line(house: House, lines: Lines, suffix: str) -> None:
    realm = ("/" + "r" * 63) * 8
    method = "GET" if "jwk" in suffix else "POST"
    assert house.issuer.http.open(house.issuer.address(suffix, realm), method=method).status_code == 404
    written = assert_one_line(lines)
    assert (written["error"], written["reason"]) == ("not_found", "unknown_realm")
    assert written["realm"] == realm[: log.MAX_VALUE] + "..."


@given(
    st.text(st.characters(exclude_categories=[])),
    st.dictionaries(
        st.sampled_from(["client_id", "reason", "x"]),
        st.one_of(
            st.text(st.characters(exclude_categories=[])), st.binary(), st.integers(), st.floats(), st.booleans(),
            st.lists(st.text(max_size=5), max_size=40), st.sampled_from([10**6000, "x" * 1_000_000, ["y" * 999] * 99]),
        ),
    ),
)  # fmt: skip
def test_207_any_value_at_all_becomes_one_line(name: str, fields: dict[str, Any]) -> None:
    handler = Lines()
    log.LOGGER.setLevel(logging.INFO)  # before any application has set it
    log.LOGGER.addHandler(handler)
    try:
        log.event(name.replace("%", "%%"), **fields)
    finally:
        log.LOGGER.removeHandler(handler)
    for line in (*handler.text, *handler.json):
        assert line.isascii()
        assert line.isprintable()
        assert len(line) < 12 * log.MAX_VALUE * 40
    assert len(handler.text) == 1
    # The keys are ours; a number beyond JSON's is no number there.
    json.loads(handler.json[0], parse_constant=pytest.fail)


class Full(io.StringIO):
    """A disk that is full, until it is not."""

    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_209_a_log_that_cannot_be_written_refuses_nobody_and_owns_up_later(
    capsys: pytest.CaptureFixture[str], make_issuer: Callable[..., Issuer]
) -> None:
    issuer = make_issuer()
    issuer.runtime.boot()
    caller, sink = issuer.client(options=READER), Full()
    (handler,) = log.LOGGER.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(sink)
    capsys.readouterr()
    for _ in range(3):
        assert issuer.token_response(caller).status_code == 200
    assert sink.getvalue() == ""
    assert capsys.readouterr() == ("", "")  # no traceback instead
    sink.full = False
    assert issuer.token_response(caller).status_code == 200
    assert issuer.token_response(caller).status_code == 200
    assert [line.split(" ")[2] for line in sink.getvalue().splitlines()] == [
        "token_issued", "log_lines_lost", "token_issued",
    ]  # fmt: skip
    assert "warning log_lines_lost count=3" in sink.getvalue()


# --- #209: what is written of what happens --------------------------------------------------------------------------


def events(lines: Lines) -> list[dict[str, Any]]:
    """The events so far, in order; both forms must say the same. Emptied by this."""
    assert len(lines.text) == len(lines.json)
    written = [json.loads(line) for line in lines.json]
    for event, text in zip(written, lines.text, strict=True):
        event.pop("time")
        when, said = text.split(" ", 1)
        assert re.fullmatch(r"20\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\dZ", when)
        assert said.startswith(f"{event.pop('level').lower()} {event['event']}")
        for name, value in event.items():
            shown = value if isinstance(value, str) else json.dumps(value)
            if name != "event" and shown.isalnum():
                assert f" {name}={shown}" in text
    lines.text.clear()
    lines.json.clear()
    return written


def test_209_a_token_is_one_line_with_its_jti_and_kid_and_so_is_its_introspection(house: House, lines: Lines) -> None:
    token = house.issuer.token(house["svc"])
    said = claims(token)
    written = events(lines)
    (secret_id,) = [each["secret_id"] for each in house.issuer.run("clients secrets list svc")]
    assert written == [
        {
            "event": "token_issued", "realm": "/", "client_id": "svc", "credential_id": secret_id,
            "address": "127.0.0.1", "jti": said["jti"],
            "kid": header(token)["kid"], "expires_at": said["exp"],
        }
    ]  # fmt: skip
    house.issuer.introspect(house["auditor"], token)
    house.issuer.introspect(house["other"], token)
    house.issuer.introspect(house["other"], "garbage")
    seen = {
        "event": "introspected",
        "realm": "/",
        "client_id": "auditor",
        "address": "127.0.0.1",
        "active": True,
        "jti": said["jti"],
    }
    unseen = {"event": "introspected", "realm": "/", "client_id": "other", "address": "127.0.0.1", "active": False}
    written = events(lines)
    assert written[:2] == [seen, unseen | {"reason": "not_visible_to_caller"}]
    assert len(written) == 3
    assert written[2].items() >= unseen.items()


REFUSED = [
    ("wrong_secret", "other", {}, "invalid_client"),
    ("unknown_client", "nobody", {}, "invalid_client"),
    ("disabled_client", "off", {}, "invalid_client"),
    ("method_not_registered", "basic-only", {}, "invalid_client"),
    ("no_default_scope", "no-default", {}, "invalid_scope"),
    ("scope_not_allowed", "svc", {"scope": "nothing"}, "invalid_scope"),
    ("resource_not_allowed", "svc", {"resource": "https://x.example"}, "invalid_target"),
    ("grant_not_allowed", "no-grant", {}, "unauthorized_client"),
    ("unknown_grant_type", "svc", {"grant_type": "password"}, "unsupported_grant_type"),
]


@pytest.mark.parametrize(("case", "name", "form", "error"), REFUSED, ids=[row[0] for row in REFUSED])
def test_209_a_refusal_is_one_line_with_its_error_and_the_reason_that_the_answer_hides(
    house: House, lines: Lines, case: str, name: str, form: dict[str, str], error: str
) -> None:
    caller = house.clients.get(name, Caller(name, house["svc"].secret))
    if case == "wrong_secret":
        caller = Caller(name, house["svc"].secret)
    data = {"grant_type": "client_credentials"} | form
    if case == "method_not_registered":
        response = house.issuer.post("/access_token", data | caller.post)
    else:
        response = house.issuer.post("/access_token", data, caller.basic)
    assert response.json["error"] == error
    (written,) = events(lines)
    assert written.pop("reason").replace("_", "").isalpha()
    claimed = {"client_id": name} if error != "unsupported_grant_type" else {}  # refused before anybody is asked
    where = {"realm": "/", "address": "127.0.0.1", "endpoint": "token"}
    assert written == {"event": "refused", "error": error} | where | claimed


@pytest.mark.parametrize(
    ("peer", "forwarded", "logged"),
    [
        ("192.0.2.9", "6.6.6.6", "192.0.2.9"),  # not a proxy of ours: what it says changes nothing
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6", "6.6.6.6"),
        ("10.0.0.1", "1.1.1.1, 6.6.6.6", "6.6.6.6"),  # the newest: the rest is what the client said
        ("10.0.0.1", "6.6.6.6, 10.0.0.7", "6.6.6.6"),  # a second proxy of ours in between
        ("10.0.0.1", "6.6.6.6, evil\tX", "10.0.0.1"),
        ("fd00::1", "2001:db8::6", "2001:db8::6"),
        # As proxies really write it: a port, brackets; and as what listens on :: sees an IPv4 peer.
        ("10.0.0.1", "6.6.6.6:50123", "6.6.6.6"),
        ("10.0.0.1", "[2001:db8::6]:50123", "2001:db8::6"),
        ("10.0.0.1", "[2001:db8::6]", "2001:db8::6"),
        ("10.0.0.1", "6.6.6.6, 10.0.0.7:443", "6.6.6.6"),
        ("10.0.0.1", "::ffff:6.6.6.6", "6.6.6.6"),
        ("::ffff:10.0.0.1", "6.6.6.6", "6.6.6.6"),
        ("::ffff:192.0.2.9", "6.6.6.6", "192.0.2.9"),
        ("10.0.0.1", "6.6.6.6:", "10.0.0.1"),
        ("10.0.0.1", "[6.6.6.6", "10.0.0.1"),
        ("10.0.0.1", "300.6.6.6", "10.0.0.1"),
    ],
)
def test_22_a_forwarded_address_is_believed_of_a_proxy_that_was_named_and_of_nobody_else(
    make_issuer: Callable[..., Issuer], lines: Lines, peer: str, forwarded: str | None, logged: str
) -> None:
    issuer = make_issuer(TRUSTED_PROXIES="10.0.0.0/8, fd00::/8")
    issuer.runtime.boot()
    log.LOGGER.addHandler(lines)
    environ = {"REMOTE_ADDR": peer} | ({"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {})
    for suffix, realm in (("/access_token", "/"), ("/introspect", "/"), ("/access_token", "/nobody")):
        lines.json.clear()
        issuer.http.post(issuer.address(suffix, realm), data={"x": "1"}, environ_overrides=environ)
        assert [json.loads(line)["address"] for line in lines.json] == [logged]


@pytest.mark.parametrize("suffix", ["/connect/jwk_uri", "/.well-known/oauth-authorization-server", "/access_token"])
def test_22_a_realm_that_nobody_knows_is_logged_with_who_asked(
    make_issuer: Callable[..., Issuer], lines: Lines, suffix: str
) -> None:
    issuer = make_issuer(TRUSTED_PROXIES="10.0.0.0/8")
    issuer.runtime.boot()
    log.LOGGER.addHandler(lines)
    lines.json.clear()
    environ = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "6.6.6.6"}
    method = "POST" if suffix == "/access_token" else "GET"
    issuer.http.open(issuer.address(suffix, "/nobody"), method=method, environ_overrides=environ)
    (line,) = [json.loads(line) for line in lines.json]
    assert (line["event"], line["reason"], line["address"]) == ("refused", "unknown_realm", "6.6.6.6")


def test_22_an_ipv4_peer_that_is_seen_through_ipv6_is_written_as_it_is_known(
    make_issuer: Callable[..., Issuer], lines: Lines
) -> None:
    issuer = make_issuer()
    issuer.runtime.boot()
    log.LOGGER.addHandler(lines)
    for peer, logged in (("::ffff:192.0.2.9", "192.0.2.9"), ("::1", "::1"), ("2001:db8::9", "2001:db8::9")):
        lines.json.clear()
        issuer.http.post(issuer.address("/access_token"), data={"x": "1"}, environ_overrides={"REMOTE_ADDR": peer})
        assert [json.loads(line)["address"] for line in lines.json] == [logged]


def test_209_every_change_by_a_command_is_one_line_and_a_rehearsal_none(issuer: Issuer, lines: Lines) -> None:
    def changed(command: str, stdin: str | None = None) -> dict[str, Any]:
        """The one change that the command writes; rehearsed first, which writes none."""
        if " --yes" not in command:
            assert issuer.command(f"{command} --dry-run", stdin).exit_code == 0
            issuer.runtime.database.rehearsing = False  # one process, one command, but for these tests
            assert events(lines) == []
        made.update(issuer.run(command, stdin))
        (written,) = events(lines)
        assert written.pop("event") == "changed"
        return written

    made: dict[str, Any] = {}
    realm, client = {"realm": "/customers"}, {"realm": "/customers", "client_id": "svc"}
    at = "--realm /customers"
    assert changed("realms create /customers") == {"what": "realm_created"} | realm
    created = changed(f"clients create svc {READER} {at}")
    assert created == {"what": "client_created", "secret_id": made["secret_id"]} | client
    added = changed(f"clients secrets add svc {at} --expires-in 1h --overlap 5m")
    secret = {"secret_id": made["secret_id"]}
    assert added == {"what": "secret_added", "expires_at": issuer.clock.now + 3600, "overlap": 300} | client | secret
    imported = changed(f"clients secrets add svc {at} --secret-stdin", "imported-secret")
    assert imported == {"what": "secret_added", "secret_id": made["secret_id"]} | client
    revoked = changed(f"clients secrets revoke svc {made['secret_id']} {at} --yes --keep-tokens")
    assert revoked == {"what": "secret_revoked", "secret_id": made["secret_id"], "keep_tokens": True} | client
    updated = changed(f"clients update svc {at} --name x --scope 'read write'")
    assert updated == {"what": "client_updated", "members": ["name", "scopes"]} | client
    assert changed(f"clients disable svc {at}") == {"what": "client_disabled"} | client
    assert changed(f"clients enable svc {at}") == {"what": "client_enabled"} | client
    assert changed(f"clients delete svc {at} --yes") == {"what": "client_deleted"} | client
    assert changed("realms disable /customers") == {"what": "realm_disabled"} | realm
    assert changed("realms enable /customers") == {"what": "realm_enabled"} | realm
    assert changed("realms delete /customers --yes") == {"what": "realm_deleted"} | realm


def test_209_a_command_that_changes_nothing_writes_nothing(issuer: Issuer, lines: Lines) -> None:
    issuer.client(options=READER)
    events(lines)
    for line in (
        "clients enable svc", "clients update svc", "realms enable /", "clients show svc", "clients list",
        "clients secrets list svc", "realms list", "realms show /", "keys list", "db upgrade", "clients disable nobody",
        "clients create svc", "realms create /", "clients secrets revoke svc nothing --yes", "realms delete /nobody --yes",
    ):  # fmt: skip
        issuer.command(line)
        assert events(lines) == [], line


def test_209_a_first_start_says_what_it_made_and_stdout_stays_one_json_value(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, LOG_FORMAT="json")
    result = deployment.command("clients create svc --scope read --default-audience https://orders.example --json")
    assert json.loads(result.stdout)["client_id"] == "svc"
    written = [json.loads(line) for line in result.stderr.splitlines()]
    assert [(line["event"], line["what"]) for line in written] == [
        ("changed", "realm_created"), ("changed", "client_created"),
    ]  # fmt: skip


# --- #208: canaries -------------------------------------------------------------------------------------------------

IMPORTED = "canary-imported-secret"
LIBRARIES = ("", "authlib", "werkzeug", "flask", "sqlalchemy", "alembic", "joserfc", "app")


class Everything(logging.Handler):
    """All that any library writes at DEBUG, as a careless configuration would write it: with tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.written: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(logging.Formatter().format(record))
        # Ours never goes through that formatter: errors are written as a type and a place (issuer/log.py).
        self.written.append(repr({k: v for k, v in vars(record).items() if k != "exc_info"}))


@pytest.fixture
def everything() -> Iterator[Everything]:
    """Every logger there is at DEBUG and captured, also those whose level is capped by our configuration."""
    handler = Everything()
    before = {logger: logger.level for logger in map(logging.getLogger, LIBRARIES)}
    logging.getLogger().addHandler(handler)
    uncap()
    yield handler
    logging.getLogger().removeHandler(handler)
    for logger, level in before.items():
        logger.setLevel(level)


def uncap() -> None:
    """Authlib's cap is taken off again, as somebody's logging configuration might."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.DEBUG)


def spellings(secret: bytes) -> list[str]:
    """How bytes look when they are printed."""
    return [
        base64.b64encode(secret).decode().rstrip("="),
        base64.urlsafe_b64encode(secret).decode().rstrip("="),
        secret.hex(),
        repr(secret)[2:-1],
    ]


class Canaries:
    """What may be in no log, and where each came from."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def add(self, what: str, *texts: str) -> None:
        self.known |= dict.fromkeys(texts, what)

    def token(self, token: str) -> str:
        self.add("token", token, *token.split("."))
        return token

    def caller(self, caller: Caller) -> Caller:
        self.add("secret", caller.secret)
        self.add("Basic header", caller.basic["Authorization"], caller.basic["Authorization"].partition(" ")[2])
        return caller

    def keys(self, issuer: Issuer) -> None:
        """The private halves of every key in the store."""
        with issuer.runtime.database.read() as connection:
            keys = key_store.load(connection, 1).keys
        for key in keys:
            if key.sealed is None:
                continue
            half = issuer.runtime.sealer().open(key.sealed, key.kek_id, key.realm_id, key.kid, key.alg)
            number = load_der_private_key(half, None).private_numbers().private_value  # type: ignore[union-attr]
            self.add("private half", str(number), f"{number:x}", *spellings(half), *spellings(number.to_bytes(32)))

    def assert_none_in(self, text: str, where: str) -> None:
        for canary, what in self.known.items():
            assert canary not in text, f"a {what} in {where}"


@pytest.mark.parametrize("style", ["text", "json"])
def test_208_no_secret_is_in_any_log_whatever_happens_to_it(
    capsys: pytest.CaptureFixture[str], everything: Everything, make_issuer: Callable[..., Issuer], tmp_path: Path, style: str
) -> None:  # fmt: skip
    url = f"sqlite:///{tmp_path / 'store.db'}"
    issuer = make_issuer("instance", url, LOG_LEVEL="DEBUG", LOG_FORMAT=style, AUTH_FAILURES_PER_MINUTE="5").setup()
    uncap()  # setting up caps again
    lines, canaries = Lines(), Canaries()
    log.LOGGER.addHandler(lines)
    canaries.add("key-encryption key", KEK, *spellings(base64.urlsafe_b64decode(KEK + "=")))
    canaries.add("imported secret", IMPORTED)
    printed = Commands(issuer, canaries)
    try:
        callers = printed.all_of_them()
        canaries.keys(issuer)
        requests_of_every_kind(issuer, canaries, callers)
        store_away(issuer, canaries, callers["svc"], tmp_path)
        broken_row(issuer, canaries, callers["svc"])
    finally:
        log.LOGGER.removeHandler(lines)
    out, err = capsys.readouterr()
    logged = {
        "stderr": err + printed.stderr,
        "stdout": out + printed.stdout,
        "libraries' logs": "\n".join(everything.written),
    }
    logged |= {"our log as text": "\n".join(lines.text), "our log as JSON": "\n".join(lines.json)}
    for where, text in logged.items():
        canaries.assert_none_in(text, where)
    # That there was something to find: the libraries did talk, and every way was walked.
    assert "authlib" in logged["libraries' logs"]
    assert "sqlalchemy" in logged["libraries' logs"]
    for event in ("token_issued", "refused", "introspected", "changed", "unavailable", "server_error"):
        assert event in logged["our log as JSON"], event
        assert event in logged["stderr"], event


class Commands:
    """Every command that a secret passes; its output is kept, but for the one place that shows a new secret."""

    def __init__(self, issuer: Issuer, canaries: Canaries) -> None:
        self._issuer, self._canaries = issuer, canaries
        self.stdout = self.stderr = ""

    def run(self, line: str, stdin: str | None = None, code: int = 0) -> Any:
        result = self._issuer.command(line, stdin)
        self._issuer.runtime.database.rehearsing = False
        assert result.exit_code == code, result.output
        shown = json.loads(result.stdout) if "--json" in shlex.split(line) else None
        if isinstance(shown, dict) and "client_secret" in shown:
            self._canaries.add("secret", shown["client_secret"])
            shown = dict(shown)
            assert result.stdout.count(shown["client_secret"]) == 1
        else:
            self.stdout += result.stdout
        self.stderr += result.stderr
        return shown

    def all_of_them(self) -> dict[str, Caller]:
        svc = self.run(f"clients create svc {READER} --json")
        self.run(f"clients create legacy {READER} --secret-stdin --json", IMPORTED)
        self.run(f"clients create legacy {READER} --secret-stdin --json", IMPORTED, code=8)
        self.run(f"clients create dry {READER} --secret-stdin --dry-run", IMPORTED)
        self.run("clients create padded --secret-stdin", f" {IMPORTED}", code=2)
        self.run("clients secrets add legacy --secret-stdin", IMPORTED + "-two")
        added = self.run("clients secrets add svc --overlap 1h --json")
        self.run(f"clients secrets revoke svc {added['secret_id']} --yes")
        for line in (
            "clients secrets list svc --json", "clients list --json", "clients list", "clients show svc",
            "clients update svc --name x", "clients disable svc", "clients enable svc", "realms create /customers",
            "realms list", "realms show /", "keys list", "keys list --json", "keys rotate --json", "keys list",
            "db upgrade",
        ):  # fmt: skip
            self.run(line)
        self.run("clients health", code=1)
        self.run("keys rotate", code=3)
        self.run("clients show nobody", code=4)
        self.run("clients delete legacy --yes --dry-run")
        self._issuer.clock.advance(3)
        callers = {"svc": Caller("svc", svc["client_secret"]), "legacy": Caller("legacy", IMPORTED)}
        return {name: self._canaries.caller(caller) for name, caller in callers.items()}


def requests_of_every_kind(issuer: Issuer, canaries: Canaries, callers: dict[str, Caller]) -> None:
    """Answers of every status, each with a credential or a token in it."""
    svc, form = callers["svc"], {"grant_type": "client_credentials"}
    seen = set()
    for caller in callers.values():
        canaries.token(issuer.token(caller))
        canaries.token(issuer.post("/access_token", form | caller.post).json["access_token"])
    for name in ("jwt", "am"):
        issuer.run(f"clients update svc --token-format {name}")
        issuer.clock.advance(2)
        canaries.token(issuer.token(svc))
    token = canaries.token(issuer.token(svc))
    issuer.clock.advance(1)
    wrong = canaries.caller(Caller("svc", "canary-wrong-secret"))
    both = {"data": form | svc.post, "headers": svc.basic}
    query = {"data": form, "headers": svc.basic, "query_string": svc.post | {"token": token}}
    for suffix in ("/access_token", "/introspect"):
        sent: list[dict[str, Any]] = [
            both, query,
            {"data": form | {"token": token, "scope": token, "resource": token}, "headers": svc.basic},
            {"data": form | {"token": token} | wrong.post},
            {"data": {"grant_type": svc.secret}, "headers": svc.basic},
            {"data": form | {"client_id": svc.secret, "client_secret": svc.secret}, "headers": svc.basic},
            {"data": form, "headers": {"Authorization": svc.basic["Authorization"] + "!"}},
            {"data": form, "headers": {"Authorization": f"Bearer {token}"}},
            {"data": json.dumps(svc.post | {"token": token}), "content_type": "application/json"},
            {"data": f"client_secret={svc.secret}&client_secret={svc.secret}", "content_type": FORM},
            {"data": f"client_secret={svc.secret}%00", "content_type": FORM},
            {"data": f"client_secret={svc.secret}".ljust(70_000, "x"), "content_type": FORM},
        ]  # fmt: skip
        for request in sent:
            seen.add(issuer.http.post(issuer.address(suffix), **request).status_code)
            seen.add(issuer.http.put(issuer.address(suffix), **request).status_code)
            seen.add(issuer.http.post(issuer.address(suffix, "/nobody"), **request).status_code)
    for _ in range(7):
        seen.add(issuer.token_response(wrong).status_code)
    for presented in (token, token[:-4] + "AAAA", token + "=", "garbage." + token, svc.secret):
        seen.add(issuer.introspect(svc, presented).status_code)
    for suffix in ("/connect/jwk_uri", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"):
        seen.add(issuer.http.get(issuer.address(suffix), headers=svc.basic, query_string=svc.post).status_code)
    for path in ("/healthz", "/readyz", f"/oauth2/{token}/access_token", f"/{svc.secret}"):
        seen.add(issuer.http.get(path, headers=svc.basic).status_code)
    assert seen == {200, 400, 401, 404, 405, 413, 429}


def store_away(issuer: Issuer, canaries: Canaries, caller: Caller, folder: Path) -> None:
    """The same while the store is out of reach: 503."""
    token = canaries.token(issuer.token(caller))
    issuer.runtime.database.engine.dispose()
    (folder / "store.db").rename(folder / "away.db")
    issuer.clock.advance(30)
    assert issuer.token_response(caller).status_code == 503
    assert issuer.introspect(caller, token).status_code == 503
    assert issuer.http.get("/readyz").status_code == 503
    assert issuer.command(f"clients create more {READER} --secret-stdin", IMPORTED).exit_code == 6
    (folder / "away.db").rename(folder / "store.db")
    issuer.clock.advance(3)
    assert issuer.token_response(caller).status_code == 200


def fail(_: object) -> None:
    raise ZeroDivisionError("canary-row")


def broken_row(issuer: Issuer, canaries: Canaries, caller: Caller) -> None:
    """A row that somebody spoilt is 503, what nobody thought of 500, and the content of either stays where it is."""
    canaries.add("row", "canary-row")
    # Past the issuer's own engine, whose log of statements would show what the test writes.
    with sqlite3.connect(issuer.runtime.database.path) as connection:
        connection.execute("UPDATE clients SET scopes = '[\"canary-row' WHERE client_id = 'svc'")
        connection.execute("UPDATE change_head SET generation = generation + 1")
        connection.execute("DELETE FROM change_log")
    connection.close()
    issuer.clock.advance(3)
    spoilt = [issuer.token_response(caller), issuer.introspect(caller, "x")]
    with listening(issuer.runtime.database.engine, "begin", fail):
        unforeseen = [issuer.token_response(caller), issuer.introspect(caller, "x")]
    for response in spoilt + unforeseen:
        assert response.status_code == (503 if response in spoilt else 500)
        assert response.json["error"] == ("temporarily_unavailable" if response in spoilt else "server_error")
        canaries.assert_none_in(response.text, "an answer")
        assert response.headers["Cache-Control"] == "no-store"


def test_208_a_secret_or_a_token_where_a_name_belongs_is_not_written(house: House, lines: Lines) -> None:
    secret, token = house["svc"].secret, house.issuer.token(house["svc"])
    for client_id in (secret, token):
        house.issuer.token_response(Caller(client_id, "canary-wrong"))
        house.issuer.post("/access_token", {}, realm=f"/{client_id[:60]}")
    written = "".join(lines.text + lines.json)
    assert secret not in written
    assert not any(part in written for part in token.split("."))
    assert "client_id=rms_..." in written


def test_9_208_the_development_server_writes_addresses_without_their_queries(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with deployment.serving():
        for target in (
            "/access_token?client_secret=canary-9",
            "/nowhere?token=canary-9",
            "/connect/jwk_uri?x=canary-9",
        ):
            urllib3.request(
                "POST", deployment.issuer() + target, fields={"x": "1"}, headers=basic("svc", "canary-9"), retries=False
            )
    said = deployment.log.read_text()
    assert "POST /oauth2/realms/root/access_token?" in said
    assert "canary-9" not in said


def test_208_values_that_hold_secrets_do_not_show_them(issuer: Issuer, clock: FakeClock) -> None:
    caller = issuer.client(options=READER)
    token = issuer.token(caller)
    canaries = Canaries()
    canaries.caller(caller)
    canaries.token(token)
    canaries.keys(issuer)
    view = issuer.runtime.registry.realm("/")
    assert view is not None
    client = issuer.runtime.registry.client(view.realm.id, "svc")
    for value in (view, view.keys, client, issuer.runtime.settings, issuer.runtime.sealer(), issuer.runtime):
        canaries.assert_none_in(repr(value), type(value).__name__)
    assert clock.now == issuer.runtime.clock()
