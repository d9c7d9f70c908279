"""A realm that was deleted is published until its last token has died (#130, #204)."""

from typing import Any

from sqlalchemy import select

from keys import store
from tests.issuer.conftest import READER
from tests.support.issuer import Issuer, header

LAST_TOKEN = 3600 + 20 + 60 + 2 * 60
"""Seconds after which nobody accepts a token of it: its cap, ten refreshes, leeway, two clocks."""


def ended(issuer: Issuer) -> str:
    """A realm /x that issued a token and was deleted; the key that signed it."""
    issuer.run("realms create /x")
    token = issuer.token(issuer.client(options=READER, realm="/x"))
    issuer.run("realms delete /x --yes")
    issuer.clock.advance(2)
    return str(header(token)["kid"])


def published(issuer: Issuer, suffix: str = "/connect/jwk_uri") -> Any:
    return issuer.http.get(issuer.address(suffix, "/x"))


def private_halves(issuer: Issuer, realm_id: int = 2) -> int:
    with issuer.runtime.database.read() as connection:
        same = store.keys.c.realm_id == realm_id, store.keys.c.sealed.is_not(None)
        return len(connection.execute(select(store.keys.c.kid).where(*same)).all())


def test_130_a_deleted_realm_publishes_its_keys_and_its_metadata_and_does_nothing_else(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    kid = ended(stored_issuer)
    for node in (stored_issuer, second_node):
        assert kid in {key["kid"] for key in published(node).json["keys"]}
        assert published(node, "/.well-known/oauth-authorization-server").status_code == 200
        assert node.post("/access_token", {"grant_type": "client_credentials"}, realm="/x").status_code == 404
        assert node.post("/introspect", {"token": "x"}, realm="/x").status_code == 404
    assert stored_issuer.command("realms show /x").exit_code == 4


def test_130_only_when_its_last_token_has_died_its_private_halves_are_erased_and_it_is_gone(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    kid = ended(stored_issuer)
    stored_issuer.clock.advance(LAST_TOKEN - 3)
    assert stored_issuer.run("db prune")["deleted_realms"] == 0
    assert published(second_node).status_code == 200
    assert private_halves(stored_issuer) == 2
    stored_issuer.clock.advance(1)
    done = stored_issuer.run("db prune")
    assert (done["deleted_realms"], done["ranges"], done["clients"]) == (1, 1, 1)
    stored_issuer.clock.advance(2)
    assert published(stored_issuer).status_code == published(second_node).status_code == 404
    assert private_halves(stored_issuer) == 0
    rows = stored_issuer.run("db audit --realm /x")
    assert [row["target"] for row in rows if row["event"] == "revoked"].count(kid) == 1
    # Each batch tells of itself, in the transaction that takes it.
    assert [row["details"] for row in rows if row["event"] == "pruned"] == [{"ranges": 1}, {"clients": 1}]
    assert stored_issuer.command("db audit").exit_code == 0


def test_204_a_realm_made_again_earlier_publishes_its_own_keys_alone(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    kid = ended(stored_issuer)
    assert published(second_node).status_code == 200
    stored_issuer.run("realms create /x")
    caller = stored_issuer.client(options=READER, realm="/x")
    stored_issuer.clock.advance(2)
    for node in (stored_issuer, second_node):
        kids = {key["kid"] for key in published(node).json["keys"]}
        assert kid not in kids
        assert header(node.token(caller))["kid"] in kids
    stored_issuer.clock.advance(LAST_TOKEN)
    assert stored_issuer.run("db prune")["deleted_realms"] == 1
    stored_issuer.clock.advance(2)
    for node in (stored_issuer, second_node):
        assert header(node.token(caller))["kid"] in {key["kid"] for key in published(node).json["keys"]}


def test_a_realm_that_never_had_a_client_ends_with_its_keys_at_once(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /x")
    stored_issuer.run("realms delete /x --yes")
    stored_issuer.clock.advance(2)
    assert published(stored_issuer).status_code == 404
    assert private_halves(stored_issuer) == 0
