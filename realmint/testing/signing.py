"""Keys of an issuer that is none: made when asked for, kept nowhere."""

import base64
import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import ECKey, OKPKey, RSAKey

from realmint.protocol import system_clock

_KINDS: Mapping[str, Any] = {
    "ES256": lambda: ECKey.import_key(_pem(ec.generate_private_key(ec.SECP256R1()))),
    "RS256": lambda: RSAKey.import_key(_pem(rsa.generate_private_key(65537, 2048))),
    "EdDSA": lambda: OKPKey.import_key(_pem(Ed25519PrivateKey.generate())),
}


class SigningKey:
    """A fresh key pair for `alg`: ES256, RS256 or EdDSA. Raises ValueError for another."""

    def __init__(self, alg: str = "ES256") -> None:
        if alg not in _KINDS:
            raise ValueError(f"alg must be one of {', '.join(_KINDS)}, not {alg!r}")
        key = _KINDS[alg]()
        self.alg = alg
        self.kid = str(key.thumbprint())
        self.jwk: Mapping[str, Any] = {**key.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": alg}
        self._private: Any = key.private_key

    def sign(self, signed: bytes) -> bytes:
        """A raw JOSE signature (RFC 7518 section 3.4)."""
        if self.alg == "ES256":
            r, s = decode_dss_signature(self._private.sign(signed, ec.ECDSA(SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if self.alg == "RS256":
            return bytes(self._private.sign(signed, padding.PKCS1v15(), SHA256()))
        return bytes(self._private.sign(signed))

    def token(self, header: Any, claims: Any) -> str:
        """A compact JWS over whatever is given: text and bytes as they stand, anything else as JSON."""
        signed = f"{encoded(header)}.{encoded(claims)}"
        return f"{signed}.{encoded(self.sign(signed.encode('ascii')))}"


def encoded(value: Any) -> str:
    """A segment of a compact JWS."""
    if isinstance(value, str):
        value = value.encode()
    raw = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def client_certificate(name: str = "test-client") -> bytes:
    """A certificate (DER) that a client signed itself, under a fresh key, good for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = dt.datetime.fromtimestamp(system_clock() - 3600, dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(start).not_valid_after(start + dt.timedelta(days=1))
    return builder.sign(key, SHA256()).public_bytes(serialization.Encoding.DER)


def pem_of(certificate: bytes) -> str:
    """A certificate as text."""
    return x509.load_der_x509_certificate(certificate).public_bytes(serialization.Encoding.PEM).decode("ascii")


def _pem(key: Any) -> bytes:
    plain = serialization.NoEncryption()
    return bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
