"""What an administrator can do to clients."""

from collections.abc import Callable, Mapping
from secrets import token_hex
from typing import Any

from issuer.admin import secrets
from issuer.admin.change import Administration, change, find_client, find_realm
from issuer.admin.given import check_defaults_fit, checked, differing
from issuer.admin.names import check_names_of
from issuer.admin.refused import ChangeRefused
from issuer.admin.secrets import NewSecret
from issuer.clients import CLIENT_DEFAULTS, MARKERS, Client, ClientSettings, parse_client_id
from issuer.realms import Realm
from issuer.storage import clients as client_store
from issuer.storage import ranges as range_store
from keys.audit import Actor
from keys.store import LostRace


def find(administration: Administration, realm_path: str, client_id: str) -> tuple[Realm, Client]:
    """A client and its realm. Raises RealmNotFound, ClientNotFound."""
    with administration.database.read() as connection:
        realm = find_realm(connection, realm_path)
        return realm, find_client(connection, realm, client_id)


def every(
    administration: Administration, realm_path: str, *, unused_for: int | None = None
) -> tuple[Realm, list[Client]]:
    """The clients of a realm by name, without their secrets; with `unused_for`, those not used for so many seconds."""
    with administration.database.read() as connection:
        realm = find_realm(connection, realm_path)
        found = client_store.every(connection, realm.id)
        now = administration.database.now(connection)
    if unused_for is not None:
        found = [client for client in found if last_sign(client) <= now - unused_for]
    return realm, found


def create(
    administration: Administration,
    realm_path: str,
    client_id: str | None,
    given: Mapping[str, Any],
    actor: Actor,
    *,
    secret: bool = True,
    imported: str | None = None,
    expires_in: int | None = None,
    hand_over: Callable[[NewSecret], None] = lambda _: None,
    rehearse: bool = False,
) -> NewSecret:
    """A new client with one secret: `imported`, or a generated one, which ends after `expires_in` seconds.

    secret: False for one without, whose credentials are of other kinds (issuer/admin/credentials.py). given: its
    settings. hand_over: called before the commit; where it raises, there is no client. Raises RealmNotFound,
    ClientIdError, SecretRefused, NameTaken, ChangeRefused and what hand_over raises.
    """
    name = parse_client_id(client_id) if client_id is not None else _random_client_id()
    values = {**CLIENT_DEFAULTS, **checked(ClientSettings, given)}
    salt = secrets.new_salt()
    prepared = secrets.prepare(imported, salt) if secret else None
    with change(
        administration, "client_created", actor, realm_path, client_id=name, rehearse=rehearse
    ) as it:  # fmt: skip
        _check_in_realm(values, it.realm)
        client_pk = client_store.create(it.connection, it.realm.id, name, values, salt, it.now)
        stored = secrets.store(it, client_pk, prepared, expires_in) if prepared is not None else None
        it.whole_realm = imported is not None and not it.realm.has_imported_secrets
        it.said = {"secret_id": stored.secret_id if stored is not None else None}
        it.audited = dict(given)
        made = NewSecret(stored, it.client(), it.realm, prepared.generated if prepared is not None else None)
        check_names_of(it.connection, it.realm, made.client)
        hand_over(made)
    return made


def update(
    administration: Administration,
    realm_path: str,
    client_id: str,
    given: Mapping[str, Any],
    actor: Actor,
    *,
    rehearse: bool = False,
) -> tuple[Realm, Client, bool]:
    """The client with the settings that were given, and whether that changed any.

    Raises RealmNotFound, ClientNotFound, ChangeRefused.
    """
    values = checked(ClientSettings, given)
    with change(
        administration, "client_updated", actor, realm_path, client_id=client_id, rehearse=rehearse
    ) as it:  # fmt: skip
        client = it.client()
        _check_in_realm({**{name: getattr(client, name) for name in CLIENT_DEFAULTS}, **values}, it.realm)
        new = differing(values, client)
        it.nothing = not new
        if new:
            client_store.alter(it.connection, client.id, new)
            check_names_of(it.connection, it.realm, it.client())
        it.said, it.audited = {"members": sorted(new)}, new
        client = it.client()
    return it.realm, client, not it.nothing


def enable(
    administration: Administration, realm_path: str, client_id: str, actor: Actor, *, rehearse: bool = False
) -> tuple[Realm, Client, bool]:
    """The client is accepted again, and whether it was not; never revives a token that was cut off."""
    return _switch(administration, realm_path, client_id, actor, enabled=True, rehearse=rehearse)


def disable(
    administration: Administration, realm_path: str, client_id: str, actor: Actor, *, rehearse: bool = False
) -> tuple[Realm, Client, bool]:
    """The client is refused, and whether it was not; every token it has is dead for good."""
    return _switch(administration, realm_path, client_id, actor, enabled=False, rehearse=rehearse)


def _switch(
    administration: Administration, realm_path: str, client_id: str, actor: Actor, *, enabled: bool, rehearse: bool
) -> tuple[Realm, Client, bool]:
    action = "client_enabled" if enabled else "client_disabled"
    with change(administration, action, actor, realm_path, client_id=client_id, rehearse=rehearse) as it:
        client = it.client()
        it.nothing = client.enabled == enabled
        if not it.nothing:
            client_store.alter(it.connection, client.id, {"enabled": enabled})
            if enabled:
                range_store.allot_missing(it.connection, it.realm, client.id)
            else:
                range_store.end_of_client(it.connection, client.id, it.now)
        client = it.client()
    return it.realm, client, not it.nothing


def delete(
    administration: Administration,
    realm_path: str,
    client_id: str,
    actor: Actor,
    *,
    seen: Client,
    rehearse: bool = False,
) -> None:
    """Ends a client for good; another of the same name never gets its tokens back.

    seen: the one that was meant. Raises LostRace where another has its name by now, RealmNotFound, ClientNotFound.
    """
    with change(
        administration, "client_deleted", actor, realm_path, client_id=client_id, rehearse=rehearse
    ) as it:  # fmt: skip
        client = it.client()
        if client.id != seen.id:
            raise LostRace
        client_store.delete(it.connection, client.id, it.now)


def names_no_audience(realm: Realm, client: Client) -> bool:
    """Whether a client may have tokens, and nobody says which API those are for."""
    audiences = realm.default_audience or client.default_audience or client.audiences
    return bool(client.scopes - MARKERS) and not audiences


def last_sign(client: Client) -> int:
    """When it was last heard of: used, or else made."""
    return client.last_used_at or client.created_at


def _check_in_realm(merged: Mapping[str, Any], realm: Realm) -> None:
    """Raises ChangeRefused unless the settings of a client fit together and its realm as it stands."""
    check_defaults_fit(merged)
    if not set(merged["default_scopes"]) <= set(merged["scopes"]) - MARKERS:
        raise ChangeRefused("{default_scopes} must be among {scopes}, and no marker", "default_scopes")
    if merged["signing_alg"] and merged["signing_alg"] not in realm.signing_algs:
        raise ChangeRefused(
            f"{realm.path} does not sign with {merged['signing_alg']}; see flask realms update --alg", "signing_alg"
        )
    if (merged["access_token_lifetime"] or 0) > realm.max_access_token_lifetime:
        raise ChangeRefused(
            f"{realm.path} allows at most {realm.max_access_token_lifetime} seconds", "access_token_lifetime"
        )


def _random_client_id() -> str:
    return "client-" + token_hex(8)
