"""Tokens that are bound to a key or a certificate: met, or refused, always (RFC 8705 section 3, RFC 9449 section 7)."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from realmint import (
    DPoPPolicy,
    InvalidProof,
    InvalidToken,
    MemoryReplays,
    Presented,
    ResourceServer,
    SQLiteReplays,
    TokenError,
    Unavailable,
)
from realmint.protocol.dpop import ath
from realmint.testing import FakeIssuer, client_certificate
from realmint.testing.prover import Prover as Holder
from tests.support.prover import KINDS, Prover

AUDIENCE = "https://orders.example"
URL = f"{AUDIENCE}/orders"
CERTIFICATE, RENEWED = client_certificate(), client_certificate()
ALL = ("ES256", "ES384", "EdDSA", "PS256", "RS256")
Make = Callable[..., ResourceServer]
BOTH_WAYS = pytest.mark.parametrize("asynchronous", [False, True], ids=["threads", "loop"])


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


def with_proof(*proofs: str, method: str = "GET", url: str = URL, certificate: bytes | None = None) -> Presented:
    return Presented("DPoP", proofs, method, url, certificate)


def said(
    api: ResourceServer, token: str, presented: Presented | None = None, *, asynchronous: bool = False, **more: Any
) -> str | None:
    """The reason of a refusal; None where it was let in."""
    try:
        if asynchronous:
            asyncio.run(api.avalidate(token, presented=presented, **more))
        else:
            api.validate(token, presented=presented, **more)
    except TokenError as refused:
        return refused.reason
    return None


@BOTH_WAYS
@pytest.mark.rfc("9449", "7.1")
def test_93_a_token_passes_with_a_proof_of_its_key(
    api: ResourceServer, issuer: FakeIssuer, holder: Holder, asynchronous: bool
) -> None:
    token = issuer.issue(audience=AUDIENCE, scope="orders:read", bound_to=holder)
    for _ in range(3):  # the second time it is at hand
        shown = with_proof(holder.proof("GET", URL, token))
        assert said(api, token, shown, asynchronous=asynchronous, scope="orders:read") is None


@pytest.mark.parametrize("maker", ["by_pyjwt", "by_joserfc", "proof"])
@pytest.mark.parametrize("kind", KINDS)
def test_93_108_proofs_of_other_makers_and_of_long_keys_pass(
    make: Make, issuer: FakeIssuer, kind: str, maker: str
) -> None:
    api, prover = make(dpop=DPoPPolicy(algorithms=ALL)), Prover(kind)
    token = issuer.issue(audience=AUDIENCE, cnf={"jkt": prover.jkt})
    claims = {"htm": "GET", "htu": URL, "iat": issuer.clock.now, "ath": ath(token)}
    assert said(api, token, with_proof(getattr(prover, maker)(**claims))) is None
    assert said(api, token, with_proof(getattr(prover, maker)(**claims))) == "proof_replayed"


BAD: dict[str, tuple[Callable[[Holder, str], Presented], str]] = {
    "case_94_none": (lambda one, token: with_proof(), "proof_missing"),
    "case_94_two": (lambda one, token: with_proof(*[one.proof("GET", URL, token)] * 2), "proof_several"),
    "case_94_joined": (
        lambda one, token: with_proof(",".join([one.proof("GET", URL, token)] * 2)), "proof_several"),
    "case_94_word": (lambda one, token: with_proof("proof"), "proof_malformed"),
    "case_95_no_jti": (lambda one, token: with_proof(one.proof("GET", URL, token, jti=None)), "proof_jti"),
    "case_95_no_iat": (lambda one, token: with_proof(one.proof("GET", URL, token, iat=None)), "proof_iat"),
    "case_95_no_jwk": (
        lambda one, token: with_proof(one.proof("GET", URL, token, header={"jwk": None})), "proof_jwk"),
    "case_96_typ": (lambda one, token: with_proof(one.proof("GET", URL, token, header={"typ": "JWT"})), "proof_typ"),
    "case_96_none": (lambda one, token: with_proof(one.proof("GET", URL, token, header={"alg": "none"})), "proof_alg"),
    "case_97_private": (
        lambda one, token: with_proof(one.proof("GET", URL, token, header={"jwk": {**one.header["jwk"], "d": "AQ"}})),
        "proof_jwk",
    ),
    "case_98_signature": (
        lambda one, token: with_proof(one.proof("GET", URL, token, header={"jwk": Holder().header["jwk"]})),
        "proof_signature",
    ),
    "case_99_host": (lambda one, token: with_proof(one.proof("GET", "https://x.example/orders", token)), "proof_htu"),
    "case_99_path": (lambda one, token: with_proof(one.proof("GET", f"{URL}/1", token)), "proof_htu"),
    "case_99_scheme": (lambda one, token: with_proof(one.proof("GET", "http://orders.example/orders", token)), "proof_htu"),
    "case_99_method": (lambda one, token: with_proof(one.proof("POST", URL, token)), "proof_htm"),
    "case_100_old": (
        lambda one, token: with_proof(one.proof("GET", URL, token, iat=one._clock() - 3600)), "proof_iat"),
    "case_100_ahead": (
        lambda one, token: with_proof(one.proof("GET", URL, token, iat=one._clock() + 3600)), "proof_iat"),
    "case_101_no_ath": (lambda one, token: with_proof(one.proof("GET", URL)), "proof_ath"),
    "case_101_other_ath": (lambda one, token: with_proof(one.proof("GET", URL, token + "x")), "proof_ath"),
    "case_102_other_key": (lambda one, token: with_proof(Holder(clock=one._clock).proof("GET", URL, token)), "cnf"),
    "case_103_as_bearer": (lambda one, token: Presented(), "cnf"),
    "case_103_as_bearer_with_its_proof": (
        lambda one, token: Presented("Bearer", (one.proof("GET", URL, token),), "GET", URL), "cnf"),
}  # fmt: skip


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "cached"])
@pytest.mark.parametrize("case", BAD)
@pytest.mark.rfc("9449", "4.3")
def test_what_is_no_proof_for_this_request_is_refused(
    api: ResourceServer, issuer: FakeIssuer, holder: Holder, case: str, warm: bool
) -> None:
    make, reason = BAD[case]
    token = issuer.issue(audience=AUDIENCE, bound_to=holder)
    if warm:
        assert said(api, token, with_proof(holder.proof("GET", URL, token))) is None
    with pytest.raises(TokenError) as refused:
        api.validate(token, presented=make(holder, token))
    assert (refused.value.status, refused.value.reason) == (401, reason)
    assert isinstance(refused.value, InvalidProof) == reason.startswith("proof_")
    assert said(api, token, with_proof(holder.proof("GET", URL, token))) is None


def test_99_100_what_differs_in_spelling_alone_passes(api: ResourceServer, issuer: FakeIssuer, holder: Holder) -> None:
    token = issuer.issue(audience=AUDIENCE, bound_to=holder)
    for url in (
        "HTTPS://ORDERS.example:443/orders?a=b#c",
        "https://orders.example/%6frders",
        f"{AUDIENCE}/x/../orders",
    ):
        assert said(api, token, with_proof(holder.proof("GET", url, token))) is None, url
    for iat, reason in ((-90, None), (-91, "proof_iat"), (30, None), (31, "proof_iat")):
        proof = holder.proof("GET", URL, token, iat=issuer.clock.now + iat, exp=1, nbf=2**31)
        assert said(api, token, with_proof(proof)) == reason, iat


NO_PROOF = [None, Presented(), with_proof(), Presented("Bearer", certificate=CERTIFICATE)]


@pytest.mark.parametrize("presented", NO_PROOF, ids=["nothing", "bearer", "no proof", "certificate"])
@BOTH_WAYS
def test_103_a_bound_token_that_is_held_never_passes_without_its_proof(
    api: ResourceServer, issuer: FakeIssuer, holder: Holder, presented: Any, asynchronous: bool
) -> None:
    token = issuer.issue(audience=AUDIENCE, bound_to=holder)
    for _ in range(2):
        assert said(api, token, with_proof(holder.proof("GET", URL, token)), asynchronous=asynchronous) is None
        assert said(api, token, presented, asynchronous=asynchronous) in ("cnf", "proof_missing")


def test_103_a_token_that_is_bound_to_nothing_is_refused_as_dpop_and_passes_as_ever(
    api: ResourceServer, issuer: FakeIssuer, holder: Holder
) -> None:
    token = issuer.issue(audience=AUDIENCE)
    for _ in range(2):
        assert said(api, token, with_proof(holder.proof("GET", URL, token))) == "unbound"
        assert said(api, token) is None
        assert said(api, token, Presented()) is None
        assert said(api, token, Presented(certificate=CERTIFICATE)) is None


def test_an_api_that_takes_no_proofs_refuses_every_token_that_needs_one(
    make: Make, issuer: FakeIssuer, holder: Holder
) -> None:
    api, token = make(dpop=None), issuer.issue(audience=AUDIENCE, bound_to=holder)
    assert said(api, token, with_proof(holder.proof("GET", URL, token))) == "cnf"
    assert said(api, token) == "cnf"
    with pytest.raises(InvalidToken) as refused:
        api.validate(token)
    assert refused.value.challenge == (
        'Bearer error="invalid_token", error_description="The token is bound to a key that was not proven"'
    )


@pytest.mark.parametrize("dpop", [None, DPoPPolicy()], ids=["no dpop", "dpop"])
@pytest.mark.rfc("8705", "3")
def test_92_a_token_passes_with_its_certificate_and_no_other(make: Make, issuer: FakeIssuer, dpop: Any) -> None:
    api, token = make(dpop=dpop), issuer.issue(audience=AUDIENCE, bound_to=CERTIFICATE)
    for _ in range(2):
        assert said(api, token, Presented(certificate=CERTIFICATE)) is None
        for other in (None, Presented(), Presented(certificate=RENEWED), Presented(certificate=b"")):
            assert said(api, token, other) == "cnf"
    assert said(api, token, with_proof(certificate=CERTIFICATE)) == "unbound"


def test_104_a_token_with_both_members_needs_both(api: ResourceServer, issuer: FakeIssuer, holder: Holder) -> None:
    token = issuer.issue(audience=AUDIENCE, bound_to=(holder, CERTIFICATE))
    for _ in range(2):

        def proof() -> str:
            return holder.proof("GET", URL, token)

        assert said(api, token, with_proof(proof(), certificate=CERTIFICATE)) is None
        assert said(api, token, with_proof(proof())) == "cnf"
        assert said(api, token, with_proof(proof(), certificate=RENEWED)) == "cnf"
        assert said(api, token, Presented(certificate=CERTIFICATE)) == "cnf"
        assert said(api, token, with_proof(certificate=CERTIFICATE)) == "proof_missing"


@BOTH_WAYS
@pytest.mark.rfc("9449", "11.1")
def test_105_a_proof_counts_once_and_within_one_request_as_often_as_it_is_looked_at(
    api: ResourceServer, issuer: FakeIssuer, holder: Holder, asynchronous: bool
) -> None:
    token = issuer.issue(audience=AUDIENCE, bound_to=holder)
    proof = holder.proof("GET", URL, token)
    shown = with_proof(proof)
    assert said(api, token, shown, asynchronous=asynchronous) is None
    assert said(api, token, shown, asynchronous=asynchronous) is None
    assert said(api, token, shown, asynchronous=asynchronous, scope="orders:pay") == "scope"
    assert said(api, token, with_proof(proof), asynchronous=asynchronous) == "proof_replayed"
    other = issuer.issue(audience=AUDIENCE, bound_to=holder)
    assert said(api, other, shown, asynchronous=asynchronous) == "proof_ath"


def test_what_one_api_found_good_another_looks_at_itself(make: Make, issuer: FakeIssuer, holder: Holder) -> None:
    token = issuer.issue(audience=AUDIENCE, bound_to=holder)
    shown = with_proof(holder.proof("GET", URL, token))
    assert said(make(), token, shown) is None
    assert said(make(dpop=DPoPPolicy(nonce=b"n" * 32)), token, shown) == "proof_nonce"
    assert said(make(dpop=None), token, shown) == "cnf"


def test_105_a_proof_counts_once_to_the_last_second(api: ResourceServer, issuer: FakeIssuer, holder: Holder) -> None:
    token = issuer.issue(audience=AUDIENCE, bound_to=holder)
    proof = holder.proof("GET", URL, token, iat=issuer.clock.now + 30)
    assert said(api, token, with_proof(proof)) is None
    for _ in range(130):
        assert said(api, token, with_proof(proof)) in ("proof_replayed", "proof_iat")
        issuer.clock.advance(1)


@pytest.mark.parametrize("store", ["memory", "file"])
def test_105_195_a_clock_that_leaps_ahead_and_is_set_right_revives_no_proof(
    issuer: FakeIssuer, make: Make, holder: Holder, tmp_path: Path, store: str
) -> None:
    replays = MemoryReplays() if store == "memory" else SQLiteReplays(tmp_path / "used")
    api, clock = make(dpop=DPoPPolicy(replay=replays)), issuer.clock

    def used() -> tuple[str, str]:
        token = issuer.issue(audience=AUDIENCE, bound_to=holder)
        proof = holder.proof("GET", URL, token)
        assert said(api, token, with_proof(proof)) is None
        return token, proof

    token, proof = used()
    for _ in range(3):
        clock.now += 3600
        used()
        clock.now -= 3600
        clock.advance(20)
        assert said(api, token, with_proof(proof)) == "proof_replayed"
    if isinstance(replays, MemoryReplays):  # one that stays ahead is right, and what is over is forgotten again
        clock.now += 3600
        for _ in range(3):
            clock.advance(600)
            used()
        assert len(replays) == 1


def test_105_a_bad_token_a_bad_proof_and_another_s_key_use_nothing_up(issuer: FakeIssuer, make: Make) -> None:
    replays, holder = MemoryReplays(), issuer.prover()
    api = make(dpop=DPoPPolicy(replay=replays))
    token = issuer.issue(audience=AUDIENCE, bound_to=holder)
    proof = holder.proof("GET", URL, token)
    assert said(api, token[:-6] + "AAAAAA", with_proof(proof)) is not None
    assert said(api, token, with_proof(issuer.prover().proof("GET", URL, token))) == "cnf"
    assert said(api, token, with_proof(proof, method="POST")) == "proof_htm"
    assert len(replays) == 0
    assert said(api, token, with_proof(proof)) is None
    assert len(replays) == 1


class Broken:
    def first(self, key: bytes, until: int, now: int) -> bool:
        raise OSError(f"{key!r}")


@BOTH_WAYS
@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Broken, "replays_failed"), (partial(MemoryReplays, 1), "replays_full")],
    ids=["broken", "full"],
)
def test_105_without_a_place_for_a_mark_it_is_503(
    make: Make, issuer: FakeIssuer, kind: Any, reason: str, asynchronous: bool, caplog: Any
) -> None:
    store = kind()
    holder, events = issuer.prover(), []
    api = make(dpop=DPoPPolicy(replay=store), on_event=lambda name, fields: events.append((name, dict(fields))))
    token = issuer.issue(audience=AUDIENCE, bound_to=holder)
    said(api, token, with_proof(holder.proof("GET", URL, token)))
    assert said(api, token, with_proof(holder.proof("GET", URL, token)), asynchronous=asynchronous) == reason
    assert (
        "replays.failed",
        {"reason": reason, "cause": "OSError" if isinstance(store, Broken) else "ReplaysFull"},
    ) in events
    assert "DPoPPolicy(replay=...)" in caplog.text
    with pytest.raises(Unavailable) as refused:
        api.validate(token, presented=with_proof(holder.proof("GET", URL, token)))
    assert (refused.value.challenge, refused.value.retry_after) == (None, 1)
    issuer.clock.advance(200)
    if isinstance(store, MemoryReplays):
        assert said(api, token, with_proof(holder.proof("GET", URL, token))) is None


@BOTH_WAYS
def test_a_bound_token_that_is_held_is_looked_up_anew_as_any_other(
    api: ResourceServer, issuer: FakeIssuer, holder: Holder, asynchronous: bool
) -> None:
    def fresh(token: str) -> str | None:
        return said(api, token, with_proof(holder.proof("GET", URL, token)), asynchronous=asynchronous)

    token, other = (issuer.issue(audience=AUDIENCE, bound_to=holder) for _ in range(2))
    assert [fresh(token), fresh(other)] == [None, None]
    issuer.revoke(token)
    issuer.clock.advance(11)
    assert [fresh(token), fresh(other)] == ["revoked", None]
    issuer.clock.advance(700)
    assert fresh(other) == "expired"
