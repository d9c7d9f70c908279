"""A lifetime that is lowered: what a process issues that has not heard is followed to its end, wherever ends count."""

import pytest

from issuer import slots
from issuer.storage import status_lists
from tests.issuer.conftest import READER
from tests.support.issuer import Caller, Issuer, claims

AFTER = 20 + 60 + 2 * 60
LONG, SHORT = 7200, 600
LOWER = f"realms update / --max-access-token-lifetime {SHORT} --access-token-lifetime {SHORT}"
REASON = "--reason test --yes"


def long_lived(stale: Issuer, caller: Caller) -> str:
    """A token of a client that a process reads afresh, in a realm that it holds from before."""
    token = stale.token(caller)
    assert claims(token)["exp"] - claims(token)["iat"] == LONG
    return token


def lists(issuer: Issuer, realm: str = "/") -> list[int]:
    return [
        int(uri.rpartition("/")[2]) for uri in issuer.http.get(issuer.address("/status", realm)).json["status_lists"]
    ]


@pytest.fixture
def stale(stored_issuer: Issuer, second_node: Issuer) -> Issuer:
    """A process that holds the realm as it allowed long tokens."""
    stored_issuer.run(f"realms update / --max-access-token-lifetime {LONG} --access-token-lifetime {LONG}")
    assert second_node.runtime.registry.realm("/") is not None
    second_node.runtime.registry._lookout.look()
    return second_node


@pytest.mark.parametrize("kill", ["clients disable svc", "clients delete svc --yes", "tokens revoke --client svc"])
def test_a_range_outlives_what_a_process_issues_that_has_not_heard_of_a_shorter_life(
    stored_issuer: Issuer, stale: Issuer, kill: str
) -> None:
    stored_issuer.run(LOWER)
    token = long_lived(stale, stored_issuer.client(options=READER))
    stored_issuer.run(f"{kill} {REASON}" if kill.startswith("tokens") else kill)
    stored_issuer.clock.advance(LONG + AFTER - 1)
    assert stored_issuer.run("db prune")["ranges"] == 0
    place = claims(token)["status"]["status_list"]
    assert lists(stored_issuer) == [0]
    assert stored_issuer.http.get(place["uri"].removeprefix("https://issuer.example")).status_code == 200
    stored_issuer.clock.advance(1)
    assert stored_issuer.run("db prune")["ranges"] == 1


def test_a_jti_alone_stays_revoked_for_as_long_as_such_a_token_can_live(stored_issuer: Issuer, stale: Issuer) -> None:
    stored_issuer.run(LOWER)
    caller = stored_issuer.client(options=READER)
    token = long_lived(stale, caller)
    stored_issuer.run(f"tokens revoke --jti {claims(token)['jti']} {REASON}")
    stored_issuer.clock.advance(LONG - 1)
    stored_issuer.run("db prune")
    assert stored_issuer.introspect(caller, token).json == {"active": False}


@pytest.mark.parametrize("between", ["", "--max-access-token-lifetime 9000"], ids=["lowered", "raised and lowered"])
def test_a_realm_remembers_the_longest_life_that_it_ever_allowed_from_its_first_moment(
    stored_issuer: Issuer, second_node: Issuer, between: str
) -> None:
    stored_issuer.run(f"realms create /x --max-access-token-lifetime {LONG} --access-token-lifetime {LONG}")
    if between:
        stored_issuer.run(f"realms update /x {between} --access-token-lifetime 9000")
    longest = 9000 if between else LONG
    assert second_node.runtime.registry.realm("/x") is not None
    stored_issuer.run(LOWER.replace("/", "/x"))  # before anybody had a credential there
    caller = stored_issuer.client(options=READER, realm="/x")
    token = second_node.token(caller)
    assert claims(token)["exp"] - claims(token)["iat"] == longest
    stored_issuer.run("realms delete /x --yes")
    stored_issuer.clock.advance(longest + AFTER - 1)
    stored_issuer.run("db prune")
    second_node.runtime.registry._lookout.look()
    for node in (stored_issuer, second_node):
        assert node.http.get(node.address("/connect/jwk_uri", "/x")).status_code == 200
        assert lists(node, "/x") == [slots.list_of(slots.index_of(claims(token)["jti"]))]
    stored_issuer.clock.advance(1)
    assert stored_issuer.run("db prune")["deleted_realms"] == 1


def test_a_key_is_bound_by_the_longest_life_that_was_allowed_while_it_signed(
    stored_issuer: Issuer, stale: Issuer
) -> None:
    stored_issuer.run(LOWER)
    caller = stored_issuer.client(options=READER)
    stored_issuer.run("keys rotate")
    token = long_lived(stale, caller)
    (retiring,) = [key for key in stored_issuer.run("keys list") if key["state"] == "retiring"]
    assert retiring["max_exp_bound"] >= claims(token)["exp"] + 10 * 2
    assert stored_issuer.command("keys retire " + retiring["kid"]).exit_code == 3


def test_the_lists_of_a_credential_made_after_the_cap_was_lowered_are_known_by_who_asks_the_store(
    stored_issuer: Issuer, stale: Issuer
) -> None:
    stored_issuer.run(LOWER)
    stored_issuer.client(options=f"{READER} --expires-in 1s")
    long_lived(stale, Caller("svc", stored_issuer.run("clients secrets add svc --expires-in 5s")["client_secret"]))
    view = stale.runtime.registry.held("/")
    assert view is not None
    for age, there in ((LONG + AFTER + 4, {0}), (LONG + AFTER + 5, set())):
        with stored_issuer.runtime.database.read() as connection:
            live = status_lists.live(
                connection, view.realm.id, stored_issuer.clock.now + age, stored_issuer.runtime.settings.policy
            )
        assert set(live.above) == there
