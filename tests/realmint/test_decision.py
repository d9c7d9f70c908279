"""What a decision asks for, in which order, and one check for local and introspected tokens: nothing here does I/O."""

from collections.abc import Callable
from typing import Any

import pytest

from realmint import AccessToken, InvalidToken, TokenError, Unavailable
from realmint.decision import IssuerAsked, KeyNeeded, Told, check, decide
from realmint.protocol.jws import VerificationKey, verification_key
from realmint.protocol.names import SIGNING_ALGORITHMS
from realmint.rules import Rules, book
from tests.support.fake_issuer import ISSUER
from tests.support.forge import START, Forge

FORGE = Forge()
KEY = verification_key(FORGE.material.public_jwk)
RULES = Rules(ISSUER, frozenset({"https://orders.example"}), frozenset(SIGNING_ALGORITHMS), 30)
OPAQUE = "rmt_0123456789"


def decided(
    token: Any,
    mode: Any = None,
    *,
    key: VerificationKey | TokenError = KEY,
    says: dict[str, Any] | TokenError = FORGE.claims,
    live: bool = False,
    now: int = START,
) -> tuple[AccessToken | str, list[str]]:
    """The token or the reason of a refusal, and what was asked for on the way."""
    decision = decide(token, book([RULES._replace(mode=mode)]), START, live=live)
    asked: list[str] = []
    try:
        need = next(decision)
        while True:
            asked.append(
                "key"
                if isinstance(need, KeyNeeded)
                else "issuer alone"
                if getattr(need, "read", None) is None
                else "issuer"
            )
            answer = key if isinstance(need, KeyNeeded) else says
            if isinstance(answer, TokenError):
                need = decision.throw(answer)
            elif isinstance(answer, VerificationKey):
                need = decision.send(Told(now, keys=(answer,)))
            else:
                need = decision.send(Told(now, claims=answer))
    except StopIteration as done:
        return done.value.token, asked
    except TokenError as refused:
        return refused.reason, asked


GONE = Unavailable("keys_unreachable")
GOOD, BAD = FORGE.token(), FORGE.with_signature(bytes(64))
# token, mode, more: what comes out, and what is asked for
TABLE: list[tuple[Any, Any, dict[str, Any], str, list[str]]] = [
    (GOOD, None, {}, "local", ["key"]),
    (GOOD, "rescue", {}, "local", ["key"]),
    (GOOD, "opaque", {}, "local", ["key"]),
    (GOOD, "live", {}, "introspection", ["key", "issuer"]),
    (GOOD, "rescue", {"live": True}, "introspection", ["key", "issuer"]),
    (GOOD, "live", {"says": InvalidToken("inactive")}, "inactive", ["key", "issuer"]),
    (GOOD, "live", {"says": Unavailable("introspection_failed")}, "introspection_failed", ["key", "issuer"]),
    (GOOD, None, {"key": GONE}, "keys_unreachable", ["key"]),
    (GOOD, "rescue", {"key": GONE}, "introspection", ["key", "issuer"]),
    (GOOD, "rescue", {"key": InvalidToken("key_unknown")}, "key_unknown", ["key"]),
    (GOOD, None, {"key": verification_key(Forge().material.public_jwk)}, "signature", ["key"]),
    (GOOD, None, {"now": START + 629}, "local", ["key"]),
    (GOOD, None, {"now": START + 630}, "expired", ["key"]),  # while the key was fetched
    (OPAQUE, None, {}, "malformed", []),
    (OPAQUE, "rescue", {}, "malformed", []),
    (OPAQUE, "opaque", {}, "introspection", ["issuer alone"]),
    (OPAQUE, "live", {}, "introspection", ["issuer alone"]),
    (OPAQUE, "opaque", {"says": {}}, "claim_missing", ["issuer alone"]),
    (BAD, "rescue", {}, "signature", ["key"]),
    (BAD, "live", {}, "signature", ["key"]),
    (FORGE.token(sub=None), "live", {}, "claim_missing", ["key"]),
    (FORGE.token(iss="https://other.example"), "live", {}, "issuer", []),
    (FORGE.token(aud="https://other.example"), "live", {}, "audience", []),
    (FORGE.token(exp=START - 30), "live", {}, "expired", []),
    (FORGE.token(cnf={"jkt": "x"}), "live", {}, "cnf", []),
    (FORGE.with_header(typ="JWT"), "live", {}, "typ", []),
    (FORGE.with_header(kid=None), "live", {}, "key_unknown", []),
    ("a" * 8193, "live", {}, "too_large", []),
    (None, "live", {}, "malformed", []),
]


@pytest.mark.rfc("9068", "4")
@pytest.mark.parametrize(("token", "mode", "more", "outcome", "asked"), TABLE)
def test_140_177_what_is_asked_for_and_what_comes_of_it(
    token: Any, mode: Any, more: dict[str, Any], outcome: str, asked: list[str]
) -> None:
    result, needs = decided(token, mode, **more)
    assert ((result.source if isinstance(result, AccessToken) else result), needs) == (outcome, asked)


def test_an_algorithm_that_the_api_does_not_accept_causes_no_need() -> None:
    decision = decide(GOOD, book([RULES._replace(algorithms=frozenset({"RS256"}))]), START)
    with pytest.raises(InvalidToken) as refused:
        next(decision)
    assert refused.value.reason == "alg"


def changed(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**FORGE.claims, **changes}.items() if value is not None}


REFUSED: dict[str, Callable[[], dict[str, Any]]] = {
    "issuer": lambda: changed(iss="https://other.example", aud="x", exp=1, cnf={}, sub=None),
    "audience": lambda: changed(aud="x", exp=1, cnf={}, sub=None),
    "expired": lambda: changed(exp=START - 30, cnf={}, sub=None),
    "not_yet_valid": lambda: changed(nbf=START + 31, cnf={}, sub=None),
    "cnf": lambda: changed(cnf={}, sub=None),
    "claim_missing": lambda: changed(sub=None),
    "claim_type": lambda: changed(client_id=7),
}


@pytest.mark.parametrize("source", ["local", "introspection"])
@pytest.mark.parametrize("reason", list(REFUSED))
def test_175_one_check_refuses_both_kinds_for_the_same_reasons_in_the_same_order(reason: str, source: Any) -> None:
    with pytest.raises(InvalidToken) as refused:
        check(REFUSED[reason](), RULES, START, source)
    assert refused.value.reason == reason
    assert refused.value.__cause__ is None


@pytest.mark.rfc("7662", "2.2")
@pytest.mark.parametrize(("iat", "reason"), [(None, "claim_missing"), (START + 31, "not_yet_valid"), (START + 600, "not_yet_valid")])  # fmt: skip
def test_when_it_was_issued_is_asked_of_what_was_signed_alone(iat: int | None, reason: str) -> None:
    assert check(changed(iat=iat), RULES, START, "introspection").source == "introspection"
    with pytest.raises(InvalidToken) as refused:
        check(changed(iat=iat), RULES, START, "local")
    assert refused.value.reason == reason


def test_what_is_needed_shows_no_token() -> None:
    assert GOOD not in repr(IssuerAsked(ISSUER, GOOD, FORGE.claims))
    assert "svc" not in repr(IssuerAsked(ISSUER, GOOD, FORGE.claims))
