"""What is decided at once, from what is at hand, is what is decided after it was fetched: nobody can tell them apart."""

import pytest

from realmint import Introspection, Legacy, ResourceServer, TokenError
from realmint.testing import FakeIssuer
from realmint.testing.hostile import hostile_tokens

API = "https://api.test"
SCOPE = "orders:read"
PROFILES = {
    "default": "default",
    "legacy": Legacy(allow_typ_jwt=True, allow_missing_kid=True, allow_missing_sub=True, allow_scope_list=True),
}


def said(api: ResourceServer, token: str) -> object:
    """All that a caller, and the log, hear of a token."""
    try:
        return api.validate(token, SCOPE)
    except TokenError as error:
        return type(error), error.reason, error.status, error.challenge


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("alg", ["ES256", "RS256", "EdDSA"])
def test_every_token_comes_to_the_same_whether_its_key_and_status_are_at_hand_or_fetched(
    alg: str, profile: str
) -> None:
    issuer = FakeIssuer(alg=alg)

    def api() -> ResourceServer:
        return issuer.resource_server(API, profile=PROFILES[profile], token_cache=None)

    good = [issuer.issue(audience=audience, scope=SCOPE) for audience in (API, [API, "https://other.test"])]
    revoked = issuer.issue(audience=API, scope=SCOPE)
    issuer.revoke(revoked)
    hostile = [one.authorization[0].removeprefix("Bearer ") for one in hostile_tokens(issuer, API, SCOPE)
               if len(one.authorization) == 1]  # fmt: skip
    head, payload, signature = good[0].split(".")
    spoilt = [f"{head}.{payload}.{signature}{more}" for more in ("=", " ", "\n", "é", "A", ".", "+")]
    warm = api()
    warm.validate(good[0], SCOPE)
    differ = {token: (now, cold) for token in (*good, revoked, *hostile, *spoilt)
              if (now := said(warm, token)) != (cold := said(api(), token))}  # fmt: skip
    assert differ == {}
    assert len(hostile) > 60


def test_a_token_whose_key_and_status_are_at_hand_costs_no_request() -> None:
    issuer = FakeIssuer()
    api = issuer.resource_server(API, token_cache=None)
    api.validate(issuer.issue(audience=API, scope=SCOPE), SCOPE)
    asked = len(issuer.requests)
    for _ in range(20):
        api.validate(issuer.issue(audience=API, scope=SCOPE), SCOPE)
    assert len(issuer.requests) == asked


def test_with_everything_at_hand_the_issuer_is_asked_all_the_same_where_that_was_wished_for() -> None:
    issuer = FakeIssuer()
    api = issuer.resource_server(API, introspection=Introspection("api", "secret", mode="live"))
    tokens = [issuer.issue(audience=API, scope=SCOPE) for _ in range(3)]
    assert {api.validate(token, SCOPE).source for token in tokens} == {"introspection"}
