"""private_key_jwt: facts/security.md section D, what the store has to say: each assertion once, and keys that end."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
from sqlalchemy import func, select

from issuer.storage.tables import used_once
from tests.support.assertions import FORMS, Signer, add_key, ask, issuer_of, key_client, written
from tests.support.clock import FakeClock
from tests.support.issuer import Issuer, claims
from tests.support.wire import assert_inactive, assert_refused

LEEWAY = 30


def taken(issuer: Issuer) -> int:
    """How many names of assertions are kept."""
    with issuer.runtime.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(used_once)) or 0


@pytest.mark.rfc("7523", "3")
def test_70_an_assertion_is_taken_once_wherever_it_is_shown(stored_issuer: Issuer, second_node: Issuer) -> None:
    signer = key_client(stored_issuer)
    for first in FORMS:
        sent = signer.assertion(stored_issuer.clock.now)
        assert ask(stored_issuer, sent, first).status_code == 200
        for node in (stored_issuer, second_node):
            for suffix in FORMS:
                assert_refused(ask(node, sent, suffix), "invalid_client")


def test_70_of_fifty_at_once_on_two_nodes_one_is_taken(stored_issuer: Issuer, second_node: Issuer) -> None:
    signer = key_client(stored_issuer)
    nodes = (stored_issuer, second_node)
    for _ in range(3):
        sent = signer.assertion(stored_issuer.clock.now)
        with ThreadPoolExecutor(50) as pool:
            asked = [pool.submit(ask, nodes[number % 2], sent) for number in range(50)]
        got = Counter(each.result().status_code for each in asked)
        # Failures as others are, which are over the limit at last.
        assert (got.pop(200), got.total(), set(got) <= {401, 429}) == (1, 49, True)


def test_70_an_assertion_is_taken_once_over_a_restart(
    stored_issuer: Issuer, make_issuer: Callable[..., Issuer], database_url: str
) -> None:
    signer = key_client(stored_issuer)
    sent = signer.assertion(stored_issuer.clock.now)
    assert ask(stored_issuer, sent).status_code == 200
    stored_issuer.runtime.close()
    assert_refused(ask(make_issuer("restarted", database_url), sent), "invalid_client")


def test_71_two_clients_and_two_realms_may_use_one_name_each(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /customers --scope read")
    native = None
    for name, realm in (("one", "/"), ("two", "/"), ("one", "/customers")):
        signer = key_client(stored_issuer, name, realm=realm, native=native)
        native = signer.native
        sent = signer.assertion(stored_issuer.clock.now, jti="the same")
        assert ask(stored_issuer, sent, realm=realm).status_code == 200
        assert_refused(ask(stored_issuer, sent, realm=realm), "invalid_client", realm=realm)


def test_71_a_client_made_again_under_its_name_has_names_of_its_own(stored_issuer: Issuer) -> None:
    now = stored_issuer.clock.now
    assert ask(stored_issuer, key_client(stored_issuer).assertion(now, jti="a")).status_code == 200
    stored_issuer.run("clients delete svc --yes")
    stored_issuer.clock.advance(2)
    again = key_client(stored_issuer)
    stored_issuer.clock.advance(2)
    assert ask(stored_issuer, again.assertion(now, jti="a")).status_code == 200


def test_72_what_is_refused_uses_no_name_up(stored_issuer: Issuer) -> None:
    signer, now = key_client(stored_issuer), stored_issuer.clock.now
    key_client(stored_issuer, "other", native=signer.native)
    thief = Signer("svc")
    wrong = [
        thief.assertion(now, jti="next"),
        thief.assertion(now, jti="next", header={"kid": None}),
        signer.assertion(now, jti="next", header={"kid": "k2"}),
        signer.assertion(now, jti="next", aud="https://other.example"),
        signer.assertion(now, jti="next", exp=now + 4000),
        signer.assertion(now, jti="next", exp=now - 40, iat=now - 60),
        signer.assertion(now, jti="next", header={"typ": "at+jwt"}),
        signer.assertion(now, jti="next")[:-4] + "AAAA",
        Signer("nobody").assertion(now, jti="next"),
    ]
    for sent in wrong:
        assert_refused(ask(stored_issuer, sent), "invalid_client")
    assert ask(stored_issuer, signer.assertion(now, jti="next"), client_id="other").status_code == 400
    assert ask(stored_issuer, signer.assertion(now, jti="next"), client_assertion_type="x").status_code == 400
    assert taken(stored_issuer) == 0
    assert ask(stored_issuer, signer.assertion(now, jti="next")).status_code == 200
    assert taken(stored_issuer) == 1


@pytest.mark.parametrize(
    ("shut", "opened"),
    [
        ("disable svc", "enable svc"),
        ("update svc --auth-method client_secret", "update svc --auth-method private_key_jwt"),
    ],
)
def test_72_a_client_that_is_not_let_in_writes_no_mark(issuer: Issuer, shut: str, opened: str) -> None:
    """Its key may be the thief's by now."""
    signer = key_client(issuer)
    outside = Signer("https://ci.example")
    file = written(issuer, outside.public_jwk())
    issuer.run(f"clients trust add svc --issuer {outside.name} --match sub=job --jwks {file} --once")
    now = issuer.clock.wall()
    issuer.run(f"clients {shut}")
    issuer.clock.advance(2)
    sent = signer.assertion(now)
    assert_refused(ask(issuer, sent), "invalid_client")
    if "disable" in shut:
        assert_refused(ask(issuer, outside.assertion(now, sub="job"), client_id="svc"), "invalid_client")
    assert taken(issuer) == 0
    issuer.run(f"clients {opened}")
    issuer.clock.advance(2)
    assert [ask(issuer, sent).status_code for _ in range(2)] == [200, 401]


def test_73_a_replay_is_refused_up_to_the_last_second_at_which_anybody_would_take_it(issuer: Issuer) -> None:
    signer = key_client(issuer)
    for life, early, fraction in product([5, 300], [2, 1, 0, -1], [0, 0.5]):
        sent = signer.assertion(issuer.clock.now, exp=issuer.clock.now + life + fraction)
        assert ask(issuer, sent).status_code == 200
        fresh = signer.assertion(issuer.clock.now, exp=issuer.clock.now + life + fraction)
        issuer.clock.advance(life + LEEWAY - early)
        # What comes meanwhile takes along what is over, and this is not.
        for _ in range(3):
            assert ask(issuer, signer.assertion(issuer.clock.now)).status_code == 200
        assert_refused(ask(issuer, sent), "invalid_client")
        assert ask(issuer, fresh).status_code == (200 if early > 0 or (early == 0 and fraction) else 401)
        issuer.clock.advance(60)


def test_73_a_clock_that_leaps_ahead_and_back_takes_no_replay(stored_issuer: Issuer, second_node: Issuer) -> None:
    signer, clock = key_client(stored_issuer), stored_issuer.clock
    nodes = (stored_issuer, second_node)
    for leap, back in ((3600, True), (86400, True), (3600, False)):
        sent = signer.assertion(clock.now, exp=clock.now + 300)
        assert ask(stored_issuer, sent).status_code == 200
        clock.step(leap)
        for node in nodes:  # traffic, which prunes
            for _ in range(5):
                assert ask(node, signer.assertion(clock.now)).status_code == 200
        clock.step(-leap if back else 0)
        for node in nodes:
            assert_refused(ask(node, sent), "invalid_client")


def test_79_a_key_ends_at_its_end_on_every_node(stored_issuer: Issuer, second_node: Issuer) -> None:
    signer = key_client(stored_issuer, kid="old")
    new = Signer("svc", "EdDSA", "new")
    made = add_key(stored_issuer, new, "--overlap 1h --expires-in 2h")
    assert made["keys"][0]["expires_at"] == stored_issuer.clock.now + 7200
    begun = stored_issuer.clock.now
    for seconds, expected in ((3599, [200, 200]), (3600, [401, 200]), (3601, [401, 200]), (7199, [401, 200]),
                              (7200, [401, 401])):  # fmt: skip
        stored_issuer.clock.advance(begun + seconds - stored_issuer.clock.now)
        for node in (stored_issuer, second_node):
            got = [ask(node, each.assertion(node.clock.now)).status_code for each in (signer, new)]
            assert got == expected, seconds


@pytest.mark.parametrize("by", ["kid", "id"])
def test_79_a_revoked_key_is_dead_on_every_node_within_a_refresh_and_so_are_its_tokens(
    stored_issuer: Issuer, second_node: Issuer, by: str
) -> None:
    signer = key_client(stored_issuer, kid="old")
    other = Signer("svc", kid="new")
    add_key(stored_issuer, other)
    stored_issuer.clock.advance(2)
    clock = stored_issuer.clock
    tokens = [ask(second_node, each.assertion(clock.now)).json["access_token"] for each in (signer, other)]
    listed = {each["kid"]: each["credential_id"] for each in stored_issuer.run("clients keys list svc")}
    stored_issuer.run(f"clients keys revoke svc {'old' if by == 'kid' else listed['old']} --yes")
    second_node.clock.advance(2)
    for node in (stored_issuer, second_node):
        assert_refused(ask(node, signer.assertion(clock.now)), "invalid_client")
        assert ask(node, other.assertion(clock.now)).status_code == 200
        said = [ask(node, other.assertion(clock.now), "/introspect", token=token).json for token in tokens]
        assert [each["active"] for each in said] == [False, True]
    assert [each["kid"] for each in stored_issuer.run("clients keys list svc")] == ["new"]
    assert stored_issuer.command("clients keys revoke svc old --yes").exit_code == 4


def test_79_tokens_of_a_revoked_key_live_on_where_that_is_wanted(stored_issuer: Issuer) -> None:
    signer = key_client(stored_issuer)
    other = Signer("svc", kid="new")
    add_key(stored_issuer, other)
    token = ask(stored_issuer, signer.assertion(stored_issuer.clock.now)).json["access_token"]
    stored_issuer.run("clients keys revoke svc k1 --keep-tokens --yes")
    stored_issuer.clock.advance(2)
    assert_refused(ask(stored_issuer, signer.assertion(stored_issuer.clock.now)), "invalid_client")
    response = ask(stored_issuer, other.assertion(stored_issuer.clock.now), "/introspect", token=token)
    assert (response.json["active"], response.json["client_id"]) == (True, "svc")


def test_79_a_key_of_a_revoked_name_may_come_again_and_its_old_tokens_do_not(stored_issuer: Issuer) -> None:
    signer = key_client(stored_issuer)
    token = ask(stored_issuer, signer.assertion(stored_issuer.clock.now)).json["access_token"]
    stored_issuer.run("clients keys revoke svc k1 --yes")
    add_key(stored_issuer, signer)
    stored_issuer.clock.advance(2)
    assert_inactive(ask(stored_issuer, signer.assertion(stored_issuer.clock.now), "/introspect", token=token))


def test_78_names_that_the_store_cannot_hold_are_nobodys(stored_issuer: Issuer) -> None:
    now = stored_issuer.clock.now
    signer = key_client(stored_issuer)
    for name in ("a\0b", "\0", "svc\0", "\x01", "\u2028", "x" * 255, "\U0001f511" * 200, "' OR 1=1"):
        for suffix in FORMS:
            assert_refused(ask(stored_issuer, Signer(name).assertion(now), suffix), "invalid_client")
            # As an outside issuer's, too, whose subject is nobody we know.
            foreign = Signer(name).assertion(now, iss="https://ci.example")
            assert_refused(ask(stored_issuer, foreign, suffix), "invalid_client")
    assert ask(stored_issuer, signer.assertion(now, jti="\0'\u2028")).status_code == 200


def test_62_a_token_names_what_it_was_got_with_and_last_use_is_marked(stored_issuer: Issuer) -> None:
    signer = key_client(stored_issuer)
    stored_issuer.clock.advance(3)
    token = ask(stored_issuer, signer.assertion(stored_issuer.clock.now)).json["access_token"]
    assert claims(token)["sub"] == "svc"
    assert claims(token)["iss"] == issuer_of()
    stored_issuer.runtime.registry.marks.flush()
    (key,) = stored_issuer.run("clients keys list svc")
    assert key["last_used_at"] == stored_issuer.clock.now
    assert stored_issuer.run("clients show svc")["last_used_at"] == stored_issuer.clock.now


def test_46_wrong_assertions_are_counted_as_wrong_secrets_are_and_a_right_one_passes(
    make_issuer: Callable[..., Issuer], clock: FakeClock
) -> None:
    issuer = make_issuer(AUTH_FAILURES_PER_MINUTE="5")
    issuer.runtime.boot()
    signer = key_client(issuer)
    for name in ("svc", "nobody"):
        got = [ask(issuer, Signer(name).assertion(clock.now)).status_code for _ in range(8)]
        assert got == [401] * 5 + [429] * 3
    assert ask(issuer, signer.assertion(clock.now)).status_code == 200
