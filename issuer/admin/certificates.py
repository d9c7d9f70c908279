"""Certificates as an administrator gives them: whether one can be registered, and what is kept of it."""

import binascii
import re
from base64 import b64decode

from issuer.admin.refused import ChangeRefused
from issuer.credentials import NamedSubject, OwnCertificate
from issuer.credentials.certificate import MOST_AUTHORITIES
from realmint.protocol.certificate_headers import CertificateError
from realmint.protocol.mtls import Certificate, certificate, is_subject

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


def own_certificate(raw: bytes) -> OwnCertificate:
    """The one certificate in a file, PEM or DER, that its own key signed. Raises ChangeRefused.

    Not checked: that it is valid now; it is when it is used.
    """
    (found,) = _read(raw, 1)
    if not found.self_issued:
        raise ChangeRefused(
            "an authority issued this certificate: register the name that it gives the client, such as --subject-dn"
        )
    return OwnCertificate(found.der)


def subject(kind: str, value: str, authorities: bytes | None) -> NamedSubject:
    """A name in a certificate, and the authorities (PEM) that may have given it. Raises ChangeRefused."""
    if not is_subject(f"tls_client_auth_{kind}", value):
        raise ChangeRefused(f"no certificate can have this {kind.replace('_', ' ')}")
    issuers = _read(authorities, MOST_AUTHORITIES) if authorities is not None else ()
    return NamedSubject(kind, value, tuple(each.der for each in issuers))


def _read(raw: bytes, most: int) -> list[Certificate]:
    if b"PRIVATE KEY-----" in raw:
        raise ChangeRefused("the file holds a private key, which nobody but its owner may have")
    try:
        ders = [b64decode(b"".join(text.split()), validate=True) for text in _PEM.findall(raw)] or [raw]
        if len(ders) > most:
            raise ChangeRefused(f"the file holds more than {most} certificate{'s' if most > 1 else ''}")
        return [certificate(der) for der in ders]
    except (CertificateError, binascii.Error):
        raise ChangeRefused("the file holds no certificate that can be read") from None
