"""Which addresses are one caller's, where callers take turns."""

import ipaddress
from functools import lru_cache

_IPV6_SITE = 48
"""Bits of an IPv6 address that name a site: one owner may have every network behind them (RFC 6177 section 2)."""


@lru_cache(4096)  # asked for each token
def origin_of(address: str | None) -> str:
    """The caller behind an address: an IPv4 address, the /48 of an IPv6 one, or one for all that have none."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _IPV6_SITE), strict=False))
