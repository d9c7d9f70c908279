"""What an administrator can do to realms, and what that means for their keys."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Connection

from issuer import slots
from issuer.admin.change import Administration, Change, change, find_realm
from issuer.admin.given import check_defaults_fit, checked, differing
from issuer.admin.keys import owner_of
from issuer.admin.names import check_borrowed_names
from issuer.admin.refused import ChangeRefused
from issuer.realms import REALM_DEFAULTS, Realm, RealmSettings, parse_path
from issuer.storage import clients as client_store
from issuer.storage import ranges as range_store
from issuer.storage import realms as realm_store
from issuer.storage import status_lists
from issuer.storage.rows import RowSpoilt
from keys import rotation
from keys import store as key_store
from keys.audit import Actor
from keys.change import Fresh, look, within
from keys.key import generate
from keys.plan import NOTHING, Plan, Situation
from keys.policy import RotationPolicy
from keys.store import LostRace


def find(administration: Administration, path: str) -> Realm:
    """A realm. Raises RealmNotFound."""
    with administration.database.read() as connection:
        return find_realm(connection, path)


def every(administration: Administration) -> tuple[list[Realm], dict[str, RowSpoilt]]:
    """Every realm, by path; and what is wrong with each that cannot be read."""
    with administration.database.read() as connection:
        return realm_store.every(connection)


def paths(administration: Administration) -> list[str]:
    """The path of every realm."""
    with administration.database.read() as connection:
        return realm_store.paths(connection)


def check_given(given: Mapping[str, Any], policy: RotationPolicy) -> dict[str, Any]:
    """The settings of a new realm that were given. Raises ChangeRefused; nothing is looked up."""
    values = checked(RealmSettings, given)
    _check_together({**REALM_DEFAULTS, **values}, policy)
    return values


def create(
    administration: Administration, path: str, given: Mapping[str, Any], actor: Actor, *, rehearse: bool = False
) -> Realm:
    """A new realm with an active key and a standby for each of its algorithms.

    Raises RealmPathError, NameTaken, ChangeRefused.
    """
    parse_path(path)
    settings = {**REALM_DEFAULTS, **check_given(given, administration.policy)}
    # Made before the transaction: an RSA key takes a while, and a transaction holds everybody up.
    pairs = [
        (generate(alg, settings["rsa_bits"]), generate(alg, settings["rsa_bits"])) for alg in settings["signing_algs"]
    ]
    with change(administration, "realm_created", actor, None, rehearse=rehearse) as it:
        it.audited, it.noted = dict(given), True  # the audit of a realm begins with its keys
        realm_id = realm_store.create(it.connection, path, settings, it.now)
        key_store.create_key_set(
            it.connection, realm_id, pairs, administration.sealer(), actor, path=path,
            max_lifetime=settings["max_access_token_lifetime"], now=it.now, details=it.details(),
        )  # fmt: skip
        it.realm = find_realm(it.connection, path)
    return it.realm


def update(
    administration: Administration, path: str, given: Mapping[str, Any], actor: Actor, *, rehearse: bool = False
) -> tuple[Realm, bool]:
    """The realm with the settings that were given, and whether that changed any.

    A new algorithm's key is published at once and signs after its next rotation. Raises RealmNotFound, ChangeRefused.
    """
    values = checked(RealmSettings, given)
    fresh = _fresh(values, find(administration, path))
    with change(administration, "realm_updated", actor, path, rehearse=rehearse) as it:
        _check_together(
            {**{name: getattr(it.realm, name) for name in REALM_DEFAULTS}, **values}, administration.policy
        )  # fmt: skip
        new = differing(values, it.realm)
        it.nothing = not new
        it.said, it.audited = {"members": sorted(new)}, new
        if new:
            realm_store.alter(it.connection, it.realm.id, new)
            it.realm = find_realm(it.connection, path)
            _check_clients(it.connection, it.realm, new)
            if "max_access_token_lifetime" in new:
                # Before any longer token: the keys that sign them must outlive them (keys.md I10), and their lists.
                range_store.raise_max_lifetime(it.connection, it.realm)
                key_store.raise_max_lifetime(it.connection, it.realm.id, it.realm.max_access_token_lifetime)
            if it.realm.rsa_bits != fresh.rsa_bits:  # somebody changed it while keys were made
                fresh = Fresh(it.realm.rsa_bits)
            _change_keys(administration, it, partial(_announce, fresh), actor)
    return it.realm, not it.nothing


def enable(administration: Administration, path: str, actor: Actor, *, rehearse: bool = False) -> tuple[Realm, bool]:
    """The realm issues tokens again, and whether it did not; never revives one that was cut off.

    Raises RealmNotFound, and OutOfIndexes where it could issue none.
    """
    return _switch(administration, path, actor, enabled=True, rehearse=rehearse)


def disable(administration: Administration, path: str, actor: Actor, *, rehearse: bool = False) -> tuple[Realm, bool]:
    """The realm refuses tokens, and whether it did not; every one it issued is dead for good."""
    return _switch(administration, path, actor, enabled=False, rehearse=rehearse)


def _switch(
    administration: Administration, path: str, actor: Actor, *, enabled: bool, rehearse: bool
) -> tuple[Realm, bool]:
    action = "realm_enabled" if enabled else "realm_disabled"
    with change(administration, action, actor, path, rehearse=rehearse) as it:
        it.nothing = it.realm.enabled == enabled
        if not it.nothing:
            realm_store.alter(it.connection, it.realm.id, {"enabled": enabled})
            # Going off, every token is dead; coming back, those are that a process gave out which had not heard, to
            # clients that it read meanwhile.
            floor = range_store.raise_floor(it.connection, it.realm, it.now)
            if enabled and slots.list_of(floor) >= slots.END_LIST:
                raise slots.OutOfIndexes
        it.realm = find_realm(it.connection, path)
    return it.realm, not it.nothing


def find_empty(administration: Administration, path: str) -> Realm:
    """A realm that could be deleted. Raises RealmNotFound, and ChangeRefused where there are realms below it."""
    with administration.database.read() as connection:
        realm = find_realm(connection, path)
        _check_empty(connection, realm)
    return realm


def delete(administration: Administration, path: str, actor: Actor, *, seen: Realm, rehearse: bool = False) -> None:
    """Ends a realm with its clients for good, and with its keys once its last token has died: see erase_keys().

    Until then it serves its JWKS, and its status lists, which say that every token is dead.
    seen: the one that was meant. Raises LostRace where another has its path by now, RealmNotFound, and ChangeRefused
    where there are realms below it.
    """
    with change(administration, "realm_deleted", actor, path, rehearse=rehearse) as it:
        if it.realm.id != seen.id:
            raise LostRace
        _check_empty(it.connection, it.realm)
        range_store.raise_floor(it.connection, it.realm, it.now)
        realm_store.delete(it.connection, it.realm.id, it.now)
        if not _has_lists(administration, it):
            _change_keys(administration, it, _end_of_realm, replace(actor, reason=actor.reason or "realm deleted"))


def erase_keys(administration: Administration, actor: Actor) -> list[str]:
    """The keys of deleted realms that nobody can hold a token of any more are erased; the paths of those realms."""
    with administration.database.read() as connection:
        ended = realm_store.every_ended(connection)
    erased = []
    for realm in ended:
        with change(administration, "realm_keys_erased", actor, None) as it:
            it.realm = realm
            gone = realm not in realm_store.every_ended(it.connection)  # somebody else was faster
            it.nothing = gone or _has_lists(administration, it)
            if not it.nothing:
                _change_keys(administration, it, _end_of_realm, replace(actor, reason=actor.reason or "realm deleted"))
                erased.append(realm.path)
    return erased


def _has_lists(administration: Administration, it: Change) -> bool:
    """Whether somebody may hold a token of a deleted realm that has not expired, as far as can be told."""
    try:
        return bool(status_lists.live(it.connection, it.realm.id, it.now, administration.policy).below)
    except RowSpoilt:
        return True  # then its keys stay; its end waits for nobody (#187)


def _check_together(merged: Mapping[str, Any], policy: RotationPolicy) -> None:
    check_defaults_fit(merged)
    longest = merged["max_access_token_lifetime"]
    if merged["access_token_lifetime"] > longest:
        raise ChangeRefused(
            "{access_token_lifetime} may not exceed {max_access_token_lifetime}", "access_token_lifetime"
        )
    if longest >= policy.rotation_interval:
        raise ChangeRefused(
            "{max_access_token_lifetime} must be shorter than KEY_ROTATION_INTERVAL", "max_access_token_lifetime"
        )


def _check_clients(connection: Connection, realm: Realm, changed: Collection[str]) -> None:
    """After a change of a realm, within it: its clients still fit what changed. Raises ChangeRefused."""
    named = client_store.signing_with(connection, realm.id) if "signing_algs" in changed else {}
    for client_id, alg in named.items():
        if alg not in realm.signing_algs:
            raise ChangeRefused(f"client {client_id} signs with {alg}; change that first", "signing_algs")
    if not {"token_format", "default_audience"}.isdisjoint(changed):
        check_borrowed_names(connection, realm)


def _check_empty(connection: Connection, realm: Realm) -> None:
    start = realm.path.rstrip("/") + "/"
    if any(other.startswith(start) and other != realm.path for other in realm_store.paths(connection)):
        raise ChangeRefused(f"{realm.path} has realms below it; delete those first", code="not_empty")


def _fresh(values: Mapping[str, Any], realm: Realm) -> Fresh:
    """The keys of algorithms that are new, made before the transaction: an RSA key takes a while."""
    fresh = Fresh(values.get("rsa_bits", realm.rsa_bits))
    for alg in values.get("signing_algs", ()):
        if alg not in realm.signing_algs:
            fresh(alg)
    fresh.again()
    return fresh


def _change_keys(administration: Administration, it: Change, decide: Callable[[Situation], Plan], actor: Actor) -> None:
    """What a change of a realm means for its keys, in the same transaction."""
    owner = owner_of(it.realm)
    at = look(it.connection, owner, administration.policy, it.now)
    within(it.connection, administration.sealer(), at, owner, lambda at, _names: decide(at), actor)


def _announce(fresh: Fresh, at: Situation) -> Plan:
    """A standby for each algorithm that has none."""
    plan = NOTHING
    for alg in at.algs:
        plan += rotation.generate(at, alg, fresh, pending=False)
    return plan


def _end_of_realm(at: Situation) -> Plan:
    """Every key goes: private halves erased, names blocked for ever."""
    return rotation.revoke_all(replace(at, algs=()), Fresh(0), "realm deleted")
