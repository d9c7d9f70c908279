"""The production server (gunicorn): threads in a few processes, strict about headers, quiet about itself."""

from typing import Any

worker_class = "gthread"
# Most of them only ever wait for slow checks of secrets, which leave a quarter free for everything else.
threads = 32
keepalive = 5
timeout = 30
graceful_timeout = 30
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
# Addresses come from REALMINT_BASE_URL alone: no forwarded header changes scheme, path or anything else.
forwarded_allow_ips = ""
forwarder_headers = ""
header_map = "refuse"
accesslog = None


def on_starting(_server: object) -> None:
    """Ends the start with one message and status 2 when the settings cannot be used, before any worker."""
    from app import create_app

    create_app()


def post_worker_init(worker: Any) -> None:
    """Tells the issuer how many threads there are, so that slow checks leave some of them free."""
    runtime = getattr(worker.wsgi, "extensions", {}).get("realmint")
    if runtime is not None:
        runtime.verifier.served_by(worker.cfg.threads)
