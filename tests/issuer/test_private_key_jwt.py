"""private_key_jwt: facts/security.md section D, what an assertion says and where it is sent."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from issuer.secrets import generate
from tests.issuer.conftest import READER, Lines
from tests.support.assertions import (
    FORMS,
    MAKERS,
    SPIFFE_TYPE,
    TYPE,
    Signer,
    add_key,
    ask,
    counting_checks,
    form,
    issuer_of,
    key_client,
    written,
)
from tests.support.client_keys import ALGORITHMS, MADE
from tests.support.clock import FakeClock
from tests.support.forge import merged
from tests.support.issuer import Caller, Issuer, claims
from tests.support.wire import PRIVATE, assert_refused, headers

everywhere = pytest.mark.parametrize("suffix", FORMS)
OTHER_SUBJECT = "The client_id in the body is not the subject of the client assertion"
NO_TYPE = "The client_assertion_type is missing or unknown"
NO_ASSERTION = "Missing parameter: client_assertion"
TWO_METHODS = "More than one client authentication method is used"
FIRST = issuer_of()


@dataclass
class Desk:
    """An issuer and clients that sign for themselves, which nobody changes."""

    issuer: Issuer
    signers: dict[str, Signer] = field(default_factory=dict)
    secret: Caller = field(default_factory=lambda: Caller("", ""))

    def __getitem__(self, name: str) -> Signer:
        return self.signers[name]

    @property
    def now(self) -> int:
        return self.issuer.clock.now

    def refused_like_a_wrong_secret(self, response: Any, suffix: str, realm: str = "/") -> None:
        """Byte for byte, headers too (#28)."""
        wrong = Caller(self.secret.client_id, generate())
        expected = self.issuer.post(suffix, FORMS[suffix], wrong.basic, realm)
        assert_refused(response, "invalid_client", realm=realm)
        assert (response.status_code, response.data) == (expected.status_code, expected.data)
        assert headers(response) == headers(expected)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    issuer = Issuer(tmp_path_factory.mktemp("desk"), FakeClock(), AUTH_FAILURES_PER_MINUTE="0")
    issuer.runtime.boot()
    issuer.run("realms create /customers --scope read")
    desk = Desk(issuer)
    for alg in ALGORITHMS:
        desk.signers[alg] = key_client(issuer, alg.lower(), alg, native=MADE[alg])
    for name in ("svc", "other", "off"):
        desk.signers[name] = key_client(issuer, name)
    desk.signers["elsewhere"] = key_client(issuer, "elsewhere", realm="/customers")
    desk.signers["several"] = key_client(issuer, "several", kid="a")
    for kid, alg in (("b", "ES256"), ("c", "EdDSA"), ("d", "RS256")):
        add_key(issuer, Signer("several", alg, kid, native=MADE[alg] if alg == "RS256" else None))
    desk.signers["past"] = Signer("past")
    issuer.run(f"clients create past --auth-method private_key_jwt {READER}")
    add_key(issuer, desk["past"], "--expires-in 1s")
    desk.secret = issuer.client("shy", READER)
    add_key(issuer, Signer("shy", native=desk["svc"].native))
    desk.signers["shy"] = Signer("shy", native=desk["svc"].native)
    issuer.run("clients disable off")
    issuer.clock.advance(10)
    yield desk
    issuer.runtime.close()


@everywhere
@pytest.mark.parametrize("by", MAKERS)
@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.rfc("7523", "2.2")
def test_62_82_an_assertion_for_this_issuer_is_taken_at_every_endpoint(
    desk: Desk, suffix: str, by: str, alg: str
) -> None:
    for kid in ("k1", None):
        sent = desk[alg].assertion(desk.now, by=by, header={"kid": kid})
        response = ask(desk.issuer, sent, suffix)
        assert (response.status_code, headers(response)) == (200, PRIVATE), response.text
        if suffix == "/access_token":
            assert claims(response.json["access_token"])["client_id"] == alg.lower()


@everywhere
def test_62_the_body_may_name_the_client_too(desk: Desk, suffix: str) -> None:
    assert ask(desk.issuer, desk["svc"].assertion(desk.now), suffix, client_id="svc").status_code == 200


def wrong_claims(now: int) -> dict[str, dict[str, Any]]:
    """What makes an assertion nobody's, one thing in each. None: the claim is not there."""
    token = f"{FIRST}/access_token"
    return {
        "case_63_token_endpoint": {"aud": token},
        "case_63_list_of_it_alone": {"aud": [FIRST]},
        "case_63_list_with_another": {"aud": [FIRST, "https://other.example"]},
        "case_63_other_realm": {"aud": issuer_of("/customers")},
        "case_63_slash_behind": {"aud": FIRST + "/"},
        "case_63_other_case": {"aud": FIRST.upper()},
        "case_63_base": {"aud": "https://issuer.example"},
        "case_63_absent": {"aud": None},
        "case_63_empty": {"aud": ""},
        "case_63_number": {"aud": 1},
        "case_63_object": {"aud": {"": FIRST}},
        "case_64_iss_of_another": {"iss": "other"},
        "case_64_sub_of_another": {"sub": "other"},
        "case_64_no_iss": {"iss": None},
        "case_64_no_sub": {"sub": None},
        "case_64_lists": {"iss": ["svc"], "sub": ["svc"]},
        "case_64_numbers": {"iss": 1, "sub": 1},
        "case_64_empty": {"iss": "", "sub": ""},
        "case_64_other_case": {"iss": "SVC", "sub": "SVC"},
        "case_67_no_exp": {"exp": None},
        "case_67_exp_past": {"exp": now - 30},
        "case_67_exp_long_past": {"iat": now - 7200, "exp": now - 7000},
        "case_67_exp_text": {"exp": str(now + 60)},
        "case_67_exp_boolean": {"exp": True},
        "case_67_exp_negative": {"exp": -1},
        "case_67_exp_far": {"exp": now + 331},
        "case_67_exp_three_years": {"exp": now + 3 * 31536000},
        "case_67_exp_before_iat": {"iat": now, "exp": now - 5},
        "case_68_iat_ahead": {"iat": now + 61, "exp": now + 120},
        "case_68_nbf_ahead": {"nbf": now + 61, "exp": now + 120},
        "case_68_iat_old": {"iat": now - 331},
        "case_68_iat_hours_old": {"iat": now - 7200},
        "case_68_iat_text": {"iat": str(now)},
        "case_68_nbf_boolean": {"nbf": True},
        "case_69_no_jti": {"jti": None},
        "case_69_jti_empty": {"jti": ""},
        "case_69_jti_number": {"jti": 7},
        "case_69_jti_list": {"jti": ["a"]},
        "case_69_jti_long": {"jti": "x" * 257},
    }


@everywhere
@pytest.mark.parametrize("name", wrong_claims(0))
@pytest.mark.rfc("7523", "3")
def test_82_what_says_anything_else_gets_the_answer_to_a_wrong_secret(desk: Desk, suffix: str, name: str) -> None:
    said = merged(desk["svc"].claims(desk.now), wrong_claims(desk.now)[name])
    sent = desk["svc"].raw(desk["svc"].header, said)
    desk.refused_like_a_wrong_secret(ask(desk.issuer, sent, suffix), suffix)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda now: {"exp": now + 330}, id="case_67_exp_at_the_limit"),
        pytest.param(lambda now: {"exp": now - 29, "iat": now - 60}, id="case_67_exp_within_skew"),
        pytest.param(lambda now: {"exp": now + 60.5}, id="case_67_exp_with_a_fraction"),
        pytest.param(lambda now: {"iat": now + 8, "nbf": now + 8}, id="case_68_8_seconds_ahead"),
        pytest.param(lambda now: {"iat": now + 30, "nbf": now + 30}, id="case_68_30_seconds_ahead"),
        pytest.param(lambda now: {"iat": now - 330}, id="case_68_iat_at_the_limit"),
        pytest.param(lambda now: {"iat": None, "nbf": None}, id="case_68_neither"),
        pytest.param(lambda now: {"jti": "x" * 256}, id="case_69_longest_jti"),
        pytest.param(lambda now: {"jti": "\U0001f511" * 256}, id="case_69_longest_jti_of_4_bytes_each"),
        pytest.param(lambda now: {"jti": "\x00'\"; DROP TABLE used_once"}, id="case_69_jti_with_anything_in_it"),
    ],
)  # fmt: skip
def test_67_68_69_what_is_just_within_the_limits_is_taken(desk: Desk, change: Any) -> None:
    said = merged(desk["svc"].claims(desk.now), change(desk.now))
    assert ask(desk.issuer, desk["svc"].raw(desk["svc"].header, said)).status_code == 200


def test_69_two_names_that_agree_in_255_characters_are_two(desk: Desk) -> None:
    for end in "ab":
        assert ask(desk.issuer, desk["other"].assertion(desk.now, jti="y" * 255 + end)).status_code == 200


@everywhere
@pytest.mark.rfc("7521", "4.2")
def test_65_another_client_in_the_body_is_a_bad_request(desk: Desk, suffix: str) -> None:
    for name in ("other", "SVC", "nobody", "svc "):
        response = ask(desk.issuer, desk["svc"].assertion(desk.now), suffix, client_id=name)
        assert_refused(response, "invalid_request", text=OTHER_SUBJECT)


@everywhere
@pytest.mark.rfc("7521", "4.2")
def test_81_type_and_assertion_go_together(desk: Desk, suffix: str) -> None:
    good = desk["svc"].assertion(desk.now)
    for wrong in (None, "", "jwt", TYPE.upper(), TYPE + " ", TYPE.replace("jwt", "saml2")):
        response = ask(desk.issuer, good, suffix, client_assertion_type=wrong)
        assert_refused(response, "invalid_request", text=NO_TYPE)
    for more in ({}, {"client_id": "svc"}):
        sent = FORMS[suffix] | {"client_assertion_type": TYPE} | more
        assert_refused(desk.issuer.post(suffix, sent), "invalid_request", text=NO_ASSERTION)
    # That is for what a workload was given, and not for what a client made.
    assert_refused(ask(desk.issuer, good, suffix, client_assertion_type=SPIFFE_TYPE), "invalid_request", text=NO_TYPE)
    assert ask(desk.issuer, good, suffix).status_code == 200, "nothing of that used it"


@everywhere
@pytest.mark.rfc("6749", "2.3")
def test_31_an_assertion_beside_a_secret_is_two_methods_whichever_is_right(desk: Desk, suffix: str) -> None:
    for caller in (desk.secret, Caller("shy", generate())):
        sent = FORMS[suffix] | form(desk["shy"].assertion(desk.now))
        assert_refused(desk.issuer.post(suffix, sent, caller.basic), "invalid_request", text=TWO_METHODS)
        assert_refused(desk.issuer.post(suffix, sent | caller.post), "invalid_request", text=TWO_METHODS)
    response = desk.issuer.post(suffix, FORMS[suffix] | form(desk["svc"].assertion(desk.now)), {"Authorization": "x"})
    assert_refused(response, "invalid_request", text=TWO_METHODS)


def strangers(desk: Desk) -> dict[str, tuple[str, str]]:
    """Assertions that are all in order, of those who are not let in, and the realm they try."""
    now = desk.now
    forged = Signer("svc")
    stolen = Signer("other", native=desk["svc"].native)
    return {
        "case_66_key_of_another": (stolen.assertion(now), "/"),
        "wrong_key": (forged.assertion(now), "/"),
        "unknown_client": (Signer("nobody", native=desk["svc"].native).assertion(now), "/"),
        "disabled": (desk["off"].assertion(now), "/"),
        "case_79_expired_key": (desk["past"].assertion(now), "/"),
        "case_34_registered_for_a_secret": (desk["shy"].assertion(now), "/"),
        "case_78_unknown_kid": (desk["svc"].assertion(now, header={"kid": "k2"}), "/"),
        "other_realm": (Signer("elsewhere", native=desk["elsewhere"].native).assertion(now), "/"),
        "root_client_elsewhere": (desk["svc"].assertion(now, aud=issuer_of("/customers")), "/customers"),
        "cut_signature": (desk["svc"].assertion(now)[:-4], "/"),
        "no_signature": (desk["svc"].assertion(now).rpartition(".")[0] + ".", "/"),
        "case_74_rs256_for_an_ec_key": (Signer("svc", "RS256", native=MADE["RS256"]).assertion(now), "/"),
        "nul_in_the_name": (Signer("svc\0").assertion(now), "/"),
        "case_41_anything_in_the_name": (Signer("' OR 1=1--\r\n\u2028").assertion(now), "/"),
        "case_41_long_name": (Signer("x" * 3000).assertion(now), "/"),
    }


@everywhere
@pytest.mark.parametrize(
    "name",
    ["case_66_key_of_another", "wrong_key", "unknown_client", "disabled", "case_79_expired_key",
     "case_34_registered_for_a_secret", "case_78_unknown_kid", "other_realm", "root_client_elsewhere", "cut_signature",
     "no_signature", "case_74_rs256_for_an_ec_key", "nul_in_the_name", "case_41_anything_in_the_name",
     "case_41_long_name"],
)  # fmt: skip
def test_28_whoever_is_not_let_in_gets_one_and_the_same_answer_and_nothing_of_it_is_logged(
    desk: Desk, lines: Lines, suffix: str, name: str
) -> None:
    sent, realm = strangers(desk)[name]
    desk.refused_like_a_wrong_secret(ask(desk.issuer, sent, suffix, realm), suffix, realm)
    assert lines.text
    for part in sent.split("."):
        assert not part or part not in "".join(lines.text + lines.json)
    assert all(line.isascii() and "\n" not in line and json.loads(line) for line in lines.json)


def test_34_a_client_of_private_key_jwt_has_no_use_for_a_secret(desk: Desk) -> None:
    for suffix in FORMS:
        response = desk.issuer.post(suffix, FORMS[suffix], Caller("svc", generate()).basic)
        desk.refused_like_a_wrong_secret(response, suffix)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_28_29_as_many_signatures_are_checked_whether_client_and_key_are_known_or_not(desk: Desk, alg: str) -> None:
    name, known = alg.lower(), desk[alg]
    sent = {
        "right": known.assertion(desk.now),
        "wrong_signature": Signer(name, alg).assertion(desk.now),
        "unknown_kid": known.assertion(desk.now, header={"kid": "another"}),
        "no_kid": Signer(name, alg).assertion(desk.now, header={"kid": None}),
        "unknown_client": Signer("nobody", alg).assertion(desk.now),
        "other_realm": Signer("elsewhere", alg).assertion(desk.now),
        "key_of_another_type": Signer("svc" if alg != "ES256" else "es384", alg).assertion(desk.now),
        "expired": Signer("past", alg).assertion(desk.now),
        "registered_for_a_secret": Signer("shy", alg).assertion(desk.now),
    }
    done = {}
    for why, assertion in sent.items():
        with counting_checks() as counted:
            assert ask(desk.issuer, assertion).status_code == (200 if why == "right" else 401)
        done[why] = counted.checks
    assert done.pop("right") >= 1
    assert done.pop("no_kid") == 4  # as many keys may be tried then
    assert set(done.values()) == {1}, done


def test_28_29_without_a_kid_nobody_can_time_how_many_keys_a_client_has(issuer: Issuer) -> None:
    key_client(issuer, "one")
    key_client(issuer, "three")
    for kid in ("k2", "k3"):
        add_key(issuer, Signer("three", kid=kid))
    key_client(issuer, "many")
    for n in range(5):
        add_key(issuer, Signer("many", kid=f"n{n}"))
    outside = Signer("https://ci.example", kid=None)
    keys = written(issuer, {"keys": [Signer("x", kid=f"k{n}").public_jwk() for n in range(3)]})
    issuer.run(f"clients trust add one --issuer {outside.name} --match sub=job --jwks {keys}")
    issuer.clock.advance(2)
    now, done = issuer.clock.wall(), {}
    for name in ("one", "three", "many", "nobody"):
        sent = (Signer(name, kid=None).assertion(now), {}), (outside.assertion(now, sub="job"), {"client_id": name})
        for assertion, more in sent:
            with counting_checks() as counted:
                assert ask(issuer, assertion, **more).status_code == 401
            done[name, bool(more)] = counted.checks
    assert len(set(done.values())) == 1, done
