"""The production server (gunicorn): threads in a few processes, strict about headers, quiet about itself."""

import resource
import sys
from logging import Formatter
from typing import Any

from gunicorn import glogging

worker_class = "gthread"
# Most of them only ever wait for slow checks of secrets, which leave a quarter free for everything else.
threads = 32
keepalive = 5
timeout = 30
graceful_timeout = 30
# A worker that has no descriptor left to accept with ends, and every request in it: some are kept for other things.
worker_connections = max(64, min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 192))
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
# Addresses come from REALMINT_BASE_URL alone: no forwarded header changes scheme, path or anything else.
forwarded_allow_ips = ""
forwarder_headers = ""
header_map = "refuse"
accesslog = None
# A second door into the server, and a file in the home folder, which a container may not have.
control_socket_disable = True


class ServerLog(glogging.Logger):
    """gunicorn's own lines, in the form and through the handler of issuer/log.py (REALMINT_LOG_FORMAT)."""

    def __init__(self, cfg: Any) -> None:
        from app import create_app

        # Sets the log up, so that the first line has the right form already. Exits with 2 for unusable settings.
        create_app()
        super().__init__(cfg)

    def _set_handler(
        self,
        log: Any,
        output: str | None,
        fmt: Formatter,  # noqa: ARG002 - the base class's, for which ours stands
        stream: Any = None,
    ) -> None:
        """One handler for all lines; `--error-logfile FILE` and the access log, if wanted, keep theirs."""
        from issuer.log import formatter

        shared = log is self.error_log and output == "-"
        log.propagate = shared
        super()._set_handler(log, None if shared else output, formatter(), stream)


logger_class = ServerLog


def on_starting(server: Any) -> None:
    """Ends the start with one message before any worker: status 2 when the settings cannot be used, 7 for a wrong
    key-encryption key, 6 for a missing or newer schema. With a database that is merely away the server starts.
    """
    from click import ClickException

    from issuer.cli import check_before_serving

    try:
        # Made anew and let go of again: what a worker serves is made in the worker, unless --preload says otherwise.
        runtime = getattr(server.app.load(), "extensions", {}).get("realmint")
        if runtime is not None:  # gunicorn reads this file for whatever is started in this folder
            check_before_serving(runtime)
    except ClickException as refused:
        refused.show()
        sys.exit(refused.exit_code)


def post_worker_init(worker: Any) -> None:
    """Tells the issuer how many threads there are, so that slow checks leave some of them free."""
    runtime = getattr(worker.wsgi, "extensions", {}).get("realmint")
    if runtime is not None:
        runtime.served_by(worker.cfg.threads)
