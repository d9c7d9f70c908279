"""An issuer as Authlib's documentation shows it, under granian, two workers."""

from functools import partial
from pathlib import Path

from bench.peers import python_peer
from bench.peers.peer import Peer

HERE = Path(__file__).parent

PEER = Peer(
    "authlib",
    python_peer.version(HERE, "Authlib"),
    (HERE / "requirements.txt",),
    partial(python_peer.install, HERE),
    partial(python_peer.start, HERE),
    "/oauth/token",
    python_peer.form,
    few=("RS256",),  # its key is read, and an RSA key so checked, for each token
    note="granian, two workers; SQLite, a row for each token; RS256 over 2 connections",
)
