"""What is believed of the proxies that were named: where a request came from, and which certificate its client showed.

A header counts by who sent it, which is the peer of the connection and never what another header says.
"""

import threading
from collections.abc import Mapping
from typing import Any

from issuer import log
from issuer.certificate import CertificateHeader, Presented, of_connection
from issuer.peer import Network, is_within
from issuer.refusals import invalid_client
from realmint.protocol import Monotonic
from realmint.protocol.certificate_headers import CertificateError, from_header
from realmint.protocol.fork import in_forked_child

QUIET_SECONDS = 60
"""Least pause between two warnings of one process."""


class Proxies:
    """Made once, for every door. addresses: whose word on the client's address counts."""

    def __init__(self, addresses: tuple[Network, ...], header: CertificateHeader | None, monotonic: Monotonic) -> None:
        """header: None where no proxy hands on certificates."""
        self.addresses = addresses
        self._header = header
        self._key = f"HTTP_{header.name.upper().replace('-', '_')}" if header else ""
        self._monotonic = monotonic
        self._warned_at = float("-inf")
        self._forget_threads()
        in_forked_child(self._forget_threads)

    def _forget_threads(self) -> None:
        """In a forked child: a thread of the parent's may have been about to warn."""
        self._lock = threading.Lock()

    def certificate(self, environ: Mapping[str, Any]) -> Presented | None:
        """The one that the client showed; None without one.

        From a proxy that was named it is in the header or there is none: what such a proxy shows of itself is not its
        client's. From anybody else it is the connection's, and the header is not there. Raises invalid_client where the
        header of a proxy that was named holds none, or more than one.
        """
        header = self._header
        if header is None:
            return of_connection(environ)
        value: str | None = environ.get(self._key)
        if not is_within(environ, header.proxies):
            if value is not None:
                self._warn(environ)
            return of_connection(environ)
        if not value:  # some proxies set it empty where there is none
            return None
        try:
            return Presented(from_header(value, header.form), verified=False)
        except CertificateError as error:
            raise invalid_client(f"certificate_{error.reason}") from None

    def _warn(self, environ: Mapping[str, Any]) -> None:
        """Somebody makes a certificate up, or a proxy was forgotten."""
        now = self._monotonic()
        with self._lock:
            due = now - self._warned_at >= QUIET_SECONDS
            if due:
                self._warned_at = now
        if due:
            log.event("certificate_header_from_unlisted_peer", address=environ.get("REMOTE_ADDR"), level="WARNING")
