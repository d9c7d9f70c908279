"""Whether the process is up, and whether it can do its work."""

import flask

from issuer import stores
from issuer.db import STORE_ERRORS
from issuer.endpoints.endpoint import runtime
from issuer.registry import SnapshotTooOld
from keys.sealing import SealingError


def healthz() -> flask.Response:
    """200 while the process answers; touches nothing."""
    return flask.jsonify(status="up")


def readyz() -> tuple[flask.Response, int]:
    """200 when every check holds, else 503; names of checks only, nothing about keys or clients."""
    checks = {"database": False, "key_encryption_key": False, "root_realm": False, "snapshot": False}
    working = runtime()
    try:
        working.boot()
        with working.database.read() as connection:
            stores.now_at(connection)
        checks["database"] = True
        view = working.registry.realm("/")
        checks["snapshot"] = working.registry.age() < working.settings.rotation.snapshot_max_age
        checks["root_realm"] = bool(view and view.keys.signers)
        checks["key_encryption_key"] = bool(view and view.keys.unsealed)
    except (*STORE_ERRORS, SnapshotTooOld, SealingError):
        pass  # the check that raised stays false, which is the answer
    ready = all(checks.values())
    return flask.jsonify(status="ready" if ready else "not ready", checks=checks), 200 if ready else 503
