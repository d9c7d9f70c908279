"""The certificate that a client showed when it connected (RFC 8705 section 2), and where one may come from."""

import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple

from issuer.peer import Network

SHOWN = "realmint.client_certificate"
"""Where the environ holds what our own server's TLS was shown. No header comes there: those are under HTTP_*."""
_SOCKET = "gunicorn.socket"  # of gunicorn's own workers


class Presented(NamedTuple):
    """A certificate as it came. der: its bytes, which nobody has looked into.

    verified: the server's own TLS checked that an authority it trusts issued it, and that it was valid when the TLS
    session began, which a client may resume hours later: whether it is valid now is for who believes it to say. What a
    proxy hands on, the proxy checked, or nobody did.
    """

    der: bytes
    verified: bool

    def __repr__(self) -> str:
        return "<a client's certificate>"


class CertificateHeader(NamedTuple):
    """The header in which proxies hand on what they were shown. proxies: where they connect from. form: one of
    realmint.protocol.certificate_headers.FORMATS."""

    proxies: tuple[Network, ...]
    name: str
    form: str


def shown(tls: ssl.SSLObject | ssl.SSLSocket) -> Presented | None:
    """What the other side of a connection showed, once TLS is set up; None without one."""
    der = tls.getpeercert(binary_form=True)
    # Optional or required, one that does not hold ends the handshake.
    return Presented(der, tls.context.verify_mode != ssl.CERT_NONE) if der else None


def of_connection(environ: Mapping[str, Any]) -> Presented | None:
    """What the server's own TLS was shown, under our server and under gunicorn's workers; None without one."""
    found, sock = environ.get(SHOWN), environ.get(_SOCKET)
    if isinstance(found, Presented):
        return found
    return shown(sock) if isinstance(sock, ssl.SSLSocket) else None
