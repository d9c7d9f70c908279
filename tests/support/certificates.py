"""Certificates of clients, self-signed: whatever a test wants in one."""

import datetime as dt
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from tests.support.clock import START

KEY = ec.generate_private_key(ec.SECP256R1())
CN, ORG, OU, C = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.COUNTRY_NAME
UTF8, PRINTABLE, BITS = _ASN1Type.UTF8String, _ASN1Type.PrintableString, _ASN1Type.BitString


def name(*rdns: Iterable[tuple[Any, ...]]) -> x509.Name:
    """RDNs in the order of a certificate, each of (OID, value[, string type]) tuples."""
    return x509.Name([x509.RelativeDistinguishedName([x509.NameAttribute(*one) for one in rdn]) for rdn in rdns])


def made(
    subject: x509.Name | None = None,
    sans: Iterable[x509.GeneralName] = (),
    usages: Iterable[x509.ObjectIdentifier] | None = None,
    key: Any = KEY,
    serial: int = 5,
) -> bytes:
    """DER, valid for a day from START on."""
    subject = name([(CN, "svc")]) if subject is None else subject
    start = dt.datetime.fromtimestamp(START, dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(serial)
        .not_valid_before(start).not_valid_after(start + dt.timedelta(days=1))
    )  # fmt: skip
    if entries := list(sans):
        builder = builder.add_extension(x509.SubjectAlternativeName(entries), critical=False)
    if usages is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
    signed = builder.sign(key, None if isinstance(key, Ed25519PrivateKey | Ed448PrivateKey) else hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def pem(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM).decode()


def as_nginx(der: bytes) -> str:
    """`$ssl_client_escaped_cert`: all but the unreserved characters is escaped."""
    return quote(pem(der), safe="")


def as_envoy(der: bytes, before: str = "", after: str = "") -> str:
    """Envoy escapes these five characters alone."""
    text = pem(der)
    for char in "\n +/=":
        text = text.replace(char, f"%{ord(char):02X}")
    return f'{before}Cert="{text}"{after}'
