"""What a first start creates on the embedded database, once, however many processes start at the same time."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.exc import OperationalError

from issuer.admin import realms
from issuer.admin.change import Administration
from issuer.storage import clients as client_store
from issuer.storage import realms as realm_store
from issuer.storage import schema
from issuer.storage.engine import NameTaken
from issuer.storage.revision import SchemaMissing
from keys import store as key_store
from keys.audit import Actor
from keys.files import clear_leftovers
from keys.sealing import create_kek_file


def create_missing(
    administration: Administration, instance_path: Path, kek_path: Path | None, *, root_realm: bool
) -> None:
    """Schema, key-encryption key and root realm of the embedded database, each only when there is none.

    kek_path: where a key-encryption key may be made, None where one is given. Raises SchemaMissing for a schema of
    another version: an embedded database is never upgraded silently; and OperationalError where its folder cannot be
    used, as on a disk that is full or read-only.
    """
    try:
        with one_at_a_time(instance_path):
            _create_missing(administration, kek_path, root_realm=root_realm)
    except OSError as error:
        # A request that meets this is one that cannot be decided (503), as with any database that is out of reach.
        raise OperationalError("", None, error) from error


def _create_missing(administration: Administration, kek_path: Path | None, *, root_realm: bool) -> None:
    database = administration.database
    try:
        database.check_schema()
    except SchemaMissing as missing:
        if missing.found is not None:
            raise
        database.create_file()
        schema.upgrade(database)
    with database.read() as connection:
        any_key = key_store.any_key(connection)
        any_realm = realm_store.any_ever(connection)
    if not any_key and kek_path is not None:
        # Only while no key row exists: a missing one later is a fault, never a reason to make another.
        clear_leftovers(kek_path)
        create_kek_file(kek_path)
    if root_realm and not any_realm:
        with suppress(NameTaken):  # a command was first, which takes no lock of this folder
            realms.create(administration, "/", {}, first_start())


def first_start() -> Actor:
    """Who makes what nobody asked for by name."""
    return Actor("first start", secrets.token_hex(8))


def any_client(administration: Administration) -> bool:
    """Whether there ever was a client, one that is deleted included."""
    with administration.database.read() as connection:
        return client_store.any_ever(connection)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Other processes on this machine wait their turn; the lock ends with the process whatever happens."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
