"""A token introspected by its client under `make serve`, two workers, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from urllib.parse import urlencode

from bench import load
from bench.figures import Run
from bench.load import Target, Wrong
from bench.servers import FORM, NO_POSTGRESQL, Ours, Servers
from bench.wrk import Request

PART = "introspection"
ALG = "ES256"


def targets(servers: Servers, run: Run) -> Iterator[Target]:
    yield _target("SQLite", servers.ours(2))
    on_postgresql = servers.on_postgresql(2)
    if on_postgresql is None:
        run.skip(PART, "PostgreSQL", NO_POSTGRESQL)
    else:
        yield _target("PostgreSQL", on_postgresql)


def _target(name: str, ours: Ours) -> Target:
    text = load.token(ours.token_request(ALG), ALG)
    form = urlencode({"token": text, "client_id": "svc", "client_secret": ours.secrets[ALG]})
    request = Request(ours.address(ALG, "introspect"), "POST", form, FORM)
    if load.ask(request).json()["active"] is not True:
        raise Wrong(f"a fresh token is not active on {name}")
    return Target(PART, name, ALG, request)
