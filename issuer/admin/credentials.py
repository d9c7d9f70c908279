"""What an administrator can do to the credentials of a client that are no secrets: keys, and rules of trust."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from issuer.admin.change import Administration, Change, change, find_client, find_realm
from issuer.admin.refused import ChangeRefused, CredentialNotFound
from issuer.clients import Client
from issuer.credentials import Credential, Proof, PublicKey, generate_id
from issuer.credentials.public_key import KeysRefused, check_names
from issuer.realms import Realm
from issuer.storage import credentials as credential_store
from issuer.storage import ranges as range_store
from keys.audit import Actor

Kinds = Collection[type[Proof]]
MOST = 100
"""Credentials of all kinds that one client may have: it is loaded with all of them."""


@dataclass(frozen=True)
class Added:
    """Credentials that were just registered."""

    realm: Realm
    client: Client
    credentials: Sequence[Credential]


def of_client(
    administration: Administration, realm_path: str, client_id: str, kinds: Kinds
) -> tuple[Client, list[Credential]]:
    """A client and its credentials of these kinds that are not revoked. Raises RealmNotFound, ClientNotFound."""
    with administration.database.read() as connection:
        client = find_client(connection, find_realm(connection, realm_path), client_id)
    return client, _of(client, kinds)


def add(
    administration: Administration,
    realm_path: str,
    client_id: str,
    proofs: Sequence[Proof],
    actor: Actor,
    *,
    expires_in: int | None = None,
    overlap: int | None = None,
    others: Kinds = (),
    rehearse: bool = False,
) -> Added:
    """More credentials for a client, each of which ends after `expires_in` seconds and draws from a range of its own.

    overlap: after so many seconds its others of the kinds `others` end. Raises RealmNotFound, ClientNotFound,
    ChangeRefused, KeysRefused.
    """
    with change(
        administration, "credential_added", actor, realm_path, client_id=client_id, rehearse=rehearse
    ) as it:  # fmt: skip
        client = it.client()
        _check_fit(client, proofs, it.now)
        expires_at = it.now + expires_in if expires_in is not None else None
        made = [Credential(generate_id(type(proof)), it.now, expires_at, None, proof) for proof in proofs]
        for credential in made:
            _store(it, client.id, credential)
        if overlap is not None:
            mine, kinds = [each.credential_id for each in made], {kind.KIND for kind in others}
            credential_store.expire_others(it.connection, client.id, it.now + overlap, mine, kinds)
        named = [each.credential_id for each in made]
        it.said = {"credential_id": named, "expires_at": expires_at, "overlap": overlap}
        it.audited = {"credentials": [dict(proof.members()) for proof in proofs]}
        client = it.client()
    return Added(it.realm, client, made)


def revoke(
    administration: Administration,
    realm_path: str,
    client_id: str,
    name: str,
    kinds: Kinds,
    actor: Actor,
    *,
    keep_tokens: bool = False,
    rehearse: bool = False,
) -> Credential:
    """Ends one credential at once, and every token that it got, unless `keep_tokens`: those then go on to their expiry.

    name: its identifier, or of a key its `kid`. Raises RealmNotFound, ClientNotFound, CredentialNotFound.
    """
    action = "credential_revoked"
    with change(administration, action, actor, realm_path, client_id=client_id, rehearse=rehearse) as it:
        client = it.client()
        found = next((each for each in _of(client, kinds) if name in (each.credential_id, _kid(each))), None)
        if found is None:
            raise CredentialNotFound(client_id, name)
        credential_store.revoke(it.connection, client.id, found.credential_id, it.now, {kind.KIND for kind in kinds})
        end = range_store.drain if keep_tokens else range_store.end_of_credential
        end(it.connection, client.id, found.credential_id, it.now)
        it.said = {"credential_id": found.credential_id, "kid": _kid(found), "keep_tokens": keep_tokens or None}
    return found


def twins(added: Added) -> list[tuple[str, str]]:
    """The names of those just added that are the same key or certificate as one the client has, and that one's."""
    mine = {each.credential_id: _same(each.proof) for each in added.credentials}
    return [
        (_name(each), _name(other))
        for each in added.credentials
        for other in added.client.credentials
        if other.credential_id not in mine and other.live(each.created_at) and _same(other.proof) == _same(each.proof)
    ]


def _same(proof: Proof) -> object:
    """What makes two of them one and the same, whatever they are called."""
    return (PublicKey, proof.key.thumbprint) if isinstance(proof, PublicKey) else proof


def _name(credential: Credential) -> str:
    return _kid(credential) or credential.credential_id


def _of(client: Client, kinds: Kinds) -> list[Credential]:
    return [each for each in client.credentials if isinstance(each.proof, tuple(kinds))]


def _kid(credential: Credential) -> str | None:
    return credential.proof.kid if isinstance(credential.proof, PublicKey) else None


def _check_fit(client: Client, proofs: Sequence[Proof], now: int) -> None:
    """Raises ChangeRefused, KeysRefused."""
    if len(client.credentials) + len(client.secrets) + len(proofs) > MOST:
        raise ChangeRefused(f"a client has at most {MOST} credentials; revoke those that have ended")
    kids = [proof.kid for proof in proofs if isinstance(proof, PublicKey)]
    check_names(kids)
    live = {proof.kid for _, proof in client.proofs(PublicKey, now)}
    if live & set(kids):
        raise KeysRefused(f"{client.client_id} has a key of this kid already; two of one name nobody could tell apart")


def _store(it: Change, client_pk: int, credential: Credential) -> None:
    try:
        credential_store.add(it.connection, client_pk, credential)
    except ValueError as error:
        raise ChangeRefused(f"this cannot be registered: {error}") from None
    range_store.allot(it.connection, it.realm, client_pk, credential.credential_id)
