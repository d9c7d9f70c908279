"""What every endpoint does with a hostile request: facts/security.md section A."""

import io
from typing import Any

import pytest

from issuer import refusals
from issuer.request import MAX_BODY
from tests.issuer.conftest import House, Lines
from tests.support.issuer import claims
from tests.support.wire import (
    CONTENT_TYPE,
    CONTROL,
    FORM,
    JSON,
    NO_GRANT_TYPE,
    NO_TOKEN,
    NOT_FRAMED,
    NOT_UTF8,
    PERCENT,
    PRIVATE,
    QUERY,
    REPEATED,
    TOO_LARGE,
    TOO_MANY,
    assert_clean,
    assert_refused,
    headers,
)

PRIVATE_SUFFIXES = ("/access_token", "/introspect")
PUBLIC_SUFFIXES = (
    "/connect/jwk_uri",
    "/.well-known/jwks.json",
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
)
GOOD = {"/access_token": b"grant_type=client_credentials&scope=read", "/introspect": b"token=x"}

both = pytest.mark.parametrize("suffix", PRIVATE_SUFFIXES)


def send(house: House, suffix: str, body: bytes | None = None, content_type: str | None = FORM, **more: Any) -> Any:
    """A request that succeeds unless a test spoils it."""
    given = {"headers": house["svc"].basic, "data": GOOD[suffix] if body is None else body} | more
    return house.issuer.http.post(house.issuer.address(suffix), content_type=content_type, **given)


@pytest.mark.parametrize("suffix", PRIVATE_SUFFIXES)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "TRACE", "OPTIONS", "PROPFIND", "x"])
@pytest.mark.rfc("6749", "3.2")
def test_1_2_any_method_but_post_is_405_and_reads_nothing(house: House, lines: Lines, method: str, suffix: str) -> None:
    response = house.issuer.http.open(
        f"{house.issuer.address(suffix)}?grant_type=client_credentials&client_secret={house['svc'].secret}",
        method=method, headers=house["svc"].basic, data=GOOD[suffix], content_type=FORM,
    )  # fmt: skip
    assert response.status_code == 405
    assert headers(response) == PRIVATE | {"Allow": "POST"}  # and so no Access-Control-* for OPTIONS
    if method != "HEAD":
        assert_refused(response, "method_not_allowed", also={"Allow": "POST"})
    assert lines.text == []


@pytest.mark.parametrize("suffix", PUBLIC_SUFFIXES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_2_public_documents_are_only_read(house: House, method: str, suffix: str) -> None:
    response = house.issuer.http.open(house.issuer.address(suffix), method=method)
    assert response.status_code == 405
    assert response.json["error"] == "method_not_allowed"
    assert headers(response) == JSON | {"Allow": "GET, HEAD"}


@both
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(b'{"grant_type":"client_credentials","token":"x"}', "application/json", id="case_3_json"),
        pytest.param(
            b'--b\r\nContent-Disposition: form-data; name="grant_type"\r\n\r\nclient_credentials\r\n--b--\r\n',
            "multipart/form-data; boundary=b", id="case_4_multipart",
        ),
        pytest.param(None, None, id="case_5_missing"),
        pytest.param(None, "", id="case_5_empty"),
        pytest.param(None, "text/plain", id="case_5_text"),
        pytest.param(None, f"{FORM}; charset=utf-16", id="case_5_utf_16"),
        pytest.param(None, f"{FORM}; charset=iso-8859-1", id="case_5_latin_1"),
        pytest.param(None, f"{FORM}; charset=utf-8; charset=utf-16", id="case_5_two_charsets"),
        pytest.param(None, f"{FORM}, application/json", id="case_5_two_types"),
        pytest.param(None, FORM + "x", id="case_5_longer_type"),
        pytest.param(None, "\x00\xff", id="case_5_bytes"),
    ],
)  # fmt: skip
@pytest.mark.rfc("6749", "B")
def test_3_4_5_only_the_form_media_type_in_utf_8_is_read(
    house: House, suffix: str, body: bytes | None, content_type: str | None
) -> None:
    assert_refused(send(house, suffix, body, content_type), "invalid_request", text=CONTENT_TYPE)


@pytest.mark.parametrize(
    "content_type",
    [FORM.upper(), f"{FORM};charset=UTF-8", f'{FORM}; charset="utf-8"', f"{FORM};", f"{FORM}; charset=utf8",
     f"{FORM}; charset=utf-8;", f"{FORM};;charset=UTF8 ;"],
)  # fmt: skip
def test_5_the_media_type_is_matched_without_case_and_may_say_utf_8(house: House, content_type: str) -> None:
    assert send(house, "/access_token", content_type=content_type).status_code == 200


@pytest.mark.rfc("6749", "5.2")
def test_6_an_empty_body_lacks_its_required_parameter(house: House) -> None:
    assert_refused(send(house, "/access_token", b""), "invalid_request", text=NO_GRANT_TYPE)
    assert_refused(send(house, "/introspect", b""), "invalid_request", text=NO_TOKEN)


@both
@pytest.mark.parametrize(
    ("query", "body"),
    [
        pytest.param("grant_type=client_credentials&scope=write", b"", id="case_7_everything_in_the_query"),
        pytest.param("scope=write", None, id="case_8_query_beside_the_body"),
        pytest.param("client_id=svc&client_secret=canary-9", None, id="case_9_credentials"),
        pytest.param("token=canary-9", None, id="case_9_token"),
        pytest.param("client_assertion=canary-9", None, id="case_9_assertion"),
        pytest.param("grant_type=client_credentials", None, id="case_11_both"),
        pytest.param("%ff%00", None, id="case_7_bytes"),
    ],
)
@pytest.mark.rfc("6749", "3.2")
def test_7_8_9_11_a_query_is_refused_and_never_logged(
    house: House, lines: Lines, suffix: str, query: str, body: bytes | None
) -> None:
    assert_refused(send(house, suffix, body, query_string=query), "invalid_request", text=QUERY)
    assert "canary-9" not in "".join(lines.text + lines.json)


@both
@pytest.mark.parametrize("again", [b"scope=read", b"scope=write", b"sc%6fpe=write", b"scope=", b"x=1&x=1", b"x=&x="])
@pytest.mark.rfc("6749", "3.2")
def test_10_a_repeated_parameter_is_refused_whatever_it_says(house: House, suffix: str, again: bytes) -> None:
    assert_refused(send(house, suffix, GOOD[suffix] + b"&scope=read&" + again), "invalid_request", text=REPEATED)


def test_10_credentials_repeated_in_the_body_are_refused(house: House) -> None:
    secret = house["svc"].secret.encode()
    body = GOOD["/access_token"] + b"&client_id=svc&client_secret=" + secret + b"&client_secret=" + secret
    assert_refused(send(house, "/access_token", body, headers={}), "invalid_request", text=REPEATED)


@pytest.mark.rfc("6749", "3.2")
def test_12_a_parameter_without_a_value_counts_as_omitted(house: House) -> None:
    assert_refused(send(house, "/access_token", b"grant_type="), "invalid_request", text=NO_GRANT_TYPE)
    assert send(house, "/access_token", b"grant_type=client_credentials&scope=").json["scope"] == "read"
    assert send(house, "/access_token", b"grant_type=client_credentials&scope").json["scope"] == "read"
    assert_refused(send(house, "/introspect", b"token="), "invalid_request", text=NO_TOKEN)


@pytest.mark.rfc("6749", "3.2")
def test_13_an_unknown_parameter_is_ignored(house: House) -> None:
    body = GOOD["/access_token"] + b"&audiences=x&expires_in=9999999&iss=evil&realm=/customers&%C3%BC=%C3%BC"
    assert send(house, "/access_token", body).status_code == 200


@both
def test_13_more_than_a_thousand_parameters_are_refused_before_they_are_read(house: House, suffix: str) -> None:
    for count, good in ((998, True), (999, True), (1000, False), (9000, False)):
        body = GOOD[suffix].partition(b"&")[0] + b"".join(b"&%d=" % number for number in range(count))
        if good:
            assert send(house, suffix, body).status_code == 200
        else:
            assert_refused(send(house, suffix, body), "invalid_request", text=TOO_MANY)


@pytest.mark.parametrize(
    "grant_type",
    ["Client_Credentials", "client_credentials ", "password", "refresh_token", "authorization_code", "implicit",
     "urn:ietf:params:oauth:grant-type:saml2-bearer", "__class__", "x" * 5000, "ü", "' OR 1=1--"],
)  # fmt: skip
@pytest.mark.rfc("6749", "5.2")
def test_14_any_other_grant_type_is_unsupported(house: House, grant_type: str) -> None:
    response = house.issuer.token_response(house["svc"], grant_type=grant_type)
    assert_refused(response, "unsupported_grant_type")


@both
@pytest.mark.parametrize("field", [b"scope", b"x", b"client_id", b"grant_type", b"token", b"resource"])
@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((PERCENT, value) for value in (b"%zz", b"%", b"%4")),
        *((NOT_UTF8, value) for value in (b"%ff", b"\xff", b"%c0%af", b"%ed%a0%80")),
        *((CONTROL, value) for value in (b"%00", b"\x00", b"%1f", b"a%0d%0aX-Y:%20z", b"%7f", b"%c2%80", b"%c2%9f", b"\t")),
    ],
)  # fmt: skip
@pytest.mark.rfc("6749", "A")
def test_15_bytes_that_are_no_text_are_refused_in_any_value_and_any_name(
    house: House, suffix: str, field: bytes, value: bytes, text: str
) -> None:
    rest = b"&".join(pair for pair in GOOD[suffix].split(b"&") if not pair.startswith(field))
    assert_refused(send(house, suffix, rest + b"&" + field + b"=" + value), "invalid_request", text=text)
    assert_refused(send(house, suffix, GOOD[suffix] + b"&" + value + b"=1"), "invalid_request", text=text)


@both
@pytest.mark.parametrize("how", ["honest_length", "no_length_but_chunked"])
def test_16_a_body_over_64_kib_is_413_and_never_read_whole(house: House, suffix: str, how: str) -> None:
    def padded(length: int) -> Any:
        body = io.BytesIO((GOOD[suffix] + b"&x=").ljust(length, b"x"))
        environ = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""} if how != "honest_length" else {}
        length_header = {"content_length": length} if how == "honest_length" else {}
        response = send(house, suffix, b"", input_stream=body, environ_overrides=environ, data=None, **length_header)
        return response, body

    for length in (MAX_BODY - 1, MAX_BODY):
        assert padded(length)[0].status_code == 200
    for length in (MAX_BODY + 1, 10 * MAX_BODY):
        response, body = padded(length)
        assert_refused(response, "invalid_request", status=413, text=TOO_LARGE)
        assert body.tell() <= 2 * MAX_BODY


@pytest.mark.parametrize("length", ["999", "-1", "abc", "+5", "0_3", "٣"])
def test_16_a_length_that_lies_is_no_more_than_a_bad_request(house: House, length: str) -> None:
    response = house.issuer.http.post(
        house.issuer.address("/access_token"), headers=house["svc"].basic, content_type=FORM,
        input_stream=io.BytesIO(GOOD["/access_token"]), environ_overrides={"CONTENT_LENGTH": length},
    )  # fmt: skip
    # A length that is none counts as none, and so does its body.
    assert_refused(response, "invalid_request", text=NOT_FRAMED if length == "999" else NO_GRANT_TYPE)


HOSTS = ["evil.test", "issuer.example.evil.test", 'a"</b>', "a..b", "é", "", "x" * 300, "[::1", "a:b:c", "a:99999", "%"]


@pytest.mark.parametrize(
    "spoof",
    [
        *(pytest.param({"Host": host}, id=f"case_21_{host[:9]!r}") for host in HOSTS),
        pytest.param({"X-Forwarded-Host": "evil.test", "X-Forwarded-Proto": "http"}, id="case_22_x_forwarded"),
        pytest.param({"X-Forwarded-Prefix": "/evil", "X-Forwarded-For": "6.6.6.6"}, id="case_22_prefix"),
        pytest.param({"X-Forwarded-Port": "1", "Forwarded": "for=6.6.6.6;host=evil.test;proto=http"}, id="case_22_rfc"),
        pytest.param({"X-Original-URL": "/x", "X-Rewrite-URL": "/x", "X-HTTP-Method-Override": "PUT"}, id="case_22_url"),
        pytest.param({"Script-Name": "/evil", "Path-Info": "/evil"}, id="case_23_headers"),
    ],
)  # fmt: skip
def test_21_22_23_where_we_are_comes_from_the_configuration_alone(house: House, spoof: dict[str, str]) -> None:
    for suffix in PUBLIC_SUFFIXES:
        plain, spoofed = (house.issuer.http.get(house.issuer.address(suffix), headers=given) for given in ({}, spoof))
        assert (spoofed.status_code, spoofed.data) == (200, plain.data)
    response = send(house, "/access_token", headers=house["svc"].basic | spoof)
    assert claims(response.json["access_token"])["iss"] == "https://issuer.example/oauth2/realms/root"


def test_23_a_script_name_is_only_the_front_of_the_path(house: House) -> None:
    address = house.issuer.address("/connect/jwk_uri")
    moved = house.issuer.http.get(address, environ_overrides={"SCRIPT_NAME": "/evil"})
    assert moved.status_code == 404
    whole = house.issuer.http.get("/", environ_overrides={"SCRIPT_NAME": "/oauth2", "PATH_INFO": address[7:]})
    assert (whole.status_code, whole.data) == (200, house.issuer.http.get(address).data)


def test_24_every_answer_is_json_that_says_nothing_about_what_runs_here(house: House) -> None:
    http, address = house.issuer.http, house.issuer.address
    for suffix in (*PRIVATE_SUFFIXES, *PUBLIC_SUFFIXES, "/nothing", "/healthz", ""):
        for realm in ("/", "/customers", "/nobody"):
            for method in ("GET", "POST", "HEAD", "PUT"):
                response = http.open(address(suffix, realm), method=method)
                assert_clean(response)
                # Ruled: nobody stores the answers of token, introspection and revocation; others may be.
                assert (response.headers.get("Cache-Control") == "no-store") == (suffix in PRIVATE_SUFFIXES)
    for path in ("/", "/healthz", "/readyz", "/oauth2", "/favicon.ico", "/robots.txt", "/static/x", "/.well-known"):
        assert_clean(http.get(path))


@pytest.mark.rfc("6749", "5.2")
def test_25_what_stands_in_an_error_description_is_a_constant_of_the_allowed_characters() -> None:
    texts = [value for name, value in vars(refusals).items() if name.isupper() and isinstance(value, str)]
    assert len(texts) > 10
    for text in texts:
        assert all(char in "\x20\x21" or "\x23" <= char <= "\x5b" or "\x5d" <= char <= "\x7e" for char in text), text


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", 'a"b', "a\\b", "<script>", "ü\u2028"])
def test_25_nothing_that_was_sent_comes_back(house: House, value: str) -> None:
    for form in ({"grant_type": value}, {"grant_type": "client_credentials", "scope": value, "resource": value}):
        response = house.issuer.token_response(house["svc"], **form)
        assert response.status_code == 400
        assert headers(response) == PRIVATE
        assert response.json["error_description"] in [
            value for value in vars(refusals).values() if isinstance(value, str)
        ]
    response = house.issuer.http.get(f"/oauth2/{value}/access_token".replace("\r\n", "%0d%0a"))
    assert (response.status_code, "X-Evil" in response.headers) == (404, False)
