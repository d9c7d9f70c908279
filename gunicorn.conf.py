"""The production server (gunicorn): threads in a few processes, strict about headers, quiet about itself."""

worker_class = "gthread"
threads = 8
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
