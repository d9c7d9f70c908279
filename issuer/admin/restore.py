"""What an administrator does after an older backup came back: no token of before is alive, whoever issued it (#188)."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy import Connection

from issuer import log
from issuer.admin.change import Administration
from issuer.admin.keys import owner_of
from issuer.realms import Realm
from issuer.storage import ranges as range_store
from issuer.storage import realms as realm_store
from issuer.storage import restore
from keys import rotation
from keys import store as key_store
from keys.audit import Actor
from keys.audit_log import note
from keys.change import Fresh, look, within
from keys.key import Key, State
from keys.names import Names, pick
from keys.plan import Plan, Situation, revoked

LEAST_SKIPPED, MOST_SKIPPED = 1 << 10, 1 << 20
"""Lists that are left out, at random between these: those that a lost history began, and what another restore of the
same backup leaves out."""
_REASON = "an older backup came back"


@dataclass(frozen=True)
class RealmKeys:
    """The keys of a realm that sign, are to sign or verify; of a realm that was deleted, too."""

    realm: Realm
    keys: Sequence[Key]
    ended: bool


@dataclass(frozen=True)
class Restored:
    """What was done. was_pending: a process had noticed. generation: every change after it has a higher one."""

    was_pending: bool
    generation: int
    realms: int
    revoked: Sequence[str]


def usable_keys(administration: Administration) -> list[RealmKeys]:
    """Every key that can sign or verify, by realm, with the realms that have one."""
    with administration.database.read() as connection:
        return _usable(connection)


def chosen(found: Sequence[RealmKeys], prefixes: Sequence[str]) -> list[str]:
    """The whole names of the keys whose names start so, in whatever realm. Raises NoSuchKey."""
    every = [key for each in found for key in each.keys]
    return list(dict.fromkeys(pick(every, prefix, "the database").kid for prefix in prefixes))


def after_restore(
    administration: Administration, revoke: Sequence[str], actor: Actor, *, rehearse: bool = False
) -> Restored:
    """Every token that was ever issued is dead, and the change log goes on above every change that was lost.

    revoke: whole names of keys that leave the JWKS at once; what a realm then lacks stands in their place. To be done
    also where nobody noticed that history went back: a process that starts on the backup cannot. Raises NoSuchKey,
    RotationRefused, SealingError and RowSpoilt; then nothing was changed.
    """
    actor = replace(actor, reason=actor.reason or _REASON)
    database = administration.database
    fresh = {kid: made for each in usable_keys(administration) for kid, made in _fresh(each, revoke).items()}
    with database.change(rehearse=rehearse) as connection:
        now = database.now(connection)
        was_pending = restore.pending(connection) is not None
        realms = _readable_realms(connection)
        for realm in realms:
            range_store.raise_floor(connection, realm, now, skip=_skipped())
            details = {"keys_revoked": len(revoke)}
            note(connection, realm.id, "restored", realm.path, actor, now=now, details=details)
        # Of these paths a realm may have been made, and have issued tokens, in the history that was lost.
        for path in range_store.paths(connection) - {realm.path for realm in realms}:
            range_store.skip_lists(connection, path, _skipped())
        for each in _usable(connection):
            _revoke(administration, connection, each, [key for key in each.keys if key.kid in fresh], fresh, actor)
        generation = restore.begin_anew(connection, now)
    if not rehearse:
        log.event("changed", what="restored", generation=generation, realms=len(realms))
        for kid in fresh:
            log.event("key_revoked", kid=kid, actor=actor.name, reason=actor.reason)
    return Restored(was_pending, generation, len(realms), tuple(fresh))


def _skipped() -> int:
    return LEAST_SKIPPED + secrets.randbelow(MOST_SKIPPED - LEAST_SKIPPED + 1)


def _readable_realms(connection: Connection) -> list[Realm]:
    """Every live realm. Raises RowSpoilt where one cannot be read: what it issued could not be said to be dead."""
    realms, spoilt = realm_store.every(connection)
    for why in spoilt.values():
        raise why
    return realms


def _usable(connection: Connection) -> list[RealmKeys]:
    realms = [(realm, False) for realm in _readable_realms(connection)]
    realms += [(realm, True) for realm in realm_store.every_ended(connection)]
    return [RealmKeys(realm, key_store.load(connection, realm.id).keys, ended) for realm, ended in realms]


def _fresh(found: RealmKeys, revoke: Sequence[str]) -> dict[str, Fresh]:
    """What may have to sign in the place of each, made before the transaction: an RSA key takes a while."""
    made = {}
    for key in found.keys:
        if key.kid in revoke:
            made[key.kid] = Fresh(found.realm.rsa_bits)
            if not found.ended and key.state in (State.ACTIVE, State.PUBLISHED):
                made[key.kid](key.alg)
                made[key.kid].again()
    return made


def _revoke(
    administration: Administration, connection: Connection, found: RealmKeys, keys: Sequence[Key],
    fresh: dict[str, Fresh], actor: Actor,
) -> None:  # fmt: skip
    owner = owner_of(found.realm)
    for key in keys:
        at = look(connection, owner, administration.policy, administration.database.now(connection))
        current = next((each for each in at.keys if each.kid == key.kid), None)
        if current is None:
            continue
        if not found.ended:
            plan = rotation.revoke(at, current, fresh[key.kid], str(actor.reason))
        else:  # nothing is to sign there again
            plan = Plan((revoked(current, at.now, str(actor.reason)),))
        within(connection, administration.sealer(), at, owner, partial(_as_decided, plan), actor)


def _as_decided(plan: Plan, _at: Situation, _names: Names) -> Plan:
    return plan
