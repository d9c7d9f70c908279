"""Certificates of clients as an issuer in this process is shown them, and authorities that issue some."""

import datetime as dt
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from issuer.certificate import SHOWN, Presented
from tests.support.clock import START
from tests.support.issuer import Issuer

DAY = 86400
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


class Authority:
    """One that may issue, unless `ca` is False; valid for `days` from START on."""

    def __init__(self, name: str = "Example CA", *, ca: bool = True, days: int = 365) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(self.name, self.name, self.key, START, START + days * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        self.der = _der(builder.sign(self.key, hashes.SHA256()))


def certificate(
    name: str | x509.Name,
    authority: Authority | None = None,
    *,
    key: Any = None,
    sans: list[x509.GeneralName] | None = None,
    usages: list[x509.ObjectIdentifier] | None = None,
    begins: int = START - DAY,
    ends: int = START + 30 * DAY,
) -> bytes:
    """DER of a client's certificate, which an authority issued or its own key signed."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) if isinstance(name, str) else name
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = _builder(subject, authority.name if authority else subject, key, begins, ends)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    if usages is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    signs = authority.key if authority else key
    return _der(builder.sign(signs, None if isinstance(signs, Ed25519PrivateKey) else hashes.SHA256()))


def pem(*ders: bytes) -> bytes:
    return b"".join(x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM) for der in ders)


def post_with(
    issuer: Issuer,
    der: bytes,
    form: dict[str, str],
    suffix: str = "/access_token",
    *,
    verified: bool = True,
    **more: Any,
) -> Any:
    """As over a connection on which this certificate was shown."""
    environ = {SHOWN: Presented(der, verified)}
    return issuer.http.post(issuer.address(suffix), data=form, environ_overrides=environ, **more)


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, begins: int, ends: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(issuer).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.fromtimestamp(begins, dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(ends, dt.UTC))
    )  # fmt: skip


def _der(made: x509.Certificate) -> bytes:
    return made.public_bytes(serialization.Encoding.DER)
