"""What a first start creates on the embedded database, once, however many processes start at the same time."""

import fcntl
import json
import os
import secrets
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select
from sqlalchemy.exc import OperationalError

from issuer import log, provisioning, schema, stores
from issuer.clients import Client
from issuer.db import SchemaMissing, clients, realms
from issuer.realms import Addresses
from keys import store as key_store
from keys.audit import Actor
from keys.console import is_terminal, tell
from keys.files import clear_leftovers, write_private
from keys.sealing import create_kek_file

if TYPE_CHECKING:
    from issuer.runtime import Runtime

FIRST_CLIENT = "myClient"
FIRST_SCOPE = "write"


def create_missing(runtime: "Runtime", *, root_realm: bool) -> None:
    """Schema, key-encryption key and root realm of the embedded database, each only when there is none.

    Raises SchemaMissing for a schema of another version: an embedded database is never upgraded silently; and
    OperationalError where its folder cannot be used, as on a disk that is full or read-only.
    """
    try:
        _create_missing(runtime, root_realm=root_realm)
    except OSError as error:
        # A request that meets this is one that cannot be decided (503), as with any database that is out of reach.
        raise OperationalError("", None, error) from error


def _create_missing(runtime: "Runtime", *, root_realm: bool) -> None:
    with _one_at_a_time(runtime.settings.instance_path):
        try:
            runtime.database.check_schema()
        except SchemaMissing as missing:
            if missing.found is not None:
                raise
            runtime.database.create_file()
            schema.upgrade(runtime.database)
        with runtime.database.read() as connection:
            any_key = key_store.any_key(connection)
            any_realm = connection.scalar(select(realms.c.id).limit(1)) is not None
        if not any_key and runtime.settings.keks is None:
            # Only while no key row exists: a missing one later is a fault, never a reason to make another.
            clear_leftovers(runtime.settings.kek_path)
            create_kek_file(runtime.settings.kek_path)
        if root_realm and not any_realm:
            with suppress(stores.NameTaken):  # a command was first, which takes no lock of this folder
                provisioning.create_realm(runtime, "/", {}, Actor("first start", secrets.token_hex(8)))
                log.event("changed", what="realm_created", realm="/")


def keks_in_use(connection: Connection) -> set[str]:
    """Identifiers of the key-encryption keys that the database needs."""
    return key_store.sealed_under(connection)


def first_client(runtime: "Runtime") -> None:
    """Under `flask run`, on an embedded database that never had a client: one to try things with.

    Prints a command that works as pasted. Where the output is no terminal, and so may be kept, the secret
    goes to a file of the owner's instead.
    """
    with _one_at_a_time(runtime.settings.instance_path):
        with runtime.database.read() as connection:
            if connection.scalar(select(clients.c.id).limit(1)) is not None:
                return
        path = None if is_terminal(sys.stdout) else runtime.settings.instance_path / "first-client.json"
        try:
            made = provisioning.create_client(
                runtime,
                "/",
                FIRST_CLIENT,
                lambda _: {"scopes": [FIRST_SCOPE]},
                hand_over=lambda made: _write_secret(path, made) if path else None,
            )
        except stores.NameTaken:  # a command was first, which takes no lock of this folder
            return
        log.event("changed", what="client_created", realm="/", client_id=FIRST_CLIENT, secret_id=made.stored.secret_id)
    assert made.secret is not None  # generated, not imported
    secret = made.secret
    if path is not None:
        log.event("first_client", client_id=FIRST_CLIENT, secret_in=str(path))
        tell(f"The secret of the first client is in {path}")
        reader = "import json, sys; print(json.load(open(sys.argv[1]))['client_secret'])"
        secret = f'$(python3 -c "{reader}" {shlex.quote(str(path))})'
    tell(_try_it(runtime, made.client, secret))


def first_client_unused(runtime: "Runtime") -> bool:
    """Whether an earlier start made the first client, and nobody has used it since: its secret may be lost."""
    with runtime.database.read() as connection:
        realm = stores.find_realm(connection, "/")
        client = stores.find_client(connection, realm.id, FIRST_CLIENT) if realm else None
    return client is not None and client.last_used_at is None


def _write_secret(path: Path, made: provisioning.NewSecret) -> None:
    path.unlink(missing_ok=True)
    content = {"client_id": made.client.client_id, "client_secret": made.secret}
    write_private(path, json.dumps(content).encode() + b"\n")


def _try_it(runtime: "Runtime", client: Client, secret: str) -> str:
    token_endpoint = Addresses(runtime.settings.base_url, "/").endpoint("/access_token")
    return "\n".join((
        "",
        "Realmint is ready. A first token:",
        "",
        "  curl --request POST \\",
        '    --data "grant_type=client_credentials" \\',
        f'    --data "client_id={client.client_id}" \\',
        f'    --data "client_secret={secret}" \\',
        f'    --data "scope={FIRST_SCOPE}" \\',
        f"    {token_endpoint}",
        "",
    ))  # fmt: skip


@contextmanager
def _one_at_a_time(directory: Path) -> Iterator[None]:
    """Other processes on this machine wait their turn; the lock ends with the process whatever happens."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
