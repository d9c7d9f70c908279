"""Which certificate a request came with: the connection's, or what a proxy that was named says in its header."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from issuer import log
from issuer.certificate import SHOWN, Presented
from issuer.doors.front import Front
from issuer.proxies import QUIET_SECONDS
from realmint.protocol.certificate_headers import FORMATS, MAX_LENGTH
from tests.issuer.conftest import Lines
from tests.issuer.test_both_doors import answered, environ, reaching_flask
from tests.support.certificates import as_envoy, as_nginx, made, pem
from tests.support.clock import FakeClock
from tests.support.issuer import Issuer
from tests.support.shown import PATH, digest, with_it

DER, OTHER, OURS = made(), made(serial=6), made(serial=7)
B64 = base64.b64encode(DER).decode()
HEADERS = {"rfc9440": f":{B64}:", "nginx": as_nginx(DER), "envoy": as_envoy(DER), "haproxy": B64}
LISTED, UNLISTED = "10.1.2.3", "192.0.2.1"
SETTINGS = {
    "CLIENT_CERT_PROXIES": "10.0.0.0/8, 2001:db8::/32", "CLIENT_CERT_HEADER": "X-Client-Cert", "CLIENT_CERT_FORMAT": "nginx"
}  # fmt: skip
NONE: dict[str, Any] = {}
SAID = {"sha256": digest(DER), "verified": False}


class Asked:
    """An issuer whose proxies write certificates in one form, and one more endpoint that says what it was shown."""

    def __init__(self, issuer: Issuer, lines: Lines) -> None:
        self.app = with_it(issuer.app)
        self._lines = lines
        log.LOGGER.addHandler(lines)  # the start of an issuer sets the log up anew
        self.warnings: list[dict[str, Any]] = []
        self.app.test_client().get("/healthz")  # with the first request the front opens
        self.clock: FakeClock = issuer.clock

    def __call__(self, peer: str | None = LISTED, value: str | None = None, **more: Any) -> Any:
        """What `/shown` says, through both doors the same; the reason where it is the refusal of a client."""
        front = self.app.wsgi_app
        assert isinstance(front, Front)
        asked = environ("GET", PATH, REMOTE_ADDR=peer, HTTP_X_CLIENT_CERT=value, **more)
        self.logged()
        with reaching_flask(self.app) as seen:
            said = answered(front, asked)
        assert not seen
        refused = [line["reason"] for line in self.logged() if line["event"] == "refused"]
        assert answered(front.behind, asked) == said
        self.logged()
        assert dict(said[1])["Cache-Control"] == "no-store"
        if said[0].startswith("200"):
            return json.loads(said[2])
        assert said[0].startswith("401")
        assert json.loads(said[2]) == {
            "error": "invalid_client", "error_description": "Client authentication failed",
        }  # fmt: skip
        return refused

    def logged(self) -> list[dict[str, Any]]:
        """Since it was asked last."""
        said = [json.loads(line) for line in self._lines.json]
        del self._lines.json[:], self._lines.text[:]
        self.warnings += [line for line in said if line["event"] == "certificate_header_from_unlisted_peer"]
        return said


MakeAsked = Callable[..., Asked]


@pytest.fixture
def make_asked(make_issuer: Callable[..., Issuer], lines: Lines) -> MakeAsked:
    def make(form: str = "nginx") -> Asked:
        issuer = make_issuer(**SETTINGS | {"CLIENT_CERT_FORMAT": form})
        issuer.runtime.boot()
        return Asked(issuer, lines)

    return make


@pytest.mark.parametrize("form", list(FORMATS))
def test_what_a_proxy_hands_on_is_the_clients_and_nobody_here_verified_it(make_asked: MakeAsked, form: str) -> None:
    asked = make_asked(form)
    for peer in (LISTED, "10.0.0.0", "10.255.255.255", "::ffff:10.0.0.1", "2001:db8::9"):
        assert asked(peer, HEADERS[form]) == SAID, peer


@pytest.mark.parametrize("written", list(FORMATS))
@pytest.mark.parametrize("form", list(FORMATS))
def test_91_what_another_kind_of_proxy_writes_is_no_certificate(make_asked: MakeAsked, form: str, written: str) -> None:
    if form != written:
        assert make_asked(form)(LISTED, HEADERS[written])[0] in ("certificate_malformed", "certificate_missing")


@pytest.mark.parametrize(
    "peer",
    ["9.255.255.255", "11.0.0.0", UNLISTED, "127.0.0.1", "::1", "2001:db7:ffff::1", "2001:db9::", "::ffff:192.0.2.1",
     "", None, "unix:", "10.1.2", "10.1.2.3, 192.0.2.1", "localhost", "fe80::1%eth0"],
)  # fmt: skip
def test_91_a_header_from_anybody_else_is_as_if_it_were_not_there(make_asked: MakeAsked, peer: str | None) -> None:
    asked = make_asked()
    assert asked(peer, HEADERS["nginx"]) == NONE
    assert asked(peer, "no certificate at all") == NONE


def test_91_who_sent_it_is_the_peer_and_not_whom_a_header_names(make_asked: MakeAsked) -> None:
    asked = make_asked()
    for name in ("X_FORWARDED_FOR", "FORWARDED", "X_REAL_IP", "REMOTE_ADDR", "CLIENT_IP"):
        assert asked(UNLISTED, HEADERS["nginx"], **{f"HTTP_{name}": LISTED}) == NONE, name
        assert asked(LISTED, HEADERS["nginx"], **{f"HTTP_{name}": UNLISTED}) == SAID, name


def test_91_a_proxy_that_is_named_for_addresses_only_hands_on_no_certificate(
    make_issuer: Callable[..., Issuer], lines: Lines
) -> None:
    for more in (NONE, SETTINGS):
        issuer = make_issuer(str(len(more)), TRUSTED_PROXIES="192.0.2.0/24", **more)
        issuer.runtime.boot()
        asked = Asked(issuer, lines)
        assert asked(UNLISTED, HEADERS["nginx"], HTTP_X_FORWARDED_FOR=LISTED) == NONE
        others = {"HTTP_CLIENT_CERT": HEADERS["rfc9440"], "HTTP_X_FORWARDED_CLIENT_CERT": HEADERS["envoy"]}
        assert asked(UNLISTED, **others) == asked(LISTED, **others) == NONE


@pytest.mark.parametrize(
    "key",
    ["X_Client_Cert", "HTTP_X-Client-Cert", "HTTP_X_Client_Cert", "X_CLIENT_CERT", "HTTP_X__CLIENT_CERT",
     "HTTP_HTTP_X_CLIENT_CERT", "HTTP_CLIENT_CERT", "SSL_CLIENT_CERT", "HTTP_SSL_CLIENT_CERT", "HTTP_REALMINT.CLIENT_CERTIFICATE",
     "HTTP_GUNICORN.SOCKET"],
)  # fmt: skip
def test_91_no_other_key_counts_whoever_sends_it(make_asked: MakeAsked, key: str) -> None:
    asked = make_asked()
    for peer in (LISTED, UNLISTED):
        assert asked(peer, **{key: HEADERS["nginx"]}) == NONE


@pytest.mark.parametrize("form", list(FORMATS))
@pytest.mark.parametrize("joined", [",", ", "])
def test_91_a_header_twice_is_no_certificate(make_asked: MakeAsked, form: str, joined: str) -> None:
    asked = make_asked(form)
    for other in (HEADERS[form], "", "x"):
        assert asked(LISTED, HEADERS[form] + joined + other) in (["certificate_several"], ["certificate_malformed"])
        assert asked(LISTED, other + joined + HEADERS[form]) in (["certificate_several"], ["certificate_malformed"])


@pytest.mark.parametrize("second", [as_nginx(OTHER), as_nginx(DER), quote("\n" + pem(OTHER), safe="")])
@pytest.mark.parametrize("form", ["nginx", "envoy"])
def test_91_a_second_pem_behind_the_first_is_no_certificate(make_asked: MakeAsked, form: str, second: str) -> None:
    value = HEADERS[form].removesuffix('"') + second + ('"' if form == "envoy" else "")
    assert make_asked(form)(LISTED, value) == ["certificate_several"]


@pytest.mark.parametrize("form", list(FORMATS))
def test_91_what_is_no_certificate_is_no_certificate(make_asked: MakeAsked, form: str) -> None:
    asked, value = make_asked(form), HEADERS[form]
    for other in (
        quote(value, safe=""), value[:-8], value[8:], value + " ", value[:40] + "\r\n " + value[40:], value.lower(), "-", "none",
        "null", "(null)", "$ssl_client_escaped_cert", "\u00e9", value[:-4] + "\u00e9\u00e9\u00e9\u00e9", "%",
    ):  # fmt: skip
        assert asked(LISTED, other)[0] in ("certificate_malformed", "certificate_missing"), other


@pytest.mark.parametrize("escape", ["\r\n\t", "\n ", "\t", " "])
def test_91_a_pem_over_several_lines_is_no_certificate(make_asked: MakeAsked, escape: str) -> None:
    """`$ssl_client_cert`, which nginx deprecates, and what proxies make of it."""
    assert make_asked("nginx")(LISTED, pem(DER).replace("\n", escape)) == ["certificate_malformed"]


@pytest.mark.parametrize("form", list(FORMATS))
def test_91_no_header_is_looked_into_that_is_longer_than_any_certificate(make_asked: MakeAsked, form: str) -> None:
    asked = make_asked(form)
    for size in (MAX_LENGTH + 1, 20 * 1024, 1024 * 1024):
        assert asked(LISTED, "A" * size) == ["certificate_too_large"]
    assert asked(LISTED, "A" * MAX_LENGTH)[0] in ("certificate_malformed", "certificate_missing")


def test_91_without_a_header_a_proxy_s_client_showed_none_whatever_the_proxy_shows_of_itself(
    make_asked: MakeAsked,
) -> None:
    asked = make_asked()
    for value in (None, ""):
        assert asked(LISTED, value) == NONE
        assert asked(LISTED, value, **{SHOWN: Presented(OURS, verified=True)}) == NONE
    assert asked(LISTED, HEADERS["nginx"], **{SHOWN: Presented(OURS, verified=True)}) == SAID
    assert asked(LISTED, "x", **{SHOWN: Presented(OURS, verified=True)}) == ["certificate_malformed"]


@pytest.mark.parametrize("verified", [True, False])
def test_who_connects_without_a_proxy_shows_what_our_own_tls_was_shown(make_asked: MakeAsked, verified: bool) -> None:
    asked, shown = make_asked(), Presented(OURS, verified)
    for peer in (UNLISTED, "", None):
        for value in (None, HEADERS["nginx"], "x"):
            said = asked(peer, value, **{SHOWN: shown})
            assert said == {"sha256": digest(OURS), "verified": verified}


@pytest.mark.parametrize(
    "value", [DER, B64, pem(DER), True, (DER, True), None, object()], ids=lambda one: type(one).__name__
)
def test_what_another_server_leaves_in_our_place_is_no_certificate(issuer: Issuer, lines: Lines, value: Any) -> None:
    asked = Asked(issuer, lines)
    for key in (SHOWN, "gunicorn.socket"):
        assert asked(UNLISTED, **{key: value}) == NONE


def test_of_a_header_from_an_unlisted_peer_the_log_tells_once_a_minute_and_quotes_nothing(
    make_asked: MakeAsked,
) -> None:
    asked = make_asked()
    for peer, value in ((LISTED, HEADERS["nginx"]), (LISTED, None), (UNLISTED, None)):
        asked(peer, value)
    assert asked.warnings == []
    for seconds, peer in ((0, UNLISTED), (QUIET_SECONDS - 1, "192.0.2.2"), (1, "198.51.100.7"), (0, UNLISTED)):
        asked.clock.advance(seconds)
        asked(peer, "secret-of-somebody")
    assert [(line["level"], line["address"]) for line in asked.warnings] == [
        ("WARNING", UNLISTED), ("WARNING", "198.51.100.7"),
    ]  # fmt: skip
    assert "secret" not in str(asked.warnings)


def test_nobody_looks_at_the_header_of_a_request_whose_certificate_nobody_asks_for(make_asked: MakeAsked) -> None:
    asked = make_asked()
    for peer in (LISTED, UNLISTED):
        for app in (asked.app.wsgi_app, asked.app.wsgi_app.behind):  # type: ignore[attr-defined]
            found = environ(
                "GET", "/oauth2/realms/root/connect/jwk_uri", REMOTE_ADDR=peer, HTTP_X_CLIENT_CERT="x"
            )  # fmt: skip
            assert answered(app, found)[0] == "200 OK"
    assert asked.logged() == []
