"""The certificate that a client showed when it connected (RFC 8705 section 2)."""

from typing import NamedTuple


class Presented(NamedTuple):
    """A certificate as it came. der: its bytes, which nobody has looked into.

    verified: the server's own TLS checked that an authority it trusts issued it; what a proxy hands on, the proxy
    checked, or nobody did.
    """

    der: bytes
    verified: bool

    def __repr__(self) -> str:
        return "<a client's certificate>"
