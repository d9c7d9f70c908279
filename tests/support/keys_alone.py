"""Run as a program of its own: keys/ with nothing of ours beside it but realmint.protocol, and a database in memory.

Prints `done`, or ends with what failed.
"""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

BLOCKED = {"click", "flask", "werkzeug", "authlib", "issuer", "app"}
NOW = 1_795_400_000


class Blocked:
    """Whoever imports one of these finds that it is not there."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is not there")


def import_all() -> list[str]:
    """Every module of keys."""
    sys.meta_path.insert(0, Blocked())  # type: ignore[arg-type]
    package = importlib.import_module("keys")
    return [importlib.import_module(found.name).__name__ for found in pkgutil.iter_modules(package.__path__, "keys.")]


def rotate_in_memory() -> None:
    """A key set is born, rotated through keys/change.py, refused what it must refuse, and found sound."""
    from sqlalchemy import Connection, create_engine
    from sqlalchemy.pool import StaticPool

    from keys import change, rotation, store
    from keys.audit import Actor
    from keys.change import Ask, Fresh, Outcome, Owner
    from keys.doctor import History, examine
    from keys.jwks import snapshot_of
    from keys.key import generate
    from keys.names import Names, NoSuchKey
    from keys.plan import Plan, RotationRefused, Situation
    from keys.policy import RotationPolicy
    from keys.sealing import Sealer, parse_keks

    policy, sealer = RotationPolicy(), Sealer(parse_keks("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"))
    owner = Owner(7, "/", ("ES256",), 2048, 3600)

    class Memory:
        """The whole of what a change needs of a database."""

        def __init__(self) -> None:
            self.engine = create_engine("sqlite://", poolclass=StaticPool)
            self.clock = NOW
            store.metadata.create_all(self.engine)

        @contextmanager
        def read(self) -> Iterator[Connection]:
            with self.engine.connect() as connection:
                yield connection

        @contextmanager
        def change(self, *, rehearse: bool = False) -> Iterator[Connection]:
            with self.engine.connect() as connection, connection.begin() as transaction:
                yield connection
                if rehearse:
                    transaction.rollback()

        def now(self, connection: Connection) -> int:
            return self.clock

    database, recorded = Memory(), list[Owner]()

    def carry_out(decide: change.Decide, *, rehearse: bool = False, ask: Ask | None = None) -> Outcome:
        return change.carry_out(
            database, sealer, policy, lambda _: owner, decide, Actor("test", "operation"), ask or Ask(),
            lambda _, changed: recorded.append(changed), rehearse=rehearse,
        )  # fmt: skip

    def rotate(at: Situation, names: Names, fresh: Fresh) -> Plan:
        return rotation.rotate(at, "ES256", fresh, force=False)

    def hold(name: str, *, held: bool) -> change.Decide:
        return lambda at, names, fresh: rotation.hold(names.find(name), held=held)

    def states() -> Mapping[str, str]:
        with database.read() as connection:
            return {key.kid: str(key.state) for key in store.history(connection, owner.id)}

    pair = (generate("ES256"), generate("ES256"))
    active, standby = (material.kid for material in pair)
    with database.change() as connection:
        store.create_key_set(
            connection, owner.id, [pair], sealer, Actor("test", "birth"), path="/", max_lifetime=3600, now=NOW,
            details={},
        )  # fmt: skip
    database.clock += 60

    before = states()
    rehearsed = carry_out(rotate, rehearse=True)
    assert (rehearsed.changed, rehearsed.rehearsed, states()) == (True, True, before)

    recorded.clear()
    done = carry_out(rotate)
    assert (done.generation, done.plan.forced, recorded) == (2, False, [owner])
    assert (states()[active], states()[standby]) == ("retiring", "active")

    nothing = carry_out(hold(active[:8], held=False))
    assert (nothing.changed, nothing.generation, recorded) == (False, 2, [owner])

    refused(NoSuchKey, lambda: carry_out(hold("nobody", held=True)))
    refused(RotationRefused, lambda: carry_out(rotate))  # the new standby is young
    refused(RotationRefused, lambda: carry_out(rotate, ask=Ask(force=True)))  # and nobody said why

    with database.read() as connection:
        at = change.look(connection, owner, policy, database.clock)
        stored = store.load(connection, owner.id)
        every = store.history(connection, owner.id), store.audit_of(connection, owner.id)
        assert store.broken_chains(connection) == {}
    assert examine(at, History(*every, stored.audit_head), sealer) == []
    published = snapshot_of(stored.keys, stored.generation, sealer)
    assert published.signers["ES256"].kid == standby
    assert set(published.published) == set(states())


def refused(kind: type[Exception], call: Callable[[], Any]) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(kind)


if __name__ == "__main__":
    assert "keys.change" in import_all()
    rotate_in_memory()
    print("done")
