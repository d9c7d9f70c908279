"""What the issuer's floor raises, as the agreed exit codes."""

from sqlalchemy.exc import DBAPIError

from issuer.clients import ClientIdError
from issuer.db import SchemaMissing
from issuer.provisioning import ChangeRefused, ClientNotFound, RealmNotFound
from issuer.realms import RealmPathError
from issuer.secrets import SecretRefused
from issuer.stores import NameTaken
from keys.console import Exit, Refused


def translate(error: Exception) -> Refused | None:
    """The refusal for `error`, or None for one that is a fault of ours."""
    if isinstance(error, RealmNotFound):
        return Refused("not_found", f"there is no realm {error}", Exit.NOT_FOUND)
    if isinstance(error, ClientNotFound):
        return Refused("not_found", f"there is no client {error}", Exit.NOT_FOUND)
    if isinstance(error, NameTaken):
        return Refused("already_exists", str(error), Exit.EXISTS)
    if isinstance(error, RealmPathError | ClientIdError | SecretRefused | ChangeRefused):
        return Refused("usage", str(error), Exit.USAGE)
    missing = SchemaMissing(None) if _lacks_tables(error) else error
    return schema_missing(missing) if isinstance(missing, SchemaMissing) else None


def _lacks_tables(error: Exception) -> bool:
    """Whether a statement met a database without our schema, on either engine."""
    if not isinstance(error, DBAPIError):
        return False
    return type(error.orig).__name__ == "UndefinedTable" or "no such table" in str(error.orig)


def schema_missing(error: SchemaMissing) -> Refused:
    """One sentence, whichever command or server meets it."""
    return Refused("schema_newer" if error.newer else "no_schema", str(error), Exit.STORE)
