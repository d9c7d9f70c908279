"""What the issuer's floor raises, as the agreed exit codes."""

from typing import TYPE_CHECKING

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
    if isinstance(error, SchemaMissing):
        return schema_missing(None, error)
    return None


def schema_missing(runtime: "Runtime | None", error: SchemaMissing) -> Refused:
    """Says which commands set the database up."""
    commands = SETUP_COMMANDS if error.found is None else SETUP_COMMANDS[:1]
    if runtime is None or not runtime.settings.embedded:
        return Refused("no_schema", f"{error}; run: {' && '.join(commands)}", Exit.STORE)
    return Refused("no_schema", f"{error}; run: {SETUP_COMMANDS[0]}", Exit.STORE)
