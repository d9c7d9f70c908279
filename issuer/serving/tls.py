"""What the server's own TLS is made of, looked at before anything is served."""

import ssl
from dataclasses import dataclass

CIPHERS = "ECDHE+AESGCM"
"""With TLS 1.2 those alone that RFC 9325 section 4.2 recommends (BCP 195, FAPI 2.0 section 5.2.2); 1.3 has its own."""


class TLSUnusable(Exception):
    """It could not be served, or would not do what it says."""


@dataclass(frozen=True)
class TLS:
    """Names of PEM files, under gunicorn's names for them.

    ca_certs: authorities of clients' certificates. cert_reqs: whether clients show one: 0 never, 1 if they like, 2
    always; one of another authority, or that is not valid now, ends the handshake.
    """

    certfile: str | None = None
    keyfile: str | None = None  # where certfile holds no key
    ca_certs: str | None = None
    cert_reqs: int = 0

    def check(self) -> None:
        """Raises TLSUnusable."""
        if not self.certfile:
            if self.keyfile or self.ca_certs or self.cert_reqs:
                raise TLSUnusable("--keyfile, --ca-certs and --cert-reqs take --certfile beside them")
            return
        if bool(self.ca_certs) != bool(self.cert_reqs):
            # Without an authority nobody could come in, and without the other nobody would be asked.
            raise TLSUnusable("certificates of clients take --ca-certs and --cert-reqs 1 or 2, both")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        option = "--certfile with --keyfile"
        try:
            context.load_cert_chain(self.certfile, self.keyfile, password="")  # nobody is there to be asked
            option = "--ca-certs"
            if self.ca_certs:
                context.load_verify_locations(self.ca_certs)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise TLSUnusable(f"{option} cannot be used: {reason}") from None
