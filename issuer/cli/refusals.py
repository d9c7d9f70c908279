"""What the issuer's floor raises, as the agreed exit codes."""

from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from issuer.bootstrap import SETUP_COMMANDS
from issuer.clients import ClientIdError
from issuer.db import SchemaMissing
from issuer.provisioning import ClientNotFound, RealmNotFound
from issuer.realms import RealmPathError
from issuer.secrets import SecretRefused
from issuer.stores import NameTaken
from keys.console import Exit, Refused

if TYPE_CHECKING:
    from issuer.runtime import Runtime


def translate(error: Exception) -> Refused | None:
    """The refusal for `error`, or None for one that is a fault of ours."""
    if isinstance(error, RealmNotFound):
        return Refused("not_found", f"there is no realm {error}", Exit.NOT_FOUND)
    if isinstance(error, ClientNotFound):
        return Refused("not_found", f"there is no client {error}", Exit.NOT_FOUND)
    if isinstance(error, NameTaken):
        return Refused("already_exists", "there is one of this name already, or one that differs by case", Exit.USAGE)
    if isinstance(error, RealmPathError | ClientIdError | SecretRefused):
        return Refused("usage", str(error), Exit.USAGE)
    missing = SchemaMissing(None) if _lacks_tables(error) else error
    return schema_missing(None, missing) if isinstance(missing, SchemaMissing) else None


def _lacks_tables(error: Exception) -> bool:
    """Whether a statement met a database without our schema, on either engine."""
    if not isinstance(error, DBAPIError):
        return False
    return type(error.orig).__name__ == "UndefinedTable" or "no such table" in str(error.orig)


def schema_missing(runtime: "Runtime | None", error: SchemaMissing) -> Refused:
    """Says which commands set the database up."""
    commands = SETUP_COMMANDS if error.found is None else SETUP_COMMANDS[:1]
    if runtime is None or not runtime.settings.embedded:
        return Refused("no_schema", f"{error}; run: {' && '.join(commands)}", Exit.STORE)
    return Refused("no_schema", f"{error}; run: {SETUP_COMMANDS[0]}", Exit.STORE)
