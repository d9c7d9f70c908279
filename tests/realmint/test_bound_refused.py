"""What is said of tokens whose binding is not met, whatever is shown; nonces, policies, and what the issuer says."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from realmint import (
    DPoPPolicy,
    Introspection,
    NonceNeeded,
    Presented,
    ResourceServer,
    TokenError,
)
from realmint.gate import _Asked
from realmint.testing import FakeIssuer, client_certificate
from realmint.testing.prover import Prover as Holder
from tests.realmint.test_bound_tokens import BOTH_WAYS, URL, said, with_proof

AUDIENCE = "https://orders.example"
CERTIFICATE, RENEWED = client_certificate(), client_certificate()
Make = Callable[..., ResourceServer]


@pytest.fixture
def issuer() -> FakeIssuer:
    return FakeIssuer()


@pytest.fixture
def make(issuer: FakeIssuer) -> Make:
    return lambda **options: issuer.resource_server(AUDIENCE, **{"dpop": DPoPPolicy(), **options})


@pytest.fixture
def api(make: Make) -> ResourceServer:
    return make()


@pytest.fixture
def holder(issuer: FakeIssuer) -> Holder:
    return issuer.prover()


UNKNOWN: list[Any] = [
    {}, [], "x", 7, True, {"jwk": {}}, {"kid": "x"}, {"x5t": "x" * 43}, {"jkt": None}, {"jkt": 1}, {"jkt": ["x"]},
    {"jkt": "x"}, {"jkt": "x" * 44}, {"x5t#S256": {}}, {"x5t#S256": ""}, "JKT", "more", "x5t beside",
]  # fmt: skip


@pytest.mark.parametrize("cnf", UNKNOWN, ids=repr)
@pytest.mark.rfc("7800", "3.1")
def test_104_a_member_that_is_unknown_or_malformed_is_met_by_nothing(
    api: ResourceServer, issuer: FakeIssuer, holder: Holder, cnf: Any
) -> None:
    named = {
        "JKT": {"JKT": holder.jkt},
        "more": {"jkt": holder.jkt, "x": 1},
        "x5t beside": {"jkt": holder.jkt, "x5t#S256": 0},
    }
    token = issuer.issue(audience=AUDIENCE, cnf=named.get(cnf, cnf) if isinstance(cnf, str) else cnf)
    for presented in (None, Presented(), Presented(certificate=CERTIFICATE)):
        assert said(api, token, presented) == "cnf"
    assert said(api, token, with_proof(holder.proof("GET", URL, token), certificate=CERTIFICATE)) == "cnf"
    fetched = len(issuer.requests)
    said(api, token)
    assert len(issuer.requests) == fetched == 0, "nothing is fetched for it"


def test_a_claim_of_null_is_a_binding_that_nobody_understands(issuer: FakeIssuer, api: ResourceServer) -> None:
    text = issuer.issue(audience=AUDIENCE)
    claims = {**issuer.claims(audience=AUDIENCE, scope=""), "cnf": None}
    token = issuer.keys[0].token(issuer.header(), claims)
    assert (said(api, text), said(api, token), said(api, token, Presented())) == (None, "cnf", "cnf")


@pytest.mark.rfc("9449", "9")
def test_106_where_nonces_are_wanted_a_refusal_brings_one(make: Make, issuer: FakeIssuer, holder: Holder) -> None:
    api = make(dpop=DPoPPolicy(nonce=b"n" * 32))
    token = issuer.issue(audience=AUDIENCE, bound_to=holder)
    for nonce in (None, "of-another-server"):
        with pytest.raises(NonceNeeded) as refused:
            api.validate(token, presented=with_proof(holder.proof("GET", URL, token, nonce=nonce)))
        assert (refused.value.status, refused.value.reason, refused.value.error) == (
            401,
            "proof_nonce",
            "use_dpop_nonce",
        )
    good = refused.value.nonce
    assert said(api, token, with_proof(holder.proof("GET", URL, token, nonce=good))) is None
    other = make(dpop=DPoPPolicy(nonce=b"n" * 32))  # another process
    assert said(other, token, with_proof(holder.proof("GET", URL, token, nonce=good))) is None
    issuer.clock.advance(600)
    token = issuer.issue(audience=AUDIENCE, bound_to=holder)
    assert said(api, token, with_proof(holder.proof("GET", URL, token, nonce=good))) == "proof_nonce"


ALGS = 'algs="ES256 EdDSA ES384 PS256"'


REFUSALS: list[tuple[str, str, str, str]] = [
    ("missing", "proof_missing", "invalid_dpop_proof", "There is no DPoP proof"),
    ("other key", "cnf", "invalid_token", "The token is bound to a key that was not proven"),
    ("bearer", "cnf", "invalid_token", "The token is bound to a key that was not proven"),
    ("unbound", "unbound", "invalid_token", "The token is not bound to a key"),
    ("expired", "expired", "invalid_token", "The token has expired"),
]


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize(("what", "reason", "error", "description"), REFUSALS, ids=[row[0] for row in REFUSALS])
@pytest.mark.rfc("9449", "7.1")
def test_101_102_103_a_refusal_says_which_schemes_there_are(
    make: Make, issuer: FakeIssuer, holder: Holder, what: str, reason: str, error: str, description: str, required: bool
) -> None:
    api = make(dpop=DPoPPolicy(required=required))
    more = {"lifetime": -60} if what == "expired" else {}
    token = issuer.issue(audience=AUDIENCE, bound_to=() if what == "unbound" else holder, **more)
    prover = issuer.prover() if what == "other key" else holder
    proofs = () if what == "missing" else (prover.proof("GET", URL, token),)
    presented = Presented() if what == "bearer" else with_proof(*proofs)
    with pytest.raises(TokenError) as refused:
        api.validate(token, presented=presented)
    parameters = f'error="{error}", error_description="{description}"'
    dpop, bearer = f"DPoP {parameters}, {ALGS}", f"Bearer {parameters}"
    expected = dpop if required else f"{bearer}, DPoP {ALGS}" if what == "bearer" else f"{dpop}, Bearer"
    assert (refused.value.reason, refused.value.challenge) == (reason, expected)
    assert api.challenge_missing() == (f"DPoP {ALGS}" if required else f"Bearer, DPoP {ALGS}")


def test_a_token_without_the_scope_is_told_of_no_other_scheme(api: Any, issuer: FakeIssuer, holder: Holder) -> None:
    token = issuer.issue(audience=AUDIENCE, bound_to=holder)
    with pytest.raises(TokenError) as refused:
        api.validate(token, "orders:pay", presented=with_proof(holder.proof("GET", URL, token)))
    lacking = 'error_description="The token lacks a required scope", scope="orders:pay"'
    assert refused.value.challenge == f'DPoP error="insufficient_scope", {lacking}, {ALGS}'


def test_where_proofs_are_required_nothing_else_passes(make: Make, issuer: FakeIssuer, holder: Holder) -> None:
    api = make(dpop=DPoPPolicy(required=True))
    plain, bound = issuer.issue(audience=AUDIENCE), issuer.issue(audience=AUDIENCE, bound_to=holder)
    by_certificate = issuer.issue(audience=AUDIENCE, bound_to=CERTIFICATE)
    for _ in range(2):
        assert said(api, plain) == said(api, plain, Presented()) == "unbound"
        assert said(api, plain, with_proof(holder.proof("GET", URL, plain))) == "unbound"
        assert said(api, by_certificate, Presented(certificate=CERTIFICATE)) == "unbound"
        assert said(api, bound) == "cnf"
        assert said(api, bound, with_proof(holder.proof("GET", URL, bound))) is None


ASKING = {"mode": "opaque"}, {"mode": "live"}, {"mode": "rescue", "down": True}, {"mode": "rescue", "live": True}


@BOTH_WAYS
@pytest.mark.parametrize("asking", ASKING, ids=str)
@pytest.mark.rfc("9449", "6.2")
def test_92_104_what_the_issuer_says_of_a_token_binds_it_alike(
    make: Make, issuer: FakeIssuer, holder: Holder, asking: dict[str, Any], asynchronous: bool
) -> None:
    api = make(introspection=Introspection("orders", "secret", mode=asking["mode"]))
    if asking.get("down"):
        issuer.jwks.fail()
    more = {"live": True} if asking.get("live") else {}
    issue = issuer.issue_opaque if asking["mode"] == "opaque" else issuer.issue

    def told(token: str, presented: Presented | None) -> str | None:
        return said(api, token, presented, asynchronous=asynchronous, **more)

    plain, bound, both = (issue(audience=AUDIENCE, bound_to=to) for to in ((), holder, (holder, CERTIFICATE)))
    by_certificate = issue(audience=AUDIENCE, bound_to=CERTIFICATE)
    for _ in range(2):
        assert told(plain, None) is None
        assert told(plain, with_proof(holder.proof("GET", URL, plain))) == "unbound"
        assert told(bound, with_proof(holder.proof("GET", URL, bound))) is None
        assert told(bound, None) == told(bound, Presented()) == "cnf"
        assert told(bound, with_proof(issuer.prover().proof("GET", URL, bound))) == "cnf"
        assert told(bound, with_proof(holder.proof("GET", URL))) == "proof_ath"
        assert told(both, with_proof(holder.proof("GET", URL, both), certificate=CERTIFICATE)) is None
        assert told(both, with_proof(holder.proof("GET", URL, both))) == "cnf"
        assert told(by_certificate, Presented(certificate=CERTIFICATE)) is None
        assert told(by_certificate, Presented(certificate=RENEWED)) == told(by_certificate, None) == "cnf"


@pytest.mark.parametrize("answer", ["without", "another", "more"])
def test_an_answer_that_says_less_of_a_token_frees_nobody(make: Make, issuer: FakeIssuer, answer: str) -> None:
    api, holder = make(introspection=Introspection("orders", "secret", mode="live")), issuer.prover()
    bound, plain = issuer.issue(audience=AUDIENCE, bound_to=holder), issuer.issue(audience=AUDIENCE)
    if answer == "without":
        del issuer._issued[bound]["cnf"]
        assert said(api, bound, with_proof(holder.proof("GET", URL, bound))) is None
    elif answer == "another":
        issuer._issued[bound]["cnf"] = {"jkt": issuer.prover().jkt}
        assert said(api, bound, with_proof(holder.proof("GET", URL, bound))) == "cnf"
    else:
        issuer._issued[plain]["cnf"] = {"jkt": holder.jkt}
        assert said(api, plain) == said(api, plain, Presented()) == "cnf"
        assert said(api, plain, with_proof(holder.proof("GET", URL, plain))) == "unbound"  # by what it says itself
    assert said(api, bound) == said(api, bound, Presented(certificate=CERTIFICATE)) == "cnf"


@pytest.mark.parametrize(
    "options",
    [{"algorithms": ()}, {"algorithms": "ES256"}, {"algorithms": ["HS256"]}, {"algorithms": ["none"]}, {"max_age": 0},
     {"max_age": 301}, {"max_age": True}, {"leeway": -1}, {"nonce": b"short"}, {"nonce": b"n" * 32, "nonce_lifetime": 0},
     {"replay": "marks.db"}],
    ids=str,
)  # fmt: skip
def test_a_policy_that_would_skip_a_check_is_none(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="DPoPPolicy"):
        DPoPPolicy(**options)


def test_no_repr_shows_a_proof_a_certificate_or_a_secret(holder: Holder) -> None:
    proof = holder.proof("GET", URL)
    shown = with_proof(proof, certificate=CERTIFICATE)
    shown.proven = (None, "the-token", holder.jkt)
    asked = _Asked(("DPoP the-token",), "the-token", shown)
    for text in (repr(shown), repr(asked), repr(DPoPPolicy(nonce=b"secret-" * 5))):
        assert not {proof, "the-token", "DPoP the-token", holder.jkt} & set(text.split("'"))
        assert "secret-" not in text
        assert repr(CERTIFICATE) not in text


@pytest.mark.parametrize("option", ["dpop", "certificates"])
@pytest.mark.parametrize("value", [True, "required", {}, ("ES256",)], ids=repr)
def test_what_is_no_policy_is_refused_at_the_start(make: Make, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option} must be"):
        make(**{option: value})


@given(
    st.lists(st.text(max_size=80) | st.just("a.b.c"), max_size=3),
    st.text(max_size=20),
    st.text(max_size=60),
    st.binary(max_size=40),
)
@examples(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_161_whatever_a_request_shows_is_refused_as_a_token_is(
    api: ResourceServer, issuer: FakeIssuer, proofs: list[str], method: str, url: str, certificate: bytes
) -> None:
    prover = issuer.prover()
    for token in (
        issuer.issue(audience=AUDIENCE, bound_to=prover),
        issuer.issue(audience=AUDIENCE, bound_to=(prover, CERTIFICATE)),
    ):
        for scheme in ("DPoP", "Bearer", method):
            assert said(api, token, Presented(scheme, proofs, method, url, certificate)) is not None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=50),
        lambda one: (
            st.lists(one, max_size=3)
            | st.dictionaries(st.sampled_from(["jkt", "x5t#S256", "x"]) | st.text(max_size=5), one, max_size=3)
        ),
    )
)
@examples(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_161_whatever_a_cnf_says_is_met_by_its_own_proof_or_by_nothing(
    api: ResourceServer, issuer: FakeIssuer, holder: Holder, cnf: Any
) -> None:
    token = issuer.keys[0].token(issuer.header(), {**issuer.claims(audience=AUDIENCE, scope=""), "cnf": cnf})
    shown = with_proof(holder.proof("GET", URL, token), certificate=CERTIFICATE)
    assert {said(api, token), said(api, token, shown), said(api, token, Presented())} <= {"cnf", "unbound", "malformed"}
