"""Client authentication by secret: facts/security.md section B, at every endpoint that authenticates."""

import base64
from typing import Any
from urllib.parse import quote

import pytest

from issuer.secrets import generate
from tests.issuer.conftest import ORDERS, READER, House
from tests.support.issuer import Caller, Issuer, basic
from tests.support.wire import PRIVATE, assert_refused, headers

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
    assert_refused(send(house, suffix, header, **form), "invalid_request")


@both
@pytest.mark.parametrize("header", ["Bearer abc", "Digest username=svc", "Negotiate YII", "", "x"])
def test_31_another_scheme_beside_a_body_secret_is_two_methods_and_alone_it_is_none(
    house: House, suffix: str, header: str
) -> None:
    assert_refused(send(house, suffix, header, **house["svc"].post), "invalid_request")
    assert_refused(send(house, suffix, header), "invalid_client")


@both
@pytest.mark.rfc("6749", "2.3.1")
def test_33_basic_for_one_client_and_the_name_of_another_in_the_body_is_refused(house: House, suffix: str) -> None:
    assert send(house, suffix, house["svc"].basic, client_id="svc").status_code == 200
    for name in ("other", "SVC", "svc ", "nobody"):
        assert_refused(send(house, suffix, house["svc"].basic, client_id=name), "invalid_request")


@both
@pytest.mark.rfc("6749", "2.3.1")
def test_35_36_37_basic_is_form_encoded_and_cut_at_the_first_colon(house: House, suffix: str) -> None:
    legacy = house["legacy"]  # its secret holds + space % : and ü
    assert send(house, suffix, legacy.basic).status_code == 200
    assert send(house, suffix, encoded(f"legacy:{quote(legacy.secret, safe='')}")).status_code == 200
    assert send(house, suffix, encoded("legacy:s%2B+%25:%c3%bc-legacy")).status_code == 200  # : may stand as it is
    # Un-encoded it is one thing only, never tried both ways: `% ` is no encoding, `+` is a space.
    assert_refused(send(house, suffix, encoded(f"legacy:{legacy.secret}")), "invalid_request")
    assert_refused(send(house, suffix, encoded("legacy:s+ %25:ü-legacy")), "invalid_client")


@both
@pytest.mark.parametrize(
    "header",
    [
        pytest.param(encoded("svc"), id="case_37_no_colon"),
        pytest.param(encoded(":secret"), id="case_37_empty_id"),
        pytest.param(encoded("svc:"), id="case_37_empty_secret"),
        pytest.param(encoded(":"), id="case_37_colon_alone"),
        pytest.param(encoded("svc:%"), id="case_36_bad_percent"),
        pytest.param(encoded("svc:%zz"), id="case_36_no_hex"),
        pytest.param("Basic c3Zj!OnNlY3JldA==", id="case_38_illegal_character"),
        pytest.param("Basic c3ZjOnNlY3Jl\x0bdA==", id="case_38_vertical_tab"),
        pytest.param("Basic c3ZjOnNlY3JldA", id="case_38_no_padding"),
        pytest.param("Basic c3ZjOnNlY3JldA===", id="case_38_excess_padding"),
        pytest.param("Basic c3ZjOnNlY3JldB==", id="case_38_trailing_bits"),
        pytest.param("Basic c3Zj-nNlY3JldA==", id="case_38_url_alphabet"),
        pytest.param("Basic  c3ZjOnNlY3JldA==", id="case_38_two_spaces"),
        pytest.param("Basic c3ZjOnNlY3JldA== x", id="case_38_something_behind"),
        pytest.param(encoded(b"svc:\xff\xfe"), id="case_39_not_utf_8"),
        pytest.param(encoded(b"svc:%ff"), id="case_39_not_utf_8_encoded"),
        pytest.param(encoded(b"s\xe9:x"), id="case_39_latin_1_id"),
        pytest.param("Basic ", id="case_39_nothing_behind"),
        pytest.param("Basic", id="case_39_lone_word"),
        pytest.param("basic", id="case_39_lone_word_small"),
        pytest.param("Basic é", id="case_39_non_ascii"),
        pytest.param("Basic \x00", id="case_39_nul"),
        pytest.param(encoded("svc:\x00"), id="case_41_nul"),
        pytest.param(encoded("svc:a%0db"), id="case_41_control"),
        pytest.param(encoded("sv\tc:x"), id="case_41_tab_in_id"),
        pytest.param(encoded("\u0455vc:x"), id="case_41_homoglyph"),
        pytest.param(encoded("x" * 5000 + ":x"), id="case_41_long_id"),
        pytest.param(encoded("svc:" + "x" * 5000), id="case_43_long_secret"),
    ],
)  # fmt: skip
def test_36_37_38_39_41_a_basic_header_that_is_not_canonical_is_a_bad_request(
    house: House, suffix: str, header: str
) -> None:
    assert_refused(send(house, suffix, header), "invalid_request")


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
    assert_refused(send(house, suffix, [good, ("Authorization", more)]), "invalid_request")


@both
@pytest.mark.parametrize(
    ("client_id", "error"),
    [
        pytest.param("SVC", "invalid_client", id="case_41_other_case"),
        pytest.param("svc ", "invalid_client", id="case_41_space_behind"),
        pytest.param("x" * 255, "invalid_client", id="case_41_longest"),
        pytest.param("x" * 60_000, "invalid_client", id="case_41_very_long"),
        pytest.param("' OR 1=1--", "invalid_client", id="case_41_sql"),
        pytest.param("sv_", "invalid_client", id="case_41_like"),
        pytest.param("%", "invalid_client", id="case_41_percent"),
        pytest.param("\u0455vc", "invalid_request", id="case_41_homoglyph"),
        pytest.param("svc\u00a0", "invalid_request", id="case_41_non_ascii_space"),
        pytest.param("\uff53\uff56\uff43", "invalid_request", id="case_41_full_width"),
        pytest.param("svc\0", "invalid_request", id="case_41_nul"),
        pytest.param("svc\x7f", "invalid_request", id="case_41_delete"),
    ],
)
def test_41_a_name_is_compared_exactly_and_never_reaches_the_driver_malformed(
    house: House, suffix: str, client_id: str, error: str
) -> None:
    response = send(house, suffix, client_id=client_id, client_secret=house["svc"].secret)
    assert_refused(response, error)


def test_41_a_name_that_nobody_can_have_is_not_remembered(house: House) -> None:
    before = len(house.issuer.runtime.registry._absent)
    for number in range(20):
        send(house, "/access_token", client_id=f"{number}".rjust(50_000, "x"), client_secret=generate())
    assert len(house.issuer.runtime.registry._absent) == before


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
    assert_refused(send(house, suffix, client_secret=house["svc"].secret), "invalid_request")
    assert_refused(send(house, suffix, encoded("svc:")), "invalid_request")


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
