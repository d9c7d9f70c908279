"""What an administrator can do to tokens: revoke one, or all of a secret, of a client, of a realm."""

import math
from dataclasses import dataclass

from issuer import slots
from issuer.admin.change import Administration, Change, change, find_realm
from issuer.admin.inspection import inspect
from issuer.admin.refused import ChangeRefused, SecretNotFound, TokenNotFound
from issuer.clients import Client
from issuer.realms import Realm
from issuer.slots import Hearing
from issuer.storage import credentials as credential_store
from issuer.storage import ranges as range_store
from issuer.storage import revoked as revoked_store
from keys.audit import Actor


@dataclass(frozen=True)
class Revocation:
    """What was revoked in a realm, at `at`, and within how long who hears of it.

    changed: whether anything was alive that is not now, as far as one token goes; classes always are ended anew.
    used_up: what goes on living may find no index there for new tokens.
    """

    realm: Realm
    at: int
    changed: bool
    hearing: Hearing
    used_up: bool = False


@dataclass(frozen=True)
class FoundToken:
    """A token that a key of a realm signed, in whatever state either is by now; `exp` None where it says none."""

    realm_path: str
    jti: str
    exp: int | None


def find(administration: Administration, base_url: str, text: str, realm_path: str | None = None) -> FoundToken:
    """The token that `text` is, of the realm that it names or of `realm_path`. Raises TokenNotFound, RealmNotFound."""
    found = inspect(administration, base_url, text, realm_path)
    if not found.authentic or found.claims is None or found.realm_path is None:
        raise TokenNotFound(found.realm_path)
    exp = found.claims.get("exp")
    return FoundToken(
        found.realm_path, str(found.claims.get("jti")), math.ceil(exp) if isinstance(exp, int | float) else None
    )


def revoke(
    administration: Administration,
    realm_path: str,
    jti: str,
    actor: Actor,
    *,
    exp: int | None = None,
    rehearse: bool = False,
) -> Revocation:
    """One token of the realm is dead, until it would have expired at `exp`, as far as that is known.

    Nothing is changed where it is dead already. Raises RealmNotFound, and ChangeRefused for what is no `jti` of ours.
    """
    try:
        slots.index_of(jti)
    except slots.NotATokenId:
        raise ChangeRefused("that is no jti of a token that was issued here", "jti") from None
    with change(administration, "token_revoked", actor, realm_path, rehearse=rehearse) as it:
        ended = exp is not None and exp + slots.after_expiry(administration.policy) <= it.now
        drawn_from = None if ended else revoked_store.revoke(it.connection, it.realm, jti, it.now, exp)
        it.nothing, it.recorded = drawn_from is None, True
        if drawn_from is not None:
            it.said = {"jti": jti, "client_id": range_store.name_of_client(it.connection, drawn_from.client_pk)}
    return _told(administration, it.realm, it.now, changed=not it.nothing)


def revoke_of_client(
    administration: Administration, realm_path: str, client_id: str, actor: Actor, *, rehearse: bool = False
) -> Revocation:
    """Every token of a client is dead; it may have new ones. Raises RealmNotFound, ClientNotFound."""
    action = "client_tokens_revoked"
    with change(administration, action, actor, realm_path, client_id=client_id, rehearse=rehearse) as it:
        client = it.client()
        range_store.end_of_client(it.connection, client.id, it.now)
        used_up = client.enabled and not _fresh_ranges(it, client)
    return _told(administration, it.realm, it.now, used_up=used_up)


def revoke_of_secret(
    administration: Administration, realm_path: str, secret_id: str, actor: Actor, *, rehearse: bool = False
) -> Revocation:
    """Every token that one secret got is dead, of a revoked or expired secret too; it goes on if it was going on.

    Raises RealmNotFound, SecretNotFound.
    """
    with administration.database.read() as connection:
        client_id = credential_store.owner(connection, find_realm(connection, realm_path).id, secret_id)
    if client_id is None:
        raise SecretNotFound(realm_path, secret_id)
    action = "secret_tokens_revoked"
    with change(administration, action, actor, realm_path, client_id=client_id, rehearse=rehearse) as it:
        client = it.client()
        if credential_store.owner(it.connection, it.realm.id, secret_id) != client_id:
            raise SecretNotFound(client_id, secret_id)  # its client was deleted and made anew meanwhile
        range_store.end_of_credential(it.connection, client.id, secret_id, it.now)
        used_up = client.enabled and not _fresh_ranges(it, client)
        it.said = {"secret_id": secret_id}
    return _told(administration, it.realm, it.now, used_up=used_up)


def revoke_all(administration: Administration, realm_path: str, actor: Actor, *, rehearse: bool = False) -> Revocation:
    """Every token of a realm is dead; its clients may have new ones. Raises RealmNotFound."""
    with change(administration, "realm_tokens_revoked", actor, realm_path, rehearse=rehearse) as it:
        range_store.raise_floor(it.connection, it.realm, it.now)
        used_up = range_store.is_used_up(it.connection, realm_path)
    return _told(administration, it.realm, it.now, used_up=used_up)


def _fresh_ranges(it: Change, client: Client) -> bool:
    """What a client draws from, now that all it had is ended; whether there was anything: a kill waits for nothing."""
    try:
        range_store.allot_missing(it.connection, it.realm, client.id)
    except slots.OutOfIndexes:
        return False
    return True


def _told(
    administration: Administration, realm: Realm, at: int, *, changed: bool = True, used_up: bool = False
) -> Revocation:
    return Revocation(realm, at, changed, slots.hearing(administration.policy), used_up)
