"""The same work by the issuers that others wrote: a token, signed where they sign."""

from collections.abc import Iterator
from urllib.parse import urlencode

from bench import load
from bench.figures import Run
from bench.load import Target, Wrong
from bench.peers import PEERS
from bench.peers.peer import FEW, Missing, Peer
from bench.servers import FORM, Servers
from bench.wrk import CONNECTIONS, Request

PART = "peers"


def install(run: Run) -> list[Peer]:
    """Those that are to be had here; of the others it is said why not."""
    found = []
    for peer in PEERS:
        run.tell(f"peers: {peer.name}, where it was not installed before")
        try:
            peer.installed()
        except Missing as missing:
            run.skip(PART, peer.name, str(missing))
        else:
            found.append(peer)
    return found


def targets(servers: Servers, run: Run, peers: list[Peer]) -> Iterator[Target]:
    for peer in peers:
        try:
            yield from [_target(servers, peer, alg) for alg in peer.algs]
        except (Missing, Wrong) as wrong:
            run.skip(PART, peer.name, str(wrong))


def _target(servers: Servers, peer: Peer, alg: str) -> Target:
    form = urlencode({"grant_type": "client_credentials", **peer.form(alg)})
    connections = FEW if alg in peer.few else CONNECTIONS
    request = Request(servers.peer(peer, alg) + peer.path, "POST", form, FORM, connections=connections)
    load.token(request, alg)
    return Target(PART, peer.name, alg, request, f"{peer.version}; {peer.note}", peer.warm_up)
