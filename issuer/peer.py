"""Who a request came from, for the log and for who is next where slow checks of secrets wait.

The peer of the connection, unless it is one of the networks that were named as proxies: then the newest address in
X-Forwarded-For that is none of them. Whatever an untrusted peer says of itself changes nothing (#22).
"""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(environ: Mapping[str, Any], trusted: Sequence[Network]) -> str | None:
    """The address of the client, or None where there is none, as behind a socket of this machine."""
    peer: str | None = environ.get("REMOTE_ADDR") or None
    if not trusted or not _within(peer, trusted):
        return peer
    hops = [hop.strip() for hop in str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",")]
    for hop in reversed(hops[-16:]):
        if _parse(hop) is None:
            return peer
        if not _within(hop, trusted):
            return hop
        peer = hop
    return peer


def _parse(text: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text or "")
    except ValueError:
        return None


def _within(text: str | None, trusted: Sequence[Network]) -> bool:
    address = _parse(text)
    return address is not None and any(address in network for network in trusted)
