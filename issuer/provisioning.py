"""Making realms, clients and secrets: what the commands and the first start have in common."""

import secrets as random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from issuer import secrets, stores
from issuer.clients import Client, parse_client_id
from issuer.db import record_change
from issuer.realms import REALM_DEFAULTS, Realm, parse_path
from issuer.secrets import Kind, Secret
from issuer.tokens.resources import is_resource
from keys import store as key_store
from keys.audit import Actor
from keys.key import generate

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from issuer.runtime import Runtime

CLIENT_DEFAULTS: Mapping[str, Any] = {
    "name": None,
    "scopes": [],
    "default_scopes": [],
    "audiences": [],
    "default_audience": [],
    "resource_identifiers": [],
    "grant_types": ["client_credentials"],
    "auth_method": "client_secret",
    "access_token_lifetime": None,
    "signing_alg": None,
    "token_format": None,
}


class ChangeRefused(ValueError):
    """What was asked for contradicts the realm or its clients as they stand. The message says what, and no secret."""


class RealmNotFound(Exception):
    """There is no realm at this path."""


class ClientNotFound(Exception):
    """There is no client of this name in the realm."""


@dataclass(frozen=True)
class NewSecret:
    """A secret that was just made; its text is known now and never again."""

    stored: Secret
    client: Client
    realm: Realm
    secret: str | None = field(repr=False)


def create_realm(runtime: "Runtime", path: str, values: Mapping[str, Any], actor: Actor) -> Realm:
    """A new realm with an active key and a standby for each of its algorithms, made by `actor`.

    Raises RealmPathError, stores.NameTaken.
    """
    parse_path(path)
    settings = {**REALM_DEFAULTS, **values}
    # Made before the transaction: an RSA key takes a while, and a transaction holds everybody up.
    pairs = [
        (generate(alg, settings["rsa_bits"]), generate(alg, settings["rsa_bits"])) for alg in settings["signing_algs"]
    ]
    with runtime.database.change() as connection:
        now = runtime.database.now(connection)
        realm_id = stores.create_realm(connection, path, settings, now)
        key_store.create_key_set(
            connection,
            realm_id,
            pairs,
            runtime.sealer(),
            actor,
            max_lifetime=settings["max_access_token_lifetime"],
            now=now,
        )
        record_change(connection, realm_id)
        return find_realm(connection, path)


def create_client(
    runtime: "Runtime",
    realm_path: str,
    client_id: str | None,
    decide: Callable[[Realm], Mapping[str, Any]],
    *,
    imported: str | None = None,
    expires_in: int | None = None,
    hand_over: Callable[[NewSecret], None] = lambda _: None,
) -> NewSecret:
    """A new client with one secret: `imported`, or a generated one, which ends after `expires_in` seconds.

    decide: its settings, checked against the realm as it stands within the transaction. hand_over: called before the
    commit; where it raises, there is no client. Raises RealmNotFound, ClientIdError, SecretRefused, stores.NameTaken,
    ChangeRefused and what those two raise.
    """
    name = parse_client_id(client_id) if client_id is not None else str(_random_client_id())
    salt = random.token_bytes(secrets.SALT_BYTES)
    text, prepared = _prepare(imported, salt)
    with runtime.database.change() as connection:
        now = runtime.database.now(connection)
        realm = find_realm(connection, realm_path)
        values = {**CLIENT_DEFAULTS, **decide(realm)}
        client_pk = stores.create_client(connection, realm.id, name, values, salt, now)
        check_borrowed_names(connection, realm)
        stored = _store(connection, client_pk, prepared, now, expires_in)
        record_change(connection, realm.id, name)
        if imported is not None and not realm.has_imported_secrets:
            record_change(connection, realm.id)
        client = find_client(connection, realm, name)
        made = NewSecret(stored, client, realm, text if imported is None else None)
        hand_over(made)
    return made


def add_secret(
    runtime: "Runtime",
    realm_path: str,
    client_id: str,
    *,
    imported: str | None = None,
    expires_in: int | None = None,
    overlap: int | None = None,
) -> NewSecret:
    """One more secret for a client; with `overlap`, its others end after that many seconds.

    Raises RealmNotFound, ClientNotFound, SecretRefused.
    """
    with runtime.database.read() as connection:
        salt = find_client(connection, find_realm(connection, realm_path), client_id).secret_salt
    text, prepared = _prepare(imported, salt)
    with runtime.database.change() as connection:
        now = runtime.database.now(connection)
        realm = find_realm(connection, realm_path)
        client = find_client(connection, realm, client_id)
        if client.secret_salt != salt:
            raise ClientNotFound(client_id)  # deleted and made anew while the digest was computed
        stored = _store(connection, client.id, prepared, now, expires_in)
        if overlap is not None:
            stores.expire_secrets(connection, client.id, now + overlap, except_id=stored.secret_id)
        record_change(connection, realm.id, client_id)
        if imported is not None and not realm.has_imported_secrets:
            record_change(connection, realm.id)
        client = find_client(connection, realm, client_id)
    return NewSecret(stored, client, realm, text if imported is None else None)


def check_borrowed_names(connection: "Connection", realm: Realm) -> None:
    """Within a change of a realm or a client, after it: raises ChangeRefused when a client would pass for an API.

    In format `am`, without an audience, `aud` is the client's own name: a URI, or a name by which another client is
    known as an API or names one, would get it tokens for that API.
    """
    names = stores.named_by_nobody(connection, realm)
    advice = "in format am its name would be the aud of its tokens; give it a --default-audience"
    for name in sorted(names):
        if is_resource(name):
            raise ChangeRefused(f"client {name} is named like an API, and {advice}")
    for client_id, identifiers, audiences in stores.audiences_named(connection, realm.id) if names else ():
        for name in sorted(names & (identifiers | audiences)):
            if name != client_id:
                raise ChangeRefused(f"client {name} is named like an API of {client_id}, and {advice}")


def find_realm(connection: "Connection", path: str) -> Realm:
    """The live realm. Raises RealmNotFound."""
    realm = stores.find_realm(connection, path)
    if realm is None:
        raise RealmNotFound(path)
    return realm


def find_client(connection: "Connection", realm: Realm, client_id: str) -> Client:
    """The live client. Raises ClientNotFound."""
    client = stores.find_client(connection, realm.id, client_id)
    if client is None:
        raise ClientNotFound(client_id)
    return client


def _prepare(imported: str | None, salt: bytes) -> tuple[str, tuple[Kind, bytes]]:
    """The text of a secret and what is stored of it; the slow digest is computed outside any transaction."""
    if imported is None:
        text = secrets.generate()
        return text, (Kind.GENERATED, secrets.digest(text, Kind.GENERATED, salt))
    text = secrets.check_importable(imported)
    return text, (Kind.IMPORTED, secrets.digest(text, Kind.IMPORTED, salt))


def _store(
    connection: "Connection", client_pk: int, prepared: tuple[Kind, bytes], now: int, expires_in: int | None
) -> Secret:
    kind, digest = prepared
    expires_at = now + expires_in if expires_in is not None else None
    secret = Secret(secrets.generate_id(), kind, 1, now, expires_at, None, digest)
    stores.add_secret(connection, client_pk, secret)
    return secret


def _random_client_id() -> str:
    return "client-" + random.token_hex(8)
