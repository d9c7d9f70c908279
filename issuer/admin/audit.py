"""What was changed, when, by whom and why, in every realm that ever was."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from issuer.admin.change import Administration
from issuer.admin.refused import RealmNotFound
from issuer.storage import realms as realm_store
from keys.audit import Entry
from keys.audit_log import audit_since, broken_chains


@dataclass(frozen=True)
class Audit:
    """Rows, oldest first; the paths of their realms by id; and from which row on the chain of a realm does not hold."""

    entries: Sequence[Entry]
    paths: Mapping[int, str]
    broken: Mapping[int, int]


def read(administration: Administration, since: Callable[[int], int], realm_path: str | None = None) -> Audit:
    """The audit of every realm, or of those that are or were at a path, from the instant that `since` makes of now.

    Whole chains are judged, whatever is shown. Raises RealmNotFound where there never was a realm.
    """
    database = administration.database
    with database.read() as connection:
        paths = realm_store.ever(connection)
        if realm_path is not None:
            paths = {realm_id: path for realm_id, path in paths.items() if path == realm_path}
            if not paths:
                raise RealmNotFound(realm_path)
        entries = [entry for entry, _ in audit_since(connection, since(database.now(connection)))]
        broken = broken_chains(connection)
    if realm_path is not None:
        entries = [entry for entry in entries if entry.realm_id in paths]
        broken = {realm_id: seq for realm_id, seq in broken.items() if realm_id in paths}
    return Audit(entries, paths, broken)
