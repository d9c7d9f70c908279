"""Tokens through `make serve` and gunicorn's gthread, with one worker and two, and the bare core with two."""

import secrets
from collections.abc import Iterator

from bench import load, token
from bench.load import ALGS, Target
from bench.servers import FORM, Servers
from bench.wrk import Request

PART = "served"
WORKERS = (1, 2)


def name(server: str, workers: int) -> str:
    return f"{server}, {workers} worker{'s' if workers > 1 else ''}"


def targets(servers: Servers) -> Iterator[Target]:
    for server, start in (("make serve", servers.ours), ("gthread", servers.gthread)):
        for workers in WORKERS:
            ours, who = start(workers), f"realmint, {name(server, workers)}"
            for alg in ALGS:
                request = ours.token_request(alg)
                load.token(request, alg)
                yield Target(PART, who, alg, request)
    secret = secrets.token_urlsafe()
    for server, base in servers.cores(2, secret):
        for alg in ALGS:
            request = Request(f"{base}/{alg}", "POST", token.form("svc", secret).decode(), FORM)
            load.token(request, alg)
            yield Target(PART, f"the bare core, {server}", alg, request)
