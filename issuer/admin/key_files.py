"""Private halves that come in, go out, or are sealed under a new key-encryption key; each stands in the audit.

Arguments and what is raised: issuer/admin/keys.py.
"""

from collections.abc import Callable

from sqlalchemy import Connection

from issuer import log
from issuer.admin.change import Administration, find_realm
from issuer.admin.keys import carry_out, not_signed_with
from issuer.storage.changes import record_change
from keys import rotation, store
from keys.audit import Actor
from keys.change import Ask, Fresh, Outcome
from keys.key import Key, KeyRefused, Material
from keys.names import Names
from keys.plan import Plan, Situation, Step
from keys.transfer import encrypted

_BATCH = 100


def import_key(
    administration: Administration, path: str, actor: Actor, material: Material, *,
    pending: bool = False, replace: bool = False, rehearse: bool = False,
) -> Outcome:  # fmt: skip
    """A private key becomes the standby, with `replace` in the place of the present one; with `pending` it is stored.

    Raises KeyRefused for one that the realm does not sign with, that any realm has or had, or whose name is confusable.
    """

    def decide(at: Situation, names: Names, _: Fresh) -> Plan:
        if material.alg not in at.algs:
            raise KeyRefused(not_signed_with(path, material.alg))
        known = names.known(material)
        if known is not None:  # keys.md I5: in whatever realm, dead or alive
            raise KeyRefused(f"this key or this name is known already: {known.kid}, which is {known.state}")
        other = names.confusable(material.kid)
        if other is not None:
            raise KeyRefused(f"{material.kid} and {other} could be taken for each other: one is the start of the other")
        if pending:
            return rotation.stage(at, material, event="imported")
        return rotation.publish(at, material, event="imported", replace=replace)

    return carry_out(administration, path, decide, actor, Ask(), rehearse=rehearse)


def export_private(administration: Administration, path: str, actor: Actor, seen: Key, passphrase: bytes) -> bytes:
    """The whole of the key that was `seen`, as an encrypted JWE. Raises KeyRefused where its private half is gone.

    It is the key as it stands in the transaction that puts its export into the audit: it may have been revoked since.
    """
    database = administration.database
    with database.change() as connection:
        realm = find_realm(connection, path)
        key = Names(connection, realm.id, path).find(f"={seen.kid}")
        if key.realm_id != seen.realm_id or key.sealed is None:
            raise KeyRefused(f"key {key.kid} is {key.state}; its private half is gone")
        _note(connection, key, "exported", actor, database.now(connection))
    pkcs8 = administration.sealer().open(key.sealed, key.kek_id, key.realm_id, key.kid, key.alg)
    content = encrypted(Material(key.kid, key.thumbprint, key.alg, key.public_jwk, pkcs8), passphrase)
    log.event("key_exported", realm=path, kid=key.kid, actor=actor.name)
    return content


def count_rewrappable(administration: Administration) -> int:
    """How many private halves are sealed under another key-encryption key than the newest."""
    with administration.database.read() as connection:
        return store.count_sealed_otherwise(connection, administration.sealer().kek_id)


def rewrap(administration: Administration, actor: Actor, *, progress: Callable[[int], None] = lambda _: None) -> int:
    """Seals every private half, of every realm, under the newest key-encryption key; how many were sealed anew.

    A batch per transaction, so that what is done stays done; `progress` is told how many are, after each.
    """
    database, sealer = administration.database, administration.sealer()
    done = 0
    while True:
        with database.change() as connection:
            batch = store.sealed_otherwise(connection, sealer.kek_id, _BATCH)
            for key in batch:
                if store.reseal(connection, key, sealer):
                    _note(connection, key, "rewrapped", actor, database.now(connection))
                    done += 1
            # Every process reads them anew: one that lacks the new key is not ready now, and not by surprise later.
            for realm_id in {key.realm_id for key in batch}:
                record_change(connection, realm_id)
        if not batch:
            return done
        progress(done)


def _note(connection: Connection, key: Key, event: str, actor: Actor, now: int) -> None:
    """A row for what is no transition: the key stays in its state, at its generation."""
    plan = Plan((Step(event, key.kid, key.alg, key.state, key.state, {}),))
    generation = store.load(connection, key.realm_id).generation
    store.record(connection, key.realm_id, plan, actor, generation=generation, now=now)
