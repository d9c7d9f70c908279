"""The production server (gunicorn): a few processes, strict about headers, quiet about itself."""

import sys
from logging import Formatter
from typing import Any

from gunicorn import glogging

from issuer.serving.limits import Limits, within_descriptors
from issuer.serving.tls import CIPHERS, TLS, TLSUnusable

_LIMITS = Limits()

# One thread answers, and these do what has to wait: most only ever for slow checks of secrets, which leave a quarter
# free for everything else.
worker_class = "issuer.serving.worker.Worker"
threads = 32
backlog = _LIMITS.backlog
keepalive = 5  # of --worker-class gthread; ours has times of its own
timeout = 30
graceful_timeout = 30
# A worker that has no descriptor left to accept with could neither serve nor stop: some are kept for other things.
worker_connections = within_descriptors(_LIMITS.connections)
limit_request_line = _LIMITS.request_line
limit_request_fields = _LIMITS.fields
limit_request_field_size = _LIMITS.field_size
# Addresses come from REALMINT_BASE_URL alone: no forwarded header changes scheme, path or anything else.
forwarded_allow_ips = ""
forwarder_headers = ""
header_map = "refuse"
accesslog = None
ciphers = CIPHERS
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
    """Ends the start with one message before any worker: status 2 when the settings or the server's certificates cannot
    be used, 7 for a wrong key-encryption key, 6 for a missing or newer schema. With a database that is merely away the
    server starts.
    """
    from click import ClickException, UsageError

    from issuer.cli import check_before_serving

    cfg = server.cfg
    try:
        try:
            TLS(cfg.certfile, cfg.keyfile, cfg.ca_certs, cfg.cert_reqs).check()
        except TLSUnusable as unusable:
            raise UsageError(str(unusable)) from None
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
