"""Stored keys on both engines: one winner per rotation, and rows the database itself refuses."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from keys import rotation, store
from keys.audit import Actor
from keys.jwks import snapshot_of
from keys.key import State, generate
from keys.plan import Situation
from keys.policy import Reading
from keys.store import LostRace
from tests.support.issuer import Issuer

ACTOR = Actor("test", "test")


def keys_of(issuer: Issuer) -> tuple[int, Sequence[Any]]:
    with issuer.runtime.database.read() as connection:
        stored = store.load(connection, 1)
    return stored.generation, stored.keys


def rotate(issuer: Issuer, generation: int) -> bool:
    runtime = issuer.runtime
    standby = generate("ES256")
    now = issuer.clock.now
    try:
        with runtime.database.write() as connection:
            keys = store.load(connection, 1).keys
            situation = Situation(keys, Reading(now, now), runtime.settings.policy, ("ES256",), 3600)
            plan = rotation.rotate(situation, "ES256", lambda _: standby, force=True)
            store.apply(connection, 1, plan, runtime.sealer(), ACTOR, at=generation, reading=situation.reading)
    except LostRace:
        return False
    return True


def test_182_of_twenty_rotations_at_once_one_wins_and_the_rest_change_nothing(stored_issuer: Issuer) -> None:
    for _ in range(3):
        generation, before = keys_of(stored_issuer)
        with ThreadPoolExecutor(20) as pool:
            won = list(pool.map(rotate, [stored_issuer] * 20, [generation] * 20))
        assert sum(won) == 1
        after_generation, after = keys_of(stored_issuer)
        assert after_generation == generation + 1
        assert len(after) == len(before) + 1
        states = [key.state for key in after]
        assert states.count(State.ACTIVE) == states.count(State.PUBLISHED) == 1


@pytest.mark.parametrize("state", [State.ACTIVE, State.PUBLISHED])
def test_the_database_refuses_a_second_key_in_the_place_of_one(stored_issuer: Issuer, state: State) -> None:
    with pytest.raises(IntegrityError), stored_issuer.runtime.database.write() as connection:
        row = dict(connection.execute(select(store.keys).where(store.keys.c.state == state)).mappings().one())
        connection.execute(insert(store.keys).values({**row, "kid": "another", "thumbprint": "another"}))


def test_186_a_kid_is_unique_over_all_realms_and_stays_blocked(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /other")
    kid = stored_issuer.run("keys list --realm /other")[0]["kid"]
    stored_issuer.run("realms delete /other --yes")
    with pytest.raises(IntegrityError), stored_issuer.runtime.database.write() as connection:
        row = dict(connection.execute(select(store.keys).where(store.keys.c.state == "active")).mappings().one())
        connection.execute(insert(store.keys).values({**row, "kid": kid, "thumbprint": "x", "state": "retiring"}))
    with stored_issuer.runtime.database.read() as connection:
        dead = connection.execute(select(store.keys).where(store.keys.c.kid == kid)).one()
    assert (dead.state, dead.sealed, dead.reason) == ("revoked", None, "realm deleted")


def test_a_rotation_that_breaks_off_leaves_the_old_state_whole(stored_issuer: Issuer) -> None:
    before = keys_of(stored_issuer)
    with pytest.raises(ZeroDivisionError), stored_issuer.runtime.database.write() as connection:
        connection.execute(update(store.key_sets).values(generation=before[0] + 1))
        connection.execute(update(store.keys).where(store.keys.c.state == "active").values(state="retiring"))
        raise ZeroDivisionError
    assert keys_of(stored_issuer) == before
    assert rotate(stored_issuer, before[0])


def test_a_row_moved_to_another_realm_neither_signs_nor_is_shown(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /other")
    with stored_issuer.runtime.database.write() as connection:
        connection.execute(store.keys.delete().where(store.keys.c.realm_id == 2))
        connection.execute(update(store.keys).values(realm_id=2))
    with stored_issuer.runtime.database.read() as connection:
        moved = store.load(connection, 2)
    snapshot = snapshot_of(moved.keys, moved.generation, stored_issuer.runtime.sealer())
    assert (snapshot.signers, snapshot.published, len(snapshot.foreign)) == ({}, {}, 2)


def test_raising_the_longest_lifetime_raises_it_on_the_signing_key_first_and_never_lowers_it(
    stored_issuer: Issuer,
) -> None:
    def longest() -> int:
        return max(key.max_lifetime for key in keys_of(stored_issuer)[1] if key.state is State.ACTIVE)

    assert longest() == 3600
    stored_issuer.run("realms update / --max-access-token-lifetime 7200")
    assert longest() == 7200
    stored_issuer.run("realms update / --max-access-token-lifetime 600")
    assert longest() == 7200
