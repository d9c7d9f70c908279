"""Nonces of DPoP (RFC 9449 sections 8 and 9), which nobody remembers."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmint.protocol.dpop import Nonces, ProofError, check_proof
from tests.support.clock import START
from tests.support.prover import METHOD, URL, Prover

SECRET = bytes(range(32))
NONCES = Nonces(SECRET, 300)
# The first second of a window.
TURN = START - START % 300
PROVER = Prover()


@pytest.mark.rfc("9449", "8.1")
def test_a_nonce_is_written_as_the_header_may_hold_it() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", NONCES.issue(START))


def test_106_a_nonce_is_accepted_in_its_own_time_and_in_the_next_and_no_longer() -> None:
    nonce = NONCES.issue(TURN)
    assert [NONCES.accepts(nonce, TURN + later) for later in (0, 299, 300, 599, 600)] == [True] * 4 + [False]
    assert not NONCES.accepts(nonce, TURN - 1)
    last = NONCES.issue(TURN + 299)
    assert last == nonce
    assert NONCES.issue(TURN + 300) != nonce


def test_processes_that_share_the_secret_accept_each_others_nonces_before_and_after_a_restart() -> None:
    assert Nonces(SECRET, 300).accepts(NONCES.issue(START), START)


@pytest.mark.parametrize("other", [Nonces(SECRET[::-1], 300), Nonces(SECRET, 301), Nonces(SECRET + b"\0" * 40, 300)])
def test_106_the_nonce_of_another_secret_or_lifetime_is_none_of_ours(other: Nonces) -> None:
    assert not NONCES.accepts(other.issue(START), START)


def test_a_nonce_of_before_the_lifetime_was_changed_is_none_of_ours() -> None:
    """Though the times have one number."""
    assert not Nonces(SECRET, 600).accepts(NONCES.issue(300 * 1000), 600 * 1000)


@given(st.text())
def test_106_any_other_text_is_no_nonce(text: str) -> None:
    assert not NONCES.accepts(text, START)


@pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: text + "=", str.swapcase, lambda text: " " + text, lambda text: text + "\ud800"])  # fmt: skip
def test_106_a_nonce_that_was_changed_is_no_nonce(change) -> None:
    assert not NONCES.accepts(change(NONCES.issue(START)), START)


@pytest.mark.parametrize(("secret", "lifetime"), [(b"", 300), (bytes(31), 300), (SECRET, 0), (SECRET, -1)])
def test_a_secret_that_could_be_guessed_and_a_lifetime_of_nothing_are_refused(secret: bytes, lifetime: int) -> None:
    with pytest.raises(ValueError, match="nonce"):
        Nonces(secret, lifetime)


def test_the_secret_is_not_shown() -> None:
    assert "secret" not in repr(NONCES)


def refused(**changes) -> str:
    with pytest.raises(ProofError) as refusal:
        checked(**changes)
    return refusal.value.reason


def checked(**changes):
    accepts = changes.pop("accepts_nonce", lambda text: NONCES.accepts(text, START))
    return check_proof(PROVER.proof(**changes), METHOD, URL, START, algorithms=["ES256"], accepts_nonce=accepts)


def test_106_where_a_nonce_is_demanded_a_proof_without_it_or_with_an_old_one_is_refused_for_that() -> None:
    assert refused() == "nonce"
    assert refused(nonce="") == "nonce"
    assert refused(nonce=NONCES.issue(START - 600)) == "nonce"
    assert refused(nonce=1) == "malformed"
    assert checked(nonce=NONCES.issue(START)).nonce == NONCES.issue(START)


def test_a_nonce_that_nobody_asked_for_does_no_harm() -> None:
    assert checked(nonce="another server's", accepts_nonce=None).nonce == "another server's"
    assert checked(accepts_nonce=None).nonce is None


def test_another_fault_is_told_before_the_nonce_is_asked_for() -> None:
    assert refused(iat=START - 3600) == "iat"
    assert refused(htu=URL + "/other") == "htu"
