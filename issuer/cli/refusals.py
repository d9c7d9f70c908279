"""What the lower floors raise, as the agreed exit codes (interface section 5)."""

from sqlalchemy.exc import DBAPIError

from issuer.admin.refused import ChangeRefused, NotFound
from issuer.cli.console import NotShown, span
from issuer.cli.exits import NOT_SHOWN, Exit, Refused
from issuer.cli.setting_options import option_name
from issuer.clients import ClientIdError, ClientSettings
from issuer.credentials.public_key import KeysRefused
from issuer.realms import RealmPathError, RealmSettings
from issuer.secrets import SecretRefused
from issuer.slots import OutOfIndexes
from issuer.storage.engine import NameTaken
from issuer.storage.revision import SchemaMissing
from issuer.storage.rows import RowSpoilt
from keys.key import KeyRefused
from keys.names import NoSuchKey
from keys.plan import GateNotMet, RotationRefused, utc
from keys.sealing import SealingError
from keys.store import LostRace

_SAID: tuple[tuple[type[Exception], str, Exit, str], ...] = (
    (NotFound, "not_found", Exit.NOT_FOUND, "{}"),
    (NoSuchKey, "not_found", Exit.NOT_FOUND, "{}"),
    (NameTaken, "already_exists", Exit.EXISTS, "{}"),
    (RealmPathError, "usage", Exit.USAGE, "{}"),
    (ClientIdError, "usage", Exit.USAGE, "{}"),
    (SecretRefused, "usage", Exit.USAGE, "{}"),
    (OutOfIndexes, "used_up", Exit.USAGE, "{}"),
    (KeyRefused, "key_refused", Exit.USAGE, "{}"),
    (KeysRefused, "key_refused", Exit.USAGE, "{}"),
    (NotShown, NOT_SHOWN, Exit.FINDINGS, "the answer could not be written to standard output: {}; all else was done"),
    (LostRace, "lost_race", Exit.LOST_RACE, "another process changed these keys first; nothing was changed"),
    (SealingError, "wrong_kek", Exit.WRONG_KEK, "{}"),
    (RowSpoilt, "row_spoilt", Exit.STORE, "{}"),
    (DBAPIError, "store_unavailable", Exit.STORE, "the database cannot be used: {}"),
    (OSError, "store_unavailable", Exit.STORE, "a file cannot be used: {}"),
)
"""Of each kind its short code, its exit code and its sentence. The first that fits counts."""
_REFUSALS = {"no_standby": Exit.NOT_FOUND, "not_found": Exit.NOT_FOUND, "held": Exit.GATE}
"""Exit codes of refusals by the state machine; the others are usage."""


def refusal(error: Exception) -> Refused | None:
    """`error` as the refusal of a command, or None for a fault of ours."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, ChangeRefused):
        field = {} if error.field is None else {"field": error.field}
        return Refused(error.code, error.said_with(_as_option), Exit.USAGE, **field)
    if isinstance(error, RealmPathError | ClientIdError | SecretRefused):
        return Refused("usage", str(error), Exit.USAGE)
    if isinstance(error, RotationRefused):
        return _rotation(error)
    missing = SchemaMissing(None) if _lacks_tables(error) else error
    if isinstance(missing, SchemaMissing):
        return Refused("schema_newer" if missing.newer else "no_schema", str(missing), Exit.STORE)
    found = next((said for said in _SAID if isinstance(error, said[0])), None)
    return Refused(found[1], found[3].format(getattr(error, "orig", error)), found[2]) if found else None


def _rotation(error: RotationRefused) -> Refused:
    if not isinstance(error, GateNotMet):
        return Refused(error.error, str(error), _REFUSALS.get(error.error, Exit.USAGE))
    if error.retry_at is None:
        return Refused(error.error, str(error), Exit.GATE)
    left = error.retry_at - error.now
    message = (
        f"{error}; try from {utc(error.retry_at)} on (in {span(left)}), or pass the gate with --force --reason TEXT"
    )
    return Refused(error.error, message, Exit.GATE, retry_at=error.retry_at, retry_after=left)


def _as_option(setting: str) -> str:
    """What people type for a setting; a client's and a realm's are called alike."""
    for owner in (ClientSettings, RealmSettings):
        if setting in owner.__dataclass_fields__:
            return option_name(owner, setting)
    raise LookupError(setting)


def _lacks_tables(error: Exception) -> bool:
    """Whether a statement met a database without our schema, on either engine."""
    if not isinstance(error, DBAPIError):
        return False
    return type(error.orig).__name__ == "UndefinedTable" or "no such table" in str(error.orig)
