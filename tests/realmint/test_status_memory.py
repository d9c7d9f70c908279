"""What is remembered of status lists: not less than was told, not longer than it counts, and not twice."""

from collections.abc import Callable
from typing import Any

import pytest

from realmint import InvalidToken, ResourceServer, StatusPolicy, Unavailable
from realmint.transport import Response
from tests.support.clock import FakeClock
from tests.support.fake_issuer import ISSUER, STATUS_LIST, FakeIssuer

Make = Callable[..., ResourceServer]
LATE = 1_795_500_000


def outcome(api: ResourceServer, token: str) -> str:
    try:
        return api.validate(token).source
    except (InvalidToken, Unavailable) as refused:
        return refused.reason


def unreachable(_: object) -> Response:
    return Response(503, {}, b"")


def serve_another(fake: FakeIssuer, number: int) -> str:
    """The address of one more list, which is served."""
    uri = f"{ISSUER}/status/{number}"
    claims = {**fake.list_claims(), "sub": uri, "ttl": 300}
    text = fake.forge.token(header={**fake.forge.header, "typ": "statuslist+jwt"}, claims=claims)
    fake.answers[uri] = lambda _: Response(200, {}, text.encode())
    return uri


def test_allow_lets_in_no_token_of_which_the_last_list_said_that_it_is_revoked(
    make_api: Make, fake: FakeIssuer, clock: FakeClock
) -> None:
    api = make_api(status=StatusPolicy(unreachable="allow"))
    fake.revoke(5)
    revoked, good = fake.status_token(5, exp=LATE), fake.status_token(6, exp=LATE)
    assert [outcome(api, token) for token in (revoked, good)] == ["revoked", "local"]
    fake.answers[STATUS_LIST] = unreachable
    for seconds in (599, 1, 60, 3600):  # the list's exp is after 600
        clock.advance(seconds)
        assert [outcome(api, token) for token in (revoked, good)] == ["revoked", "local"]


@pytest.mark.parametrize(("policy", "after"), [("deny", "status_unreachable"), ("allow", "revoked")])
def test_a_list_that_names_no_exp_does_not_count_for_ever_while_it_cannot_be_fetched(
    make_api: Make, fake: FakeIssuer, clock: FakeClock, policy: Any, after: str
) -> None:
    api = make_api(status=StatusPolicy(unreachable=policy, max_ttl=300))
    fake.list_changes = {"exp": None}
    fake.revoke(5)
    revoked, good = fake.status_token(5, exp=LATE), fake.status_token(6, exp=LATE)
    assert outcome(api, good) == "local"
    fake.answers[STATUS_LIST] = unreachable
    clock.advance(299)
    assert [outcome(api, token) for token in (revoked, good)] == ["revoked", "local"]
    clock.advance(1)
    assert outcome(api, revoked) == after
    assert outcome(api, good) == ("local" if policy == "allow" else after)


def test_a_list_that_is_one_too_many_takes_the_place_of_another_and_is_fetched_once(
    make_api: Make, fake: FakeIssuer, clock: FakeClock
) -> None:
    api = make_api(status=StatusPolicy(lists=2))
    addresses = [serve_another(fake, number) for number in (1, 2, 3)]
    for address in addresses:
        assert outcome(api, fake.status_token(1, address)) == "local"
        clock.advance(1)
    for _ in range(20):
        assert outcome(api, fake.status_token(1, addresses[2])) == "local"
        assert outcome(api, fake.status_token(1, addresses[1])) == "local"
    assert [fake.fetches(address) for address in addresses] == [1, 1, 1]
    assert api.health()["statuses"]["lists"] == 2


def test_who_is_refused_because_a_list_is_out_of_reach_hears_when_it_is_tried_again(
    make_api: Make, fake: FakeIssuer, clock: FakeClock
) -> None:
    api = make_api(status=StatusPolicy(back_off=20, max_back_off=20))
    fake.answers[STATUS_LIST] = unreachable
    token = fake.status_token(5)
    assert outcome(api, token) == "status_unreachable"
    clock.advance(1)
    with pytest.raises(Unavailable) as refused:
        api.validate(token)
    assert refused.value.retry_after == 20
