"""Certificates for servers of the tests."""

import datetime as dt
import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = "127.0.0.1"
DAY = dt.timedelta(days=1)


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """A certificate for the host and for 127.0.0.1, which is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = _builder(host, host, key, [host, HERE], DAY).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    return _written(folder, made.sign(key, hashes.SHA256()), key)


class TLSSocket(ssl.SSLSocket):
    """ssl's own leaves open what the other side reset before TLS began, for the collector to find in another test."""

    def getpeername(self) -> Any:
        try:
            return super().getpeername()
        except OSError:
            self.close()
            raise ConnectionResetError from None


class Authority:
    """A private authority, whose certificate is `file`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        made = _builder("Authority", "Authority", self._key, [], 30 * DAY).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.file, _ = _written(folder / "authority", made.sign(self._key, hashes.SHA256()), self._key)

    def certificate(
        self, *names: str, ends: dt.timedelta = DAY, usage: x509.ObjectIdentifier | None = None
    ) -> tuple[Path, Path]:
        """A certificate for the names and its key. ends: from now, negative for an expired one."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(names[0], "Authority", key, names, ends)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        made = builder.sign(self._key, hashes.SHA256())
        return _written(self._folder / f"{names[0]}{ends.total_seconds():.0f}", made, key)


def _builder(
    name: str, issuer: str, key: ec.EllipticCurvePrivateKey, names: Sequence[str], ends: dt.timedelta
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + min(ends, dt.timedelta()) - DAY)
        .not_valid_after(now + ends)
    )
    return (
        builder.add_extension(x509.SubjectAlternativeName([_general(one) for one in names]), False)
        if names
        else builder
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _written(folder: Path, made: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file
