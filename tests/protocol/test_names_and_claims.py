"""The scope grammar, and claim checks with strict types."""

from typing import Any

import pytest

from realmint.protocol.claims import (
    MAX_STRING,
    ClaimError,
    audience,
    check_audience,
    check_issuer,
    check_times,
    numeric_date,
    scope_values,
    string,
)
from realmint.protocol.names import MAX_SCOPE, ScopeError, format_scope, parse_scope

NOW = 1_795_400_000


def reason(check: Any, *args: Any) -> str:
    with pytest.raises(ClaimError) as refused:
        check(*args)
    return refused.value.reason


@pytest.mark.rfc("6749", "3.3")
@pytest.mark.parametrize(
    "text",
    ["", " ", " read", "read ", "read  write", "read\twrite", "read\nwrite", "a\x0bb", "a\u00a0b", "a\u2028b", "a\x1fb", 'a"b', "a\\b", "é",
     "a\x7fb", "x" * (MAX_SCOPE + 1)],
)  # fmt: skip
def test_51_text_outside_the_grammar_is_no_scope(text: str) -> None:
    with pytest.raises(ScopeError):
        parse_scope(text)


def test_52_scope_values_are_a_set_in_the_order_they_first_appear() -> None:
    assert parse_scope("write read write") == ("write", "read")
    assert format_scope(parse_scope("write read write")) == "write read"


def test_54_scope_values_compare_exactly() -> None:
    assert parse_scope("Read read") == ("Read", "read")


def test_every_character_that_may_stand_in_a_scope_does() -> None:
    allowed = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"\\')
    assert parse_scope(allowed) == (allowed,)


@pytest.mark.parametrize("value", [None, 1, True, [], {}, ["a"], "", "x" * (MAX_STRING + 1), "a\nb", "a\0b", "\ud800"])
def test_150_a_string_claim_is_a_short_printable_string(value: Any) -> None:
    assert reason(string, {"sub": value}, "sub") == "claim_type"
    assert reason(string, {}, "sub") == "claim_missing"


@pytest.mark.parametrize("value", [True, False, None, "1", [], {}, float("inf"), float("nan"), 1e30, 10**20])
def test_148_a_numeric_date_is_a_number_within_the_calendar(value: Any) -> None:
    assert reason(numeric_date, {"exp": value}, "exp") == "claim_type"


@pytest.mark.parametrize("delta", [0, -1, -1000])
def test_148_expiry_at_or_before_now_is_expired(delta: int) -> None:
    assert reason(check_times, {"exp": NOW + delta, "iat": NOW - 2000}, NOW, 0) == "expired"
    check_times({"exp": NOW + 1, "iat": NOW - 2000}, NOW, 0)


def test_197_leeway_is_applied_once_in_each_direction() -> None:
    check_times({"exp": NOW - 29, "iat": NOW - 600}, NOW, 30)
    assert reason(check_times, {"exp": NOW - 30, "iat": NOW - 600}, NOW, 30) == "expired"
    check_times({"exp": NOW + 600, "iat": NOW + 30, "nbf": NOW + 30}, NOW, 30)
    assert reason(check_times, {"exp": NOW + 600, "iat": NOW + 31}, NOW, 30) == "not_yet_valid"
    assert reason(check_times, {"exp": NOW + 600, "iat": NOW, "nbf": NOW + 31}, NOW, 30) == "not_yet_valid"


def test_149_negative_and_reversed_times_are_refused() -> None:
    assert reason(check_times, {"exp": NOW + 1, "iat": -5}, NOW, 0) == "claim_type"
    assert reason(check_times, {"exp": NOW - 5, "iat": NOW - 4}, NOW, 30) == "lifetime"
    assert reason(check_times, {"exp": NOW + 1, "iat": NOW, "nbf": -1}, NOW, 0) == "claim_type"
    assert reason(check_times, {"exp": -1, "iat": NOW}, NOW, 0) == "claim_type"
    check_times({"exp": NOW + 1, "iat": 0, "nbf": 0}, NOW, 0)


def test_148_a_life_longer_than_allowed_is_refused() -> None:
    check_times({"exp": NOW + 3600, "iat": NOW}, NOW, 0, 3600)
    assert reason(check_times, {"exp": NOW + 3601, "iat": NOW}, NOW, 0, 3600) == "lifetime"


ISSUER = "https://issuer.example/oauth2/realms/root"


@pytest.mark.parametrize(
    "iss",
    [ISSUER + "/", ISSUER[:-1], ISSUER.upper(), ISSUER.replace("https", "http"), ISSUER + "/realms/a", " " + ISSUER],
)
def test_146_the_issuer_is_compared_exactly(iss: str) -> None:
    assert reason(check_issuer, {"iss": iss}, ISSUER) == "issuer"


@pytest.mark.parametrize("iss", [[ISSUER], None, {"iss": ISSUER}, 1])
def test_146_an_issuer_that_is_no_string_is_refused(iss: Any) -> None:
    assert reason(check_issuer, {"iss": iss}, ISSUER) == "claim_type"


@pytest.mark.parametrize("aud", [None, [], 1, {}, [[]], ["https://a.example", 1], "", [""], True, [None]])
def test_147_an_audience_is_a_string_or_a_list_of_strings(aud: Any) -> None:
    assert reason(audience, {"aud": aud}) == "claim_type"


@pytest.mark.parametrize(
    "aud", ["https://a", "https://a.example/", "https://a.example https://b.example", ["https://c.example"]]
)
def test_147_an_audience_is_compared_exactly(aud: Any) -> None:
    assert reason(check_audience, {"aud": aud}, ["https://a.example"]) == "audience"
    check_audience({"aud": ["https://x.example", "https://a.example"]}, ["https://a.example"])


@pytest.mark.parametrize("scope", [["read"], {"read": 1}, 1, None, "read  write", 'a"b'])
def test_157_a_scope_that_is_no_scope_string_is_refused(scope: Any) -> None:
    assert reason(scope_values, {"scope": scope}) == "claim_type"


def test_an_absent_or_empty_scope_grants_nothing() -> None:
    assert scope_values({}) == scope_values({"scope": ""}) == ()


def test_an_error_names_the_claim_and_never_its_value() -> None:
    with pytest.raises(ClaimError) as refused:
        string({"sub": ["canary"]}, "sub")
    assert str(refused.value) == "claim_type: sub"
