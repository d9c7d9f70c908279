"""django-oauth-toolkit under granian, two workers: the nearest relative in Python."""

from functools import partial
from pathlib import Path

from bench.peers import python_peer
from bench.peers.peer import SECRET, Peer

HERE = Path(__file__).parent


def form(secrets: str) -> dict[str, str]:
    return {"client_id": secrets, "client_secret": SECRET, "scope": "read"}


PEER = Peer(
    "django-oauth-toolkit",
    python_peer.version(HERE, "django-oauth-toolkit"),
    (HERE / "requirements.txt",),
    partial(python_peer.install, HERE),
    partial(python_peer.start, HERE),
    "/o/token/",
    form,
    algs=("hashed", "plain"),  # how it keeps secrets: it signs nothing
    one_for_all=True,
    few=("hashed",),
    note="granian, two workers; SQLite; opaque tokens; secrets hashed by PBKDF2, over 2 connections, or kept plain",
)
