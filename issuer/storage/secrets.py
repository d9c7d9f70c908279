"""Statements over the secrets of clients."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, and_, bindparam, insert, or_, select, update

from issuer.secrets import Kind, Secret
from issuer.storage.rows import values_of
from issuer.storage.tables import client_secrets, clients, realms


def add(connection: Connection, client_pk: int, secret: Secret) -> None:
    """One more secret. An imported one marks its realm, whose junk is then worth a slow check."""
    values = {name: getattr(secret, name) for name in ("secret_id", "version", "digest", "created_at", "expires_at")}
    connection.execute(insert(client_secrets).values(**values, client_pk=client_pk, kind=str(secret.kind)))
    if secret.kind is Kind.IMPORTED:
        owner = select(clients.c.realm_id).where(clients.c.id == client_pk).scalar_subquery()
        connection.execute(update(realms).where(realms.c.id == owner).values(has_imported_secrets=True))


def owner(connection: Connection, realm_id: int, secret_id: str) -> str | None:
    """The client_id of the live client that has this secret, a revoked one too."""
    return connection.scalar(
        select(clients.c.client_id)
        .join(client_secrets, client_secrets.c.client_pk == clients.c.id)
        .where(client_secrets.c.secret_id == secret_id, clients.c.realm_id == realm_id, clients.c.deleted_at.is_(None))
    )


def expire_others(connection: Connection, client_pk: int, at: int, except_id: str) -> None:
    """Ends every other secret of a client at `at`, unless it ends sooner."""
    later = or_(client_secrets.c.expires_at.is_(None), client_secrets.c.expires_at > at)
    mine = and_(client_secrets.c.client_pk == client_pk, client_secrets.c.secret_id != except_id)
    connection.execute(update(client_secrets).where(mine, later).values(expires_at=at))


def revoke(connection: Connection, client_pk: int, secret_id: str, now: int) -> bool:
    """Ends one secret at once; whether there was such a live one."""
    done = connection.execute(
        update(client_secrets)
        .where(
            client_secrets.c.client_pk == client_pk,
            client_secrets.c.secret_id == secret_id,
            client_secrets.c.revoked_at.is_(None),
        )
        .values(revoked_at=now, digest=b"")
    )
    return done.rowcount == 1


def mark_used(connection: Connection, used: Iterable[tuple[str, int]]) -> None:
    """Last-used marks of secrets; never moves one backwards, never bumps the change log."""
    older = or_(client_secrets.c.last_used_at.is_(None), client_secrets.c.last_used_at < bindparam("at"))
    mine = client_secrets.c.secret_id == bindparam("mine")
    marks = [{"mine": secret_id, "at": at} for secret_id, at in used]
    connection.execute(update(client_secrets).where(mine, older).values(last_used_at=bindparam("at")), marks)


def secret(row: Any, prefix: str = "") -> Secret:
    """A row as the value it stands for; its columns may have a prefix where it is joined.

    Raises TypeError or ValueError for one that stands for none.
    """
    values = values_of(client_secrets, Secret.__dataclass_fields__, row, prefix)
    return Secret(**values | {"kind": Kind(values["kind"])})
