"""Two nodes behind a balancer, one of which can be cut off from the database, and a few who watch."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import postgres
from tests.support.issuer import KEK
from tests.support.nginx import nginx
from tests.support.operator import operator
from tests.support.process import Deployment, free_port, post
from tests.support.relay import Relay, relay

READ = "--scope read --default-scope read"
ISSUER = "https://issuer.example/oauth2/realms/root"
BALANCER = """
events {{}}
http {{
    access_log off;
    proxy_cache_path {folder}/cache keys_zone=lists:1m;
    upstream nodes {{ server 127.0.0.1:{one}; server 127.0.0.1:{two}; }}
    server {{ listen 127.0.0.1:{plain}; location / {{ proxy_pass http://nodes; }} }}
    server {{
        listen 127.0.0.1:{cached};
        location / {{ proxy_pass http://nodes; proxy_cache lists; proxy_cache_revalidate on; }}
    }}
}}
"""


@dataclass(frozen=True)
class Times:
    """refresh: the nodes' SNAPSHOT_REFRESH. scale: what the APIs make of `ttl`, 10 s."""

    refresh: int
    scale: float

    @property
    def ttl(self) -> float:
        return 10 * self.scale

    @property
    def calm(self) -> float:
        """Within how many seconds every API knows: 14 by default."""
        return self.refresh + 1 + self.ttl + 1

    @property
    def cut_off(self) -> float:
        """The same with a node that does not reach the database behind the address: 20 by default."""
        return 3 * self.refresh + 1 + self.ttl + 1 + 2


SCALED, REAL = Times(1, 0.5), Times(2, 1)
MARGIN = 1.5
"""Seconds on top of a bound, for two busy cores."""


@dataclass
class Cluster:
    """Two nodes, the second of which reaches the database through a relay, behind a balancer with and without a cache."""

    nodes: list[Deployment]
    run: Callable[[str], Any]
    between: Relay
    plain: str
    cached: str
    times: Times

    @property
    def second(self) -> str:
        """Where the second node is reached, past the balancer."""
        return f"http://127.0.0.1:{self.nodes[1].port}"

    def token(self, client_id: str) -> str:
        """Of a new client, from the first node."""
        secret = self.run(f"clients create {client_id} {READ}")["client_secret"]
        issuer = f"http://127.0.0.1:{self.nodes[0].port}/oauth2/realms/root"
        answer = post(f"{issuer}/access_token", {"grant_type": "client_credentials"}, (client_id, secret))
        return str(answer.json()["access_token"])


@contextmanager
def cluster(folder: Path, server: postgres.Server, times: Times) -> Iterator[Cluster]:
    database = server.create_database()
    plain, cached = free_port(), free_port()
    with ExitStack() as stack:
        between = stack.enter_context(relay(server.socket))
        urls = {"one": server.url(database), "two": f"postgresql://realmint@127.0.0.1:{between.port}/{database}"}
        nodes = [
            Deployment(
                folder / name, DATABASE_URL=url, KEK=KEK, SNAPSHOT_REFRESH=str(times.refresh), LOG_LEVEL="ERROR",
                BASE_URL="https://issuer.example",
            )
            for name, url in urls.items()
        ]  # fmt: skip
        run = stack.enter_context(operator(nodes[0]))
        run("db upgrade")
        run("realms create /")
        for node in nodes:
            stack.enter_context(node.gunicorn("--workers 2"))
        text = BALANCER.format(folder=folder, one=nodes[0].port, two=nodes[1].port, plain=plain, cached=cached)
        stack.enter_context(nginx(folder, text, cached))
        yield Cluster(nodes, run, between, f"http://127.0.0.1:{plain}", f"http://127.0.0.1:{cached}", times)
