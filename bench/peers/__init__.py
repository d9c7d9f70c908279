"""PEERS lists the issuers that ours is measured beside; a new one is a folder and a line here.

peer: what one is, and how it is installed. python_peer: what those in Python share. The folders: what each runs, with
its pins.
"""

from bench.peers import authlib, django, go, keycloak, node
from bench.peers.peer import Peer

PEERS: tuple[Peer, ...] = (node.PEER, go.PEER, keycloak.PEER, authlib.PEER, django.PEER)
