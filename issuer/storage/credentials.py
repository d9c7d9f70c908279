"""Statements over the credentials of clients: secrets, and what is no secret."""

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Connection, and_, bindparam, insert, or_, select, update

from issuer.credentials import PROOFS_BY_KIND, Credential
from issuer.credentials.credential import read, written
from issuer.secrets import Kind, Secret
from issuer.storage.rows import values_of
from issuer.storage.tables import client_credentials, clients, realms

SECRETS = frozenset(map(str, Kind))
"""The kinds that are secrets."""
_COLUMNS = ("credential_id", "kind", "version", "created_at", "expires_at", "last_used_at", "material")
_FIRST_VERSION = 1


def add_secret(connection: Connection, client_pk: int, secret: Secret) -> None:
    """One more secret. An imported one marks its realm, whose junk is then worth a slow check."""
    _add(
        connection, client_pk, secret.secret_id, str(secret.kind), secret.version, secret.digest, secret.created_at,
        secret.expires_at,
    )  # fmt: skip
    if secret.kind is Kind.IMPORTED:
        owner = select(clients.c.realm_id).where(clients.c.id == client_pk).scalar_subquery()
        connection.execute(update(realms).where(realms.c.id == owner).values(has_imported_secrets=True))


def add(connection: Connection, client_pk: int, credential: Credential) -> None:
    """One more credential that is no secret. Raises ValueError for one that is too long."""
    _add(
        connection, client_pk, credential.credential_id, credential.proof.KIND, _FIRST_VERSION,
        written(credential.proof), credential.created_at, credential.expires_at,
    )  # fmt: skip


def owner(connection: Connection, realm_id: int, credential_id: str) -> str | None:
    """The client_id of the live client that has this credential, a revoked one too."""
    mine = client_credentials.c.credential_id == credential_id
    return connection.scalar(
        select(clients.c.client_id)
        .join(client_credentials, client_credentials.c.client_pk == clients.c.id)
        .where(mine, clients.c.realm_id == realm_id, clients.c.deleted_at.is_(None))
    )


def expire_others(
    connection: Connection, client_pk: int, at: int, except_ids: Collection[str], kinds: Iterable[str]
) -> None:
    """Ends every other credential of these kinds of a client at `at`, unless it ends sooner."""
    later = or_(client_credentials.c.expires_at.is_(None), client_credentials.c.expires_at > at)
    others = client_credentials.c.credential_id.not_in(except_ids)
    mine = and_(client_credentials.c.client_pk == client_pk, client_credentials.c.kind.in_(list(kinds)), others)
    connection.execute(update(client_credentials).where(mine, later).values(expires_at=at))


def revoke(connection: Connection, client_pk: int, credential_id: str, now: int, kinds: Iterable[str]) -> bool:
    """Ends one credential at once, of one of these kinds; whether there was such a live one."""
    done = connection.execute(
        update(client_credentials)
        .where(
            client_credentials.c.client_pk == client_pk,
            client_credentials.c.credential_id == credential_id,
            client_credentials.c.kind.in_(list(kinds)),
            client_credentials.c.revoked_at.is_(None),
        )
        .values(revoked_at=now, material=b"")
    )
    return done.rowcount == 1


def mark_used(connection: Connection, used: Iterable[tuple[str, int]]) -> None:
    """Last-used marks of credentials; never moves one backwards, never bumps the change log."""
    older = or_(client_credentials.c.last_used_at.is_(None), client_credentials.c.last_used_at < bindparam("at"))
    mine = client_credentials.c.credential_id == bindparam("mine")
    marks = [{"mine": credential_id, "at": at} for credential_id, at in used]
    connection.execute(update(client_credentials).where(mine, older).values(last_used_at=bindparam("at")), marks)


def value(row: Any, prefix: str = "") -> Secret | Credential:
    """A row as the value it stands for; its columns may have a prefix where it is joined.

    Raises TypeError or ValueError for one that stands for none, LookupError for one of a kind that there is not.
    """
    found = values_of(client_credentials, _COLUMNS, row, prefix)
    named, kind, material = found["credential_id"], found["kind"], found["material"]
    dates = (found["created_at"], found["expires_at"], found["last_used_at"])
    if kind in SECRETS:
        return Secret(named, Kind(kind), found["version"], *dates, material)
    return Credential(named, *dates, read(PROOFS_BY_KIND[kind], material))


def _add(
    connection: Connection, client_pk: int, credential_id: str, kind: str, version: int, material: bytes,
    created_at: int, expires_at: int | None,
) -> None:  # fmt: skip
    values = {"credential_id": credential_id, "kind": kind, "version": version, "material": material}
    dates = {"created_at": created_at, "expires_at": expires_at}
    connection.execute(insert(client_credentials).values(**values, **dates, client_pk=client_pk))
