"""Who a request came from, for the log and for who is next where slow checks of secrets wait.

The peer of the connection, unless it is one of the networks that were named as proxies: then the newest address in
X-Forwarded-For that is none of them. Whatever an untrusted peer says of itself changes nothing (#22).
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# [2001:db8::1], [2001:db8::1]:443; 192.0.2.1, 192.0.2.1:443; 2001:db8::1.
_WRITTEN = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?|([0-9.]{7,15})(?::[0-9]{1,5})?|([0-9A-Fa-f:.]{2,45})")


def client_address(environ: Mapping[str, Any], trusted: Sequence[Network]) -> str | None:
    """The address of the client, or None where there is none, as behind a socket of this machine."""
    peer: str | None = environ.get("REMOTE_ADDR") or None
    if not trusted and not (peer or "").startswith("::"):
        return peer  # every token passes here: what needs no parsing is not parsed
    address = _address(peer)
    if address is None or not _within(address, trusted):
        return str(address) if address is not None else peer
    for hop in reversed(str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",")[-16:]):
        said = _address(hop.strip())
        if said is None:
            break
        address = said
        if not _within(address, trusted):
            break
    return str(address)


def is_within(environ: Mapping[str, Any], networks: Sequence[Network]) -> bool:
    """Whether the connection itself comes from one of these networks, whatever any header says.

    A peer without an address, as behind a socket of this machine, is in none.
    """
    address = _address(environ.get("REMOTE_ADDR"))
    return address is not None and _within(address, networks)


def _address(text: str | None) -> Address | None:
    """An address as peers and proxies write it: bare, with a port, in brackets, or an IPv4 one inside IPv6."""
    match = _WRITTEN.fullmatch(text or "")
    try:
        address = ipaddress.ip_address(match[1] or match[2] or match[3] if match else "")
    except ValueError:
        return None
    # What listens on :: sees every IPv4 peer as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2).
    return getattr(address, "ipv4_mapped", None) or address


def _within(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)
