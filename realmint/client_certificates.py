"""Where an API finds the certificate that a client showed (RFC 8705 section 3): its own server, or a named proxy."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeAlias
from urllib.parse import quote

from realmint.arrivals import Arrival
from realmint.protocol.certificate_headers import FORMATS, CertificateError, from_header

UNIX = "unix"
"""In place of a network: whoever connects by a socket of this machine, and so has no address."""
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAME = re.compile(r"[A-Za-z0-9-]+")
_read = lru_cache(maxsize=64)(from_header)  # a client shows the same one with each request


@dataclass(frozen=True)
class ClientCertificates:
    """Whose word counts for the certificate of a client.

    Without more, that of the server that runs the application, where it ends TLS itself. proxies: networks
    ("10.1.0.0/24", "unix" for a socket of this machine) from which the header counts, and nothing else does then;
    header: its name; format: `rfc9440`, `nginx`, `envoy` or `haproxy`. All three or none. The proxy must take away what
    clients send under that name, under its spelling with underscores too, and the server must see the proxy itself as
    the peer. Raises ValueError.

    A certificate that is not in that format, or comes twice, counts as none. Not checked: its issuer and its times,
    which are for what ended TLS.
    """

    proxies: Sequence[str] = ()
    header: str | None = None
    format: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.proxies, str):
            raise ValueError("ClientCertificates: proxies is a list of networks")  # noqa: TRY004 - as every other
        if len({bool(self.proxies), self.header is not None, self.format is not None}) > 1:
            raise ValueError("ClientCertificates: proxies, header and format go together")
        if self.header is not None and not _NAME.fullmatch(self.header):
            raise ValueError(f"ClientCertificates: header must be the name of one, not {self.header!r}")
        if self.format is not None and self.format not in FORMATS:
            raise ValueError(f"ClientCertificates: format must be one of {', '.join(FORMATS)}, not {self.format!r}")
        _ = self._networks

    def of(self, arrival: Arrival) -> bytes | None:
        """The certificate of a request, DER."""
        try:
            if self._is_proxy(arrival.peer()):
                values = arrival.header(self.header or "")
                return _read(values[0], self.format or "") if len(values) == 1 else None
            shown = arrival.certificate()
            return _read(quote(shown, safe=""), "nginx") if isinstance(shown, str) else shown
        except CertificateError:
            return None

    @cached_property
    def _networks(self) -> tuple[Network, ...]:
        try:
            return tuple(ipaddress.ip_network(one) for one in self.proxies if one != UNIX)
        except ValueError as fault:
            raise ValueError(f"ClientCertificates: proxies: {fault}") from None

    def _is_proxy(self, peer: str | None) -> bool:
        if peer is None:
            return UNIX in self.proxies
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address  # what listens on :: sees IPv4 so
        return any(address in network for network in self._networks)
