"""Administrative changes on the log: one line each, after its commit (#209)."""

from typing import Any

from issuer import log
from issuer.runtime import Runtime


def log_change(runtime: Runtime, what: str, realm_path: str, **fields: Any) -> None:
    """Writes `what` was changed, such as client_disabled. A rehearsal changed nothing and says nothing."""
    if not runtime.database.rehearsing:
        log.event("changed", what=what, realm=realm_path, **fields)
