"""What an administrator can do to the secrets of a client."""

from dataclasses import dataclass, field
from secrets import token_bytes

from issuer import secrets
from issuer.admin.change import Administration, Change, change, find_client, find_realm
from issuer.admin.refused import ClientNotFound, SecretNotFound
from issuer.clients import Client
from issuer.realms import Realm
from issuer.secrets import Kind, Secret
from issuer.storage import credentials as credential_store
from issuer.storage import ranges as range_store
from keys.audit import Actor


@dataclass(frozen=True)
class NewSecret:
    """A secret that was just made; its text is known now and never again, and not at all of an imported one. stored:
    None for a client without."""

    stored: Secret | None
    client: Client
    realm: Realm
    secret: str | None = field(repr=False)

    @property
    def secret_id(self) -> str | None:
        """What it is called."""
        return self.stored.secret_id if self.stored is not None else None


@dataclass(frozen=True)
class Prepared:
    """A secret that is not stored yet. The slow digest is computed outside any transaction."""

    kind: Kind
    digest: bytes = field(repr=False)
    generated: str | None = field(repr=False)


def prepare(imported: str | None, salt: bytes) -> Prepared:
    """An imported secret, or else a generated one. Raises SecretRefused."""
    if imported is None:
        text = secrets.generate()
        return Prepared(Kind.GENERATED, secrets.digest(text, Kind.GENERATED, salt), text)
    text = secrets.check_importable(imported)
    return Prepared(Kind.IMPORTED, secrets.digest(text, Kind.IMPORTED, salt), None)


def store(it: Change, client_pk: int, prepared: Prepared, expires_in: int | None) -> Secret:
    """Within a change: one more secret of a client, which ends after `expires_in` seconds, and what it draws from."""
    expires_at = it.now + expires_in if expires_in is not None else None
    secret = Secret(secrets.generate_id(), prepared.kind, 1, it.now, expires_at, None, prepared.digest)
    credential_store.add_secret(it.connection, client_pk, secret)
    range_store.allot(it.connection, it.realm, client_pk, secret.secret_id)
    return secret


def new_salt() -> bytes:
    """For the imported secrets of a new client."""
    return token_bytes(secrets.SALT_BYTES)


def of_client(administration: Administration, realm_path: str, client_id: str) -> tuple[Secret, ...]:
    """The secrets of a client that are not revoked. Raises RealmNotFound, ClientNotFound."""
    with administration.database.read() as connection:
        return find_client(connection, find_realm(connection, realm_path), client_id).secrets


def add(
    administration: Administration,
    realm_path: str,
    client_id: str,
    actor: Actor,
    *,
    imported: str | None = None,
    expires_in: int | None = None,
    overlap: int | None = None,
    rehearse: bool = False,
) -> NewSecret:
    """One more secret for a client; with `overlap`, its others end after that many seconds.

    Raises RealmNotFound, ClientNotFound, SecretRefused.
    """
    with administration.database.read() as connection:
        salt = find_client(connection, find_realm(connection, realm_path), client_id).secret_salt
    prepared = prepare(imported, salt)
    with change(
        administration, "secret_added", actor, realm_path, client_id=client_id, rehearse=rehearse
    ) as it:  # fmt: skip
        client = it.client()
        if client.secret_salt != salt:
            raise ClientNotFound(client_id, realm_path)  # deleted and made anew while the digest was computed
        stored = store(it, client.id, prepared, expires_in)
        if overlap is not None:
            credential_store.expire_others(
                it.connection, client.id, it.now + overlap, (stored.secret_id,), credential_store.SECRETS
            )
        it.whole_realm = imported is not None and not it.realm.has_imported_secrets
        it.said = {"secret_id": stored.secret_id, "expires_at": stored.expires_at, "overlap": overlap}
        client = it.client()
    return NewSecret(stored, client, it.realm, prepared.generated)


def revoke(
    administration: Administration,
    realm_path: str,
    client_id: str,
    secret_id: str,
    actor: Actor,
    *,
    keep_tokens: bool = False,
    rehearse: bool = False,
) -> None:
    """Ends one secret at once, and every token that it got, unless `keep_tokens`: those then go on to their expiry.

    Raises RealmNotFound, ClientNotFound, SecretNotFound.
    """
    with change(administration, "secret_revoked", actor, realm_path, client_id=client_id, rehearse=rehearse) as it:
        client = it.client()
        if not credential_store.revoke(it.connection, client.id, secret_id, it.now, credential_store.SECRETS):
            raise SecretNotFound(client_id, secret_id)
        end = range_store.drain if keep_tokens else range_store.end_of_credential
        end(it.connection, client.id, secret_id, it.now)
        it.said = {"secret_id": secret_id, "keep_tokens": keep_tokens or None}
