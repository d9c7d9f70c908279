"""Status lists at an API (Token Status List, section 8.3), on clocks that move when told."""

from collections.abc import Callable
from typing import Any

import pytest

from realmint import Introspection, InvalidToken, ResourceServer, StatusPolicy, Unavailable
from realmint.protocol.status_list import written
from realmint.transport import Request, Response
from tests.support.clock import FakeClock
from tests.support.fake_issuer import ISSUER, JWKS_URI, STATUS_LIST, FakeIssuer
from tests.support.forge import Forge, merged

Make = Callable[..., ResourceServer]


def outcome(api: ResourceServer, token: str) -> str:
    try:
        return api.validate(token).source
    except (InvalidToken, Unavailable) as refused:
        return refused.reason


def long_lived(fake: FakeIssuer, idx: int = 5, **changes: Any) -> str:
    return fake.status_token(idx, **{"exp": 1_795_500_000} | changes)


def test_a_token_whose_bit_is_set_is_refused_and_its_neighbours_are_not(api: ResourceServer, fake: FakeIssuer) -> None:
    fake.revoke(5)
    assert outcome(api, fake.status_token(5)) == "revoked"
    assert [outcome(api, fake.status_token(idx)) for idx in (4, 6, 13)] == ["local"] * 3
    assert fake.fetches(STATUS_LIST) == 1


def test_a_revoked_token_is_a_401_with_a_phrase_of_its_own(api: ResourceServer, fake: FakeIssuer) -> None:
    fake.revoke(5)
    with pytest.raises(InvalidToken) as refused:
        api.validate(fake.status_token(5))
    assert refused.value.challenge == 'Bearer error="invalid_token", error_description="The token was revoked"'


def test_a_token_that_was_accepted_is_refused_once_its_list_says_so(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    token = long_lived(fake)
    assert outcome(api, token) == "local"
    fake.revoke(5)
    clock.advance(9.9)
    assert outcome(api, token) == "local"
    clock.advance(0.1)
    assert outcome(api, token) == "revoked"
    assert fake.fetches(STATUS_LIST) == 2


@pytest.mark.parametrize(("ttl", "seconds"), [(1, 5), (5, 5), (60, 60), (10_000, 900), (None, 300)])
def test_the_ttl_is_taken_within_bounds(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock, ttl: int | None, seconds: int
) -> None:
    fake.list_changes = {"ttl": ttl, "exp": 1_795_500_000}
    token = long_lived(fake)
    for when, fetches in ((0, 1), (seconds - 1, 1), (1, 2)):
        clock.advance(when)
        assert outcome(api, token) == "local"
        assert fake.fetches(STATUS_LIST) == fetches


def unusable(fake: FakeIssuer) -> dict[str, Callable[[Request], Response]]:
    def signed(forge: Forge = fake.forge, typ: str = "statuslist+jwt", **changes: Any) -> Callable[[Request], Response]:
        header, claims = {**forge.header, "typ": typ}, merged(fake.list_claims(), changes)
        return lambda _: Response(200, {}, forge.token(header=header, claims=claims).encode())

    array = written(bytes(8))
    return {
        "503": lambda _: Response(503, {}, b""), "404": lambda _: Response(404, {}, b"{}"), "302": lambda _: Response(302, {}, b""),
        "nothing": lambda _: Response(200, {}, b""), "html": lambda _: Response(200, {}, b"<html>"), "bytes": lambda _: Response(200, {}, b"\xff\xfe"),
        "a stranger's": signed(Forge()), "an access token": signed(typ="at+jwt"), "another list's": signed(sub=f"{ISSUER}/status/1"),
        "no subject": signed(sub=None), "another issuer's": signed(iss="https://other.example"), "expired": signed(exp=1), "from tomorrow": signed(iat=1_795_486_400),
        "no iat": signed(iat=None), "no list": signed(status_list=None), "a bad width": signed(status_list={**array, "bits": 3}),
        "no zlib": signed(status_list={"bits": 1, "lst": "AAAA"}), "a bomb": signed(status_list=written(bytes(32 * 1024 * 1024))),
    }  # fmt: skip


UNUSABLE = list(unusable(FakeIssuer()))


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_list_that_is_no_use_is_503_at_first_and_the_one_that_is_held_counts_on(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock, kind: str
) -> None:
    fake.revoke(6)
    good = fake.answers[STATUS_LIST]
    fake.answers[STATUS_LIST] = unusable(fake)[kind]
    assert outcome(api, long_lived(fake)) == "status_unreachable"
    clock.advance(1)
    fake.answers[STATUS_LIST] = good
    assert outcome(api, long_lived(fake)) == "local"
    fake.answers[STATUS_LIST] = unusable(fake)[kind]
    clock.advance(100)
    assert [outcome(api, long_lived(fake, idx)) for idx in (5, 6)] == ["local", "revoked"]


@pytest.mark.parametrize(("unreachable", "after"), [("deny", "status_unreachable"), ("allow", "local")])
def test_past_its_exp_a_list_that_cannot_be_fetched_is_503_unless_it_was_said_otherwise(
    make_api: Make, fake: FakeIssuer, clock: FakeClock, unreachable: Any, after: str
) -> None:
    api = make_api(status=StatusPolicy(unreachable=unreachable))
    token = long_lived(fake)
    assert outcome(api, token) == "local"
    fake.answers[STATUS_LIST] = lambda _: Response(503, {}, b"")
    clock.advance(599)
    assert outcome(api, token) == "local"
    clock.advance(1)
    assert outcome(api, token) == after


def test_a_fetch_that_fails_is_tried_at_once_then_each_second_and_then_more_rarely(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    assert outcome(api, long_lived(fake)) == "local"
    fake.requests.clear()
    fake.answers[STATUS_LIST] = lambda _: Response(503, {}, b"")
    clock.advance(10)
    made = []
    for _ in range(1000):
        assert outcome(api, long_lived(fake)) == "local"
        made.append(fake.fetches(STATUS_LIST))
        clock.advance(0.1)
    assert made[0] == 2
    assert made[100] == 2 * 11
    assert made[999] <= 2 * (11 + 6)


def test_a_list_is_never_replaced_by_an_older_one(api: ResourceServer, fake: FakeIssuer, clock: FakeClock) -> None:
    fake.revoke(5)
    assert outcome(api, long_lived(fake)) == "revoked"
    fake.sequence, fake.revoked = 1, set()  # a node that has not heard
    clock.advance(11)
    assert outcome(api, long_lived(fake)) == "revoked"
    fake.sequence = 3
    clock.advance(1)
    assert outcome(api, long_lived(fake)) == "local"


def test_a_list_that_did_not_change_is_confirmed_until_shortly_before_its_exp(
    api: ResourceServer, fake: FakeIssuer, clock: FakeClock
) -> None:
    issued = fake.clock()
    fake.list_changes = {"iat": issued, "exp": issued + 600}
    whole = fake.answers[STATUS_LIST]

    def answer(request: Request) -> Response:
        tag = request.headers.get("If-None-Match")
        found = whole(request)
        return Response(304, {}, b"") if tag == 'W/"1"' else Response(200, {"etag": 'W/"1"'}, found.body)

    fake.answers[STATUS_LIST] = answer
    for _ in range(50):
        assert outcome(api, long_lived(fake)) == "local"
        clock.advance(10)
    asked = [request.headers.get("If-None-Match") for request in fake.requests if request.url == STATUS_LIST]
    assert asked == [None, *['W/"1"'] * 49]
    clock.advance(90)  # ten seconds are left
    assert outcome(api, long_lived(fake)) == "local"
    asked = [request.headers.get("If-None-Match") for request in fake.requests if request.url == STATUS_LIST]
    assert asked[50:] == [None]


STATUSES: list[Any] = [
    "valid", None, [], {}, {"status_list": None}, {"status_list": {"uri": STATUS_LIST}}, {"status_list": {"idx": 1}},
    {"status_list": {"idx": -1, "uri": STATUS_LIST}}, {"status_list": {"idx": True, "uri": STATUS_LIST}},
    {"status_list": {"idx": 1.0, "uri": STATUS_LIST}}, {"status_list": {"idx": "1", "uri": STATUS_LIST}},
    {"status_list": {"idx": 1, "uri": 7}}, {"status_list": {"idx": 512, "uri": STATUS_LIST}},
    {"status_list": {"idx": 1, "uri": "https://evil.example/status/0"}}, {"status_list": {"idx": 1, "uri": "file:///etc/passwd"}},
    {"status_list": {"idx": 1, "uri": "http://issuer.example/status/0"}}, {"status_list": {"idx": 1, "uri": "http://[::1/"}},
    {"identifier_list": {"id": "x"}},
]  # fmt: skip


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_that_cannot_be_looked_up_is_refused(api: ResourceServer, fake: FakeIssuer, status: Any) -> None:
    token = fake.forge.token(claims={**fake.forge.claims, "status": status})
    assert outcome(api, token) == "status"
    assert {request.url for request in fake.requests} <= {JWKS_URI, STATUS_LIST, *fake.answers}


def test_a_token_without_a_status_is_accepted_and_an_api_may_do_without_lists(
    api: ResourceServer, make_api: Make, fake: FakeIssuer
) -> None:
    fake.revoke(5)
    assert outcome(api, fake.forge.token()) == "local"
    assert outcome(make_api(status=None), fake.status_token(5)) == "local"
    assert fake.fetches(STATUS_LIST) == 0


def test_a_bad_token_fetches_no_list(api: ResourceServer, fake: FakeIssuer) -> None:
    forged = Forge()
    header = {**forged.header, "kid": fake.forge.material.kid}
    claims = {**fake.forge.claims, "status": {"status_list": {"idx": 1, "uri": STATUS_LIST}}}
    assert outcome(api, forged.token(header=header, claims=claims)) == "signature"
    assert fake.fetches(STATUS_LIST) == 0


def test_a_list_that_names_other_keys_refreshes_them(api: ResourceServer, fake: FakeIssuer, clock: FakeClock) -> None:
    stolen, token = fake.forge, fake.forge.token(exp=1_795_500_000)
    assert outcome(api, token) == "local"
    assert outcome(api, long_lived(fake)) == "local"
    fake.rotate(keep=False)
    clock.advance(10)
    assert outcome(api, long_lived(fake)) == "local"  # with the new key, which names the list
    assert outcome(api, token) == "key_unknown"
    assert outcome(api, long_lived(fake, claims=stolen.claims)) != "503"


def test_rescue_asks_the_issuer_where_a_list_is_no_use(make_api: Make, fake: FakeIssuer, clock: FakeClock) -> None:
    api = make_api(introspection=Introspection("orders", "secret"))
    token = fake.status_token(5)
    fake.answers[STATUS_LIST] = lambda _: Response(503, {}, b"")
    assert outcome(api, token) == "inactive"
    fake.active[token] = fake.forge.claims
    clock.advance(11)
    assert outcome(api, token) == "introspection"


@pytest.mark.parametrize(
    "options",
    [{"unreachable": "maybe"}, {"ttl": 0}, {"min_ttl": 0}, {"max_ttl": 1}, {"wait": 0}, {"back_off": 0}, {"max_back_off": 0.1},
     {"lists": 0}, {"max_bytes": 1}, {"steady": -1}],
)  # fmt: skip
def test_a_policy_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="StatusPolicy"):
        StatusPolicy(**options)


def test_lists_are_bounded_and_the_one_in_use_stays(make_api: Make, fake: FakeIssuer, clock: FakeClock) -> None:
    api = make_api(status=StatusPolicy(lists=4))
    for number in range(1, 40):
        uri = f"{ISSUER}/status/{number}"
        claims = {**fake.list_claims(), "sub": uri}
        text = fake.forge.token(header={**fake.forge.header, "typ": "statuslist+jwt"}, claims=claims)
        fake.answers[uri] = lambda _, text=text: Response(200, {}, text.encode())  # type: ignore[misc]
        assert outcome(api, fake.status_token(1, uri)) == "local"
        assert outcome(api, fake.status_token(2)) == "local"
        clock.advance(0.1)
    assert api.health()["statuses"]["lists"] == 4
    assert fake.fetches(STATUS_LIST) == 1
