"""One administrative change: its transaction, the change log, the audit row, and the log line after the commit.

Who makes a change through change() cannot forget any of them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from issuer import log
from issuer.admin.refused import ClientNotFound, RealmNotFound
from issuer.clients import Client
from issuer.realms import Realm
from issuer.setting import listed
from issuer.storage import clients as client_store
from issuer.storage import prune
from issuer.storage import realms as realm_store
from issuer.storage.changes import record_change
from issuer.storage.engine import Database
from keys import store as key_store
from keys.audit import Actor
from keys.audit_log import note
from keys.policy import RotationPolicy, read_clock
from keys.sealing import Sealer


@dataclass(frozen=True)
class Administration:
    """What is administered: the database, what seals keys in it, and how keys rotate."""

    database: Database
    sealer: Callable[[], Sealer]
    policy: RotationPolicy


@dataclass
class Change:
    """A change that is being made, within its transaction at `now`.

    realm: where it is made; who creates one says so. said: what the log line and the audit row tell besides.
    """

    connection: Connection
    now: int
    client_id: str | None
    realm: Realm = field(init=False)
    said: dict[str, Any] = field(default_factory=dict)
    audited: dict[str, Any] = field(default_factory=dict)
    """What only the audit row tells."""
    noted: bool = False
    """The audit row stands already."""
    nothing: bool = False
    """It is so already: nothing is recorded."""
    whole_realm: bool = False
    """Every process reads the realm anew, not the client alone."""
    recorded: bool = False
    """The change log was told already: of a token alone, for which nobody reads anything anew."""

    def client(self) -> Client:
        """The client as it stands now. Raises ClientNotFound."""
        assert self.client_id is not None
        return find_client(self.connection, self.realm, self.client_id)

    def details(self) -> Mapping[str, Any]:
        """What the audit row tells of the change."""
        told = self.said | self.audited
        return {name: listed(value) for name, value in told.items() if value is not None}


@contextmanager
def change(
    administration: Administration,
    action: str,
    actor: Actor,
    realm_path: str | None,
    *,
    client_id: str | None = None,
    rehearse: bool = False,
) -> Iterator[Change]:
    """A change of one realm, or of one client in it, such as client_disabled, by `actor`, who says why.

    What is looked at within the block is as it is at the commit; whatever raises there rolls everything back. Without
    `realm_path` the block makes the realm and puts it into the change. Raises RealmNotFound and one of STORE_ERRORS.
    rehearse: everything is checked, and nothing is kept.
    """
    database = administration.database
    with database.change(rehearse=rehearse) as connection:
        made = Change(connection, database.now(connection), client_id)
        if realm_path is not None:
            made.realm = find_realm(connection, realm_path)
        yield made
        if not made.nothing:
            if not made.recorded:
                record_change(connection, made.realm.id, client_id)
            if made.whole_realm:
                record_change(connection, made.realm.id)
            if not made.noted:
                target = client_id or made.realm.path
                note(connection, made.realm.id, action, target, actor, now=made.now, details=made.details())
                if not made.recorded:  # not beside one token, which somebody waits for
                    _prune(administration, connection, made)
    if not made.nothing and not rehearse:
        log.event("changed", what=action, realm=made.realm.path, **{"client_id": client_id, **made.said})


_FEW = 32


def _prune(administration: Administration, connection: Connection, made: Change) -> None:
    """A few dead rows go beside a change, so that none pile up where flask db prune never runs."""
    watermark = key_store.newest_watermark(connection, made.realm.id)
    reading = read_clock(made.now, watermark, administration.policy)
    if watermark and not reading.ahead and not reading.behind:
        prune.few(connection, made.now, administration.policy, _FEW)


def find_realm(connection: Connection, path: str) -> Realm:
    """The live realm. Raises RealmNotFound."""
    realm = realm_store.find(connection, path)
    if realm is None:
        raise RealmNotFound(path)
    return realm


def find_client(connection: Connection, realm: Realm, client_id: str) -> Client:
    """The live client. Raises ClientNotFound."""
    client = client_store.find(connection, realm.id, client_id)
    if client is None:
        raise ClientNotFound(client_id, realm.path)
    return client
