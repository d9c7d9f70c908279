"""Client authentication by secret: facts/security.md section B, at every endpoint that authenticates."""

import base64
from typing import Any
from urllib.parse import quote

import pytest

from issuer.secrets import generate
from tests.issuer.conftest import ORDERS, READER, House, Lines
from tests.support.issuer import Caller, Issuer, basic
from tests.support.wire import (
    BASIC_BASE64,
    BASIC_CONTROL,
    BASIC_LONG,
    BASIC_NOT_UTF8,
    BASIC_PAIR,
    CLIENT_ID,
    CONTROL,
    NO_CLIENT_ID,
    OTHER_CLIENT_ID,
    PRIVATE,
    TWO_METHODS,
    assert_refused,
    headers,
)

FORMS = {"/access_token": {"grant_type": "client_credentials", "scope": "read"}, "/introspect": {"token": "x"}}
both = pytest.mark.parametrize("suffix", FORMS)


def send(house: House, suffix: str, header: Any = None, realm: str = "/", **form: str) -> Any:
    """`header`: the value of Authorization, or a whole set of headers."""
    given = header if isinstance(header, dict | list) else {"Authorization": header} if header is not None else None
    return house.issuer.post(suffix, FORMS[suffix] | form, given, realm)


def encoded(raw: bytes | str) -> str:
    return "Basic " + base64.b64encode(raw.encode() if isinstance(raw, str) else raw).decode()


@both
@pytest.mark.rfc("6749", "5.2")
def test_27_30_without_credentials_the_answer_is_401_with_a_challenge(house: House, suffix: str) -> None:
    assert_refused(send(house, suffix), "invalid_client")
    assert_refused(send(house, suffix, realm="/customers"), "invalid_client", realm="/customers")


def strangers(house: House) -> dict[str, tuple[Caller, str]]:
    """Everybody who is not let in, and at which realm they try."""
    return {
        "unknown_client": (Caller("nobody", generate()), "/"),
        "unknown_client_human_secret": (Caller("nobody", "password"), "/"),
        "wrong_secret": (Caller("svc", generate()), "/"),
        "wrong_human_secret": (Caller("legacy", "s+ %:u-legacy"), "/"),
        "secret_of_another": (Caller("svc", house["other"].secret), "/"),
        "secret_cut": (Caller("svc", house["svc"].secret[:-1]), "/"),
        "secret_and_more": (Caller("svc", house["svc"].secret + "x"), "/"),
        "disabled": (house["off"], "/"),
        "expired_secret": (house["past"], "/"),
        "other_realm": (house["elsewhere"], "/"),
        "root_client_elsewhere": (house["svc"], "/customers"),
    }


@both
@pytest.mark.parametrize("how", ["basic", "post"])
@pytest.mark.rfc("6749", "5.2")
def test_28_30_202_whoever_is_not_let_in_gets_one_and_the_same_answer(house: House, suffix: str, how: str) -> None:
    bodies = set()
    for caller, realm in strangers(house).values():
        form = caller.post if how == "post" else {}
        response = send(house, suffix, caller.basic if how == "basic" else None, realm, **form)
        assert_refused(response, "invalid_client", realm=realm)
        bodies.add(response.data)
    assert len(bodies) == 1


@both
def test_28_34_a_method_that_is_not_the_registered_one_is_the_same_401(house: House, suffix: str) -> None:
    assert send(house, suffix, house["basic-only"].basic).status_code == 200
    assert send(house, suffix, **house["post-only"].post).status_code == 200
    assert_refused(send(house, suffix, **house["basic-only"].post), "invalid_client")
    assert_refused(send(house, suffix, house["post-only"].basic), "invalid_client")


@both
@pytest.mark.parametrize("right", ["both", "basic", "post", "none"])
@pytest.mark.rfc("6749", "2.3")
def test_31_32_two_methods_are_refused_whichever_is_right(house: House, suffix: str, right: str) -> None:
    wrong = Caller("svc", generate())
    header = (house["svc"] if right in ("both", "basic") else wrong).basic
    form = (house["svc"] if right in ("both", "post") else wrong).post
    assert_refused(send(house, suffix, header, **form), "invalid_request", text=TWO_METHODS)


@both
@pytest.mark.parametrize("header", ["Bearer abc", "Digest username=svc", "Negotiate YII", "", "x"])
def test_31_another_scheme_beside_a_body_secret_is_two_methods_and_alone_it_is_none(
    house: House, suffix: str, header: str
) -> None:
    assert_refused(send(house, suffix, header, **house["svc"].post), "invalid_request", text=TWO_METHODS)
    assert_refused(send(house, suffix, header), "invalid_client")


@both
@pytest.mark.rfc("6749", "2.3.1")
def test_33_basic_for_one_client_and_the_name_of_another_in_the_body_is_refused(house: House, suffix: str) -> None:
    assert send(house, suffix, house["svc"].basic, client_id="svc").status_code == 200
    for name in ("other", "SVC", "svc ", "nobody"):
        assert_refused(send(house, suffix, house["svc"].basic, client_id=name), "invalid_request", text=OTHER_CLIENT_ID)


@both
@pytest.mark.rfc("6749", "2.3.1")
def test_35_36_37_basic_is_form_encoded_and_cut_at_the_first_colon(house: House, suffix: str) -> None:
    legacy = house["legacy"]  # its secret holds + space % : and ü
    assert send(house, suffix, legacy.basic).status_code == 200
    assert send(house, suffix, encoded(f"legacy:{quote(legacy.secret, safe='')}")).status_code == 200
    assert send(house, suffix, encoded("legacy:s%2B+%25:%c3%bc-legacy")).status_code == 200  # : may stand as it is
    # Ruled: what holds % or + and does not authenticate is read once more, all of it as it stands.
    assert send(house, suffix, encoded(f"legacy:{legacy.secret}")).status_code == 200
    assert_refused(send(house, suffix, encoded("legacy:s+ %25:ü-legacy")), "invalid_client")


@both
@pytest.mark.parametrize(
    ("client_id", "secret"),
    [("raw", "Xk+9/aB%4f=="), ("raw", "percent%"), ("raw", "%zz%ff%00"), ("raw", "a+b+c+d+e"), ("eu+raw", "a+b plain"),
     ("eu+raw", "%2Bencoded-twice")],
)  # fmt: skip
@pytest.mark.rfc("6749", "2.3.1")
def test_35_36_a_secret_that_somebody_chose_is_let_in_as_rfc_6749_sends_it_and_as_curl_does(
    issuer: Issuer, suffix: str, client_id: str, secret: str
) -> None:
    issuer.run(f"clients create {client_id} {READER} --secret-stdin", secret)
    issuer.clock.advance(3)
    for header in (basic(client_id, secret)["Authorization"], encoded(f"{client_id}:{secret}")):
        for more in ({}, {"client_id": client_id}):
            response = issuer.post(suffix, FORMS[suffix] | more, {"Authorization": header})
            assert (response.status_code, headers(response)) == (200, PRIVATE)


def test_36_one_half_encoded_and_the_other_not_is_neither_reading(issuer: Issuer, lines: Lines) -> None:
    for name in ("eu+raw", "raw"):
        issuer.run(f"clients create {name} {READER} --secret-stdin", "se+cret+secret")
    issuer.clock.advance(3)
    for sent in (
        "eu+raw:se%2Bcret%2Bsecret",
        "eu%2Braw:se+cret+secret",
        "raw:se+cret%2Bsecret",
        "e%75+raw:se+cret+secret",
    ):
        header = {"Authorization": encoded(sent)}
        assert_refused(issuer.post("/access_token", FORMS["/access_token"], header), "invalid_client")
    named = [line.partition("client_id=")[2].partition(" ")[0] for line in lines.text if "refused" in line]
    assert named == ["eu+raw", "eu+raw", "raw", "e%75+raw"]


@both
@pytest.mark.parametrize(
    ("text", "header"),
    [
        pytest.param(BASIC_PAIR, encoded("svc"), id="case_37_no_colon"),
        pytest.param(BASIC_PAIR, encoded("s%76c%3Asecret"), id="case_37_encoded_colon"),
        pytest.param(BASIC_PAIR, encoded(":secret"), id="case_37_empty_id"),
        pytest.param(BASIC_PAIR, encoded("svc:"), id="case_37_empty_secret"),
        pytest.param(BASIC_PAIR, encoded(":"), id="case_37_colon_alone"),
        pytest.param(BASIC_BASE64, "Basic c3Zj!OnNlY3JldA==", id="case_38_illegal_character"),
        pytest.param(BASIC_BASE64, "Basic c3ZjOnNlY3Jl\x0bdA==", id="case_38_vertical_tab"),
        pytest.param(BASIC_BASE64, "Basic c3ZjOnNlY3JldA", id="case_38_no_padding"),
        pytest.param(BASIC_BASE64, "Basic c3ZjOnNlY3JldA===", id="case_38_excess_padding"),
        pytest.param(BASIC_BASE64, "Basic c3ZjOnNlY3JldB==", id="case_38_trailing_bits"),
        pytest.param(BASIC_BASE64, "Basic c3Zj-nNlY3JldA==", id="case_38_url_alphabet"),
        pytest.param(BASIC_BASE64, "Basic  c3ZjOnNlY3JldA==", id="case_38_two_spaces"),
        pytest.param(BASIC_BASE64, "Basic c3ZjOnNlY3JldA== x", id="case_38_something_behind"),
        pytest.param(BASIC_NOT_UTF8, encoded(b"svc:\xff\xfe"), id="case_39_not_utf_8"),
        pytest.param(BASIC_NOT_UTF8, encoded(b"s\xe9:x"), id="case_39_latin_1_id"),
        pytest.param(BASIC_PAIR, "Basic ", id="case_39_nothing_behind"),
        pytest.param(BASIC_PAIR, "Basic", id="case_39_lone_word"),
        pytest.param(BASIC_PAIR, "basic", id="case_39_lone_word_small"),
        pytest.param(BASIC_BASE64, "Basic é", id="case_39_non_ascii"),
        pytest.param(BASIC_BASE64, "Basic \x00", id="case_39_nul"),
        pytest.param(BASIC_CONTROL, encoded("svc:\x00"), id="case_41_nul"),
        pytest.param(BASIC_CONTROL, encoded("sv\tc:x"), id="case_41_tab_in_id"),
        pytest.param(BASIC_CONTROL, encoded("svc:a+%\x85"), id="case_41_control_and_no_encoding"),
        pytest.param(CLIENT_ID, encoded("\u0455vc:x"), id="case_41_homoglyph"),
        pytest.param(BASIC_LONG, encoded("x" * 5000 + ":x"), id="case_41_long_id"),
        pytest.param(BASIC_LONG, encoded("svc:" + "x" * 5000), id="case_43_long_secret"),
    ],
)  # fmt: skip
def test_36_37_38_39_41_a_basic_header_that_is_not_canonical_is_a_bad_request(
    house: House, suffix: str, header: str, text: str
) -> None:
    assert_refused(send(house, suffix, header), "invalid_request", text=text)


@both
@pytest.mark.parametrize(
    "sent",
    [
        "svc:%",
        "svc:%zz",
        "svc:%ff",
        "svc:a%0db",
        "svc:%00",
        "s%76c:%",
        "%ff:x",
        "sv%0ac:x",
        "s%d1%95vc:x",
        "+:x",
        "a+b:+",
    ],
)
def test_36_39_41_what_is_no_encoding_can_still_be_somebodys_secret_as_it_stands(
    house: House, suffix: str, sent: str
) -> None:
    assert_refused(send(house, suffix, encoded(sent)), "invalid_client")


@both
def test_38_39_the_scheme_is_matched_without_case(house: House, suffix: str) -> None:
    value = house["svc"].basic["Authorization"].removeprefix("Basic")
    for scheme in ("basic", "BASIC", "bAsIc"):
        assert send(house, suffix, scheme + value).status_code == 200


@both
@pytest.mark.parametrize("second", ["same", "other", "bearer"])
def test_40_two_authorization_headers_are_a_bad_request(house: House, suffix: str, second: str) -> None:
    good = ("Authorization", house["svc"].basic["Authorization"])
    more = {"same": good[1], "other": house["other"].basic["Authorization"], "bearer": "Bearer x"}[second]
    assert_refused(send(house, suffix, [good, ("Authorization", more)]), "invalid_request", text=BASIC_BASE64)


@both
@pytest.mark.parametrize(
    ("client_id", "error", "text"),
    [
        pytest.param("SVC", "invalid_client", "", id="case_41_other_case"),
        pytest.param("svc ", "invalid_client", "", id="case_41_space_behind"),
        pytest.param("x" * 255, "invalid_client", "", id="case_41_longest"),
        pytest.param("x" * 60_000, "invalid_client", "", id="case_41_very_long"),
        pytest.param("' OR 1=1--", "invalid_client", "", id="case_41_sql"),
        pytest.param("sv_", "invalid_client", "", id="case_41_like"),
        pytest.param("%", "invalid_client", "", id="case_41_percent"),
        pytest.param("\u0455vc", "invalid_request", CLIENT_ID, id="case_41_homoglyph"),
        pytest.param("svc\u00a0", "invalid_request", CLIENT_ID, id="case_41_non_ascii_space"),
        pytest.param("\uff53\uff56\uff43", "invalid_request", CLIENT_ID, id="case_41_full_width"),
        pytest.param("svc\0", "invalid_request", CONTROL, id="case_41_nul"),
        pytest.param("svc\x7f", "invalid_request", CONTROL, id="case_41_delete"),
    ],
)
def test_41_a_name_is_compared_exactly_and_never_reaches_the_driver_malformed(
    house: House, suffix: str, client_id: str, error: str, text: str
) -> None:
    response = send(house, suffix, client_id=client_id, client_secret=house["svc"].secret)
    assert_refused(response, error, text=text)


def test_41_a_name_that_nobody_can_have_is_not_remembered(house: House) -> None:
    before = house.issuer.runtime.registry.measures().absent
    for number in range(20):
        send(house, "/access_token", client_id=f"{number}".rjust(50_000, "x"), client_secret=generate())
    assert house.issuer.runtime.registry.measures().absent == before


@both
@pytest.mark.parametrize("secret", ["ü", "пароль", "s+ %:\u00fc-legacy ", "\U0001f511" * 20])
def test_42_a_secret_outside_ascii_is_simply_wrong(house: House, suffix: str, secret: str) -> None:
    for name in ("svc", "legacy", "nobody"):
        assert_refused(send(house, suffix, basic(name, secret)), "invalid_client")
        assert_refused(send(house, suffix, client_id=name, client_secret=secret), "invalid_client")


def test_43_secrets_that_agree_in_72_bytes_are_different_secrets(issuer: Issuer) -> None:
    right, wrong = "x" * 72 + "right", "x" * 72 + "wrong"
    issuer.run(f"clients create svc {READER} --secret-stdin", right)
    assert_refused(issuer.token_response(Caller("svc", wrong)), "invalid_client")
    assert issuer.token_response(Caller("svc", right)).status_code == 200
    for secret in (wrong, "x" * 72, right + "x"):  # not from memory either
        assert_refused(issuer.token_response(Caller("svc", secret)), "invalid_client")


@both
def test_44_an_empty_or_absent_secret_matches_nothing(house: House, suffix: str) -> None:
    assert_refused(send(house, suffix, client_id="svc", client_secret=""), "invalid_client")
    assert_refused(send(house, suffix, client_id="svc"), "invalid_client")
    assert_refused(send(house, suffix, client_secret=house["svc"].secret), "invalid_request", text=NO_CLIENT_ID)
    assert_refused(send(house, suffix, encoded("svc:")), "invalid_request", text=BASIC_PAIR)


def test_44_a_client_whose_every_secret_was_revoked_is_let_in_by_nothing(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    (secret,) = issuer.run("clients secrets list svc")
    issuer.run(f"clients secrets revoke svc {secret['secret_id']} --yes")
    for presented in (caller.secret, "", generate(), "null", "None"):
        form = {"grant_type": "client_credentials", "client_id": "svc", "client_secret": presented}
        assert_refused(issuer.post("/access_token", form), "invalid_client")


def test_45_there_is_no_public_client(house: House) -> None:
    assert house.issuer.command("clients create public --auth-method none").exit_code == 2
    assert_refused(send(house, "/access_token", client_id="svc"), "invalid_client")


def test_47_in_the_overlap_both_secrets_work_and_at_its_end_one(issuer: Issuer) -> None:
    old = issuer.client(options=f"{READER} --audience {ORDERS}")
    new = Caller("svc", issuer.run("clients secrets add svc --overlap 1h")["client_secret"])
    for seconds, expected in ((0, [200, 200]), (3599, [200, 200]), (1, [401, 200]), (1, [401, 200])):
        issuer.clock.advance(seconds)
        answers = [issuer.token_response(caller) for caller in (old, new)]
        assert [answer.status_code for answer in answers] == expected
    assert_refused(answers[0], "invalid_client")
    assert headers(answers[1]) == PRIVATE
