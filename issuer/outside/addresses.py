"""Which addresses outside may be asked (RFC 9700 section 4.11, RFC 7591 section 5): public ones, and named others.

An administrator names where keys are, and whoever answers under that name decides where it leads. So it is the address
that a connection is made to that counts, looked up for that connection alone: a name that leads elsewhere a moment
later leads nowhere.
"""

import ipaddress
import socket
from collections.abc import Callable, Collection, Sequence
from typing import Any
from urllib.parse import urlsplit

from issuer import log

Resolve = Callable[..., Sequence[Any]]
"""Answers as socket.getaddrinfo does, to the same arguments."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052 section 2.1
# All that anybody was ever given of IPv6 (RFC 4291 section 2.4). What lies beside it is of old forms that carry IPv4
# addresses, or of one site alone, and not every version of Python knows them all.
_UNICAST = ipaddress.ip_network("2000::/3")
_NOBODYS = (ipaddress.ip_network("3fff::/20"), ipaddress.ip_network("192.88.99.0/24"))  # RFC 9637, RFC 7526
_HTTPS = 443
_LOW = 1024
"""Below it services listen that are no web servers, and may take what is said to them for something else."""


class Guarded:
    """Looks names up as socket.getaddrinfo does, and refuses those that lead into a private network.

    internal: hosts, `name` or `name:port`, in lower case and IPv6 addresses in brackets, that may be asked wherever
    they are. resolve: who is asked where a name leads.
    """

    def __init__(self, internal: Collection[str], resolve: Resolve = socket.getaddrinfo) -> None:
        self._internal = frozenset(internal)
        self._resolve = resolve

    def __call__(self, host: str, port: int, **more: Any) -> Sequence[Any]:
        """Raises OSError for a host that may not be asked, or that cannot be found."""
        if self._is_named(host, port):
            return self._resolve(host, port, **more)
        if port != _HTTPS and port < _LOW:
            raise self._refused(host, "port")
        found = self._resolve(host, port, **more)
        if not all(is_public(str(each[4][0])) for each in found):
            raise self._refused(host, "private_address")
        return found

    def fault(self, url: str) -> str | None:
        """Why an address can never be asked, as far as that can be told without looking its name up."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        port = parts.port if parts.port is not None else _HTTPS if parts.scheme == "https" else 80
        if self._is_named(host, port):
            return None
        if port != _HTTPS and port < _LOW:
            return "a port below 1024 other than 443"
        name = host.rstrip(".")
        if name == "localhost" or name.endswith(".localhost"):
            return "this machine"
        address = _address_of(name)
        return None if address is None or is_public(address) else "a private address"

    def _is_named(self, host: str, port: int) -> bool:
        name = host.lower().strip("[]")
        if ":" in name:  # in brackets as in a URL, or the port of one were the end of another
            name = f"[{name}]"
        return name in self._internal or f"{name}:{port}" in self._internal

    def _refused(self, host: str, why: str) -> OSError:
        log.event("outside_address_refused", host=host[:255], reason=why, level="WARNING")
        return OSError(f"{why} may not be asked")


def _address_of(host: str) -> str | None:
    """The address that a host is, in whatever way it is written; None for a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))  # 2130706433, 0x7f.1: resolvers read them so
    except OSError:
        return None


def is_public(text: str) -> bool:
    """Whether an address belongs to nobody's own network: what an IPv6 address carries of IPv4 counts."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address not in _UNICAST:
            return False
    if any(address in network for network in _NOBODYS if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast
