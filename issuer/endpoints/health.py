"""Whether the process is up, and whether it can do its work."""

from collections.abc import Callable

from issuer.answer import Answer, document
from issuer.registry.view import SnapshotTooOld
from issuer.runtime import Runtime
from issuer.storage import changes
from issuer.storage.engine import STORE_ERRORS
from issuer.storage.rows import RowSpoilt
from keys.sealing import SealingError


def healthz() -> Answer:
    """200 while the process answers; touches nothing."""
    return document(200, {"status": "up"})


def readyz(working: Runtime) -> Answer:
    """200 when every check holds, else 503; names of checks only, nothing about keys or clients.

    Each check stands for itself: one fault is not blamed on what is sound.
    """
    _holds(working, _booted)
    checks = {name: _holds(working, check) for name, check in _CHECKS.items()}
    if working.registry.measures().restore_pending:
        checks["history"] = False  # named only then: an older backup came back, and the log says what to do
    ready = all(checks.values())
    return document(200 if ready else 503, {"status": "ready" if ready else "not ready", "checks": checks})


def _holds(working: Runtime, check: Callable[[Runtime], bool]) -> bool:
    try:
        return check(working)
    except (*STORE_ERRORS, SnapshotTooOld, SealingError, RowSpoilt):
        return False  # which is the answer


def _booted(working: Runtime) -> bool:
    working.boot()
    return True


def _database(working: Runtime) -> bool:
    with working.database.read() as connection:
        changes.now_at(connection)
    return True


def _key_encryption_key(working: Runtime) -> bool:
    """There is one, it is that of every private half in use, and the root realm's open under it.

    With the database away, what was opened before is what is known.
    """
    working.sealer()
    try:
        working.check_key_encryption_key()
        view = working.registry.realm("/", for_signing=False)
    except STORE_ERRORS:
        view = working.registry.held("/")
    return view is None or view.keys.unsealed


def _root_realm(working: Runtime) -> bool:
    view = working.registry.realm("/", for_signing=False)
    return view is not None and view.realm.enabled and bool(view.keys.signers)


def _snapshot(working: Runtime) -> bool:
    return working.registry.age() < working.settings.policy.snapshot_max_age


_CHECKS: dict[str, Callable[[Runtime], bool]] = {
    "database": _database,
    "key_encryption_key": _key_encryption_key,
    "root_realm": _root_realm,
    "snapshot": _snapshot,
}
