"""Certificates of clients (RFC 8705): what tokens are bound to, and whom one names. Pure.

That one was proven to belong to who sent it, is trusted and not revoked, is for what ended its TLS.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from realmint.protocol import base64url, distinguished_names
from realmint.protocol.certificate_headers import MAX_LENGTH, CertificateError
from realmint.protocol.distinguished_names import DistinguishedName
from realmint.protocol.jws import MIN_RSA_BITS, JWSError, import_public

SUBJECT_DN = "tls_client_auth_subject_dn"
SAN_DNS = "tls_client_auth_san_dns"
SAN_URI = "tls_client_auth_san_uri"
SAN_IP = "tls_client_auth_san_ip"
SAN_EMAIL = "tls_client_auth_san_email"
SUBJECT_KINDS = (SUBJECT_DN, SAN_DNS, SAN_URI, SAN_IP, SAN_EMAIL)
"""What a client may be registered with, one of them (RFC 8705 section 2.1.2)."""

T = TypeVar("T")
Extension = TypeVar("Extension", bound=x509.ExtensionType)
IP: TypeAlias = IPv4Address | IPv6Address

_CURVES = {"secp256r1": ("P-256", 32), "secp384r1": ("P-384", 48)}
_CLIENT = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


@dataclass(frozen=True)
class Certificate:
    """What a certificate says of itself.

    thumbprint: `x5t#S256`. subject: empty where it has none. not_before, not_after: its first and last second, since
    the epoch. public_key_thumbprint: RFC 7638, None for a key of a type or size that is not ours. client_auth: whether
    its extended key usage, if any, lets clients authenticate (RFC 5280 section 4.2.1.12). self_issued: whether its
    issuer is its subject (section 3.2). algorithm: what its key may sign with, of those that are ours.
    """

    der: bytes = field(repr=False)
    thumbprint: str
    subject: DistinguishedName
    san_dns: tuple[str, ...]
    san_uri: tuple[str, ...]
    san_ip: tuple[IP, ...]
    san_email: tuple[str, ...]
    not_before: int
    not_after: int
    public_key_thumbprint: str | None
    client_auth: bool
    self_issued: bool
    algorithm: str | None


def thumbprint(der: bytes) -> str:
    """The `x5t#S256` of a certificate (RFC 8705 section 3.1)."""
    return base64url.encode(hashlib.sha256(der).digest()).decode("ascii")


def certificate(der: bytes) -> Certificate:
    """The certificate that `der` is, whole (RFC 5280 section 4.1).

    Raises CertificateError, whatever the bytes. Not checked: its signature, its issuer, and that it is valid now.
    """
    if not der:
        raise CertificateError("missing")
    if len(der) > MAX_LENGTH:
        raise CertificateError("too_large")
    return _guarded(lambda: _read(der))


def matches_subject(certificate: Certificate, kind: str, value: str) -> bool:
    """Whether `certificate` names whom `value` says, which is of one of SUBJECT_KINDS (RFC 8705 section 2.1.2).

    A distinguished name is compared as a whole, by its values; of alternative names one must be `value`, no name
    matches a pattern, and those of other kinds count for nothing. A value that is none of its kind matches nothing.
    Raises KeyError for another kind.
    """
    read = _READ[kind]
    try:
        wanted = read(value)
    except ValueError:
        return False
    if kind == SUBJECT_DN:
        return certificate.subject == wanted
    entries: tuple[object, ...] = getattr(certificate, kind.removeprefix("tls_client_auth_"))
    return value != "" and [entry if kind == SAN_IP else read(str(entry)) for entry in entries].count(wanted) == 1


def is_subject(kind: str, value: str) -> bool:
    """Whether `value` could be that of a certificate at all. Raises KeyError for another kind."""
    read = _READ[kind]
    try:
        read(value)
    except ValueError:
        return False
    return kind == SUBJECT_DN or _SHAPES[kind].fullmatch(value) is not None


def is_issued_by(der: bytes, authorities: Iterable[bytes], now: int) -> bool:
    """Whether one of `authorities`, certificates too, issued this one, and may issue, and is valid now.

    Each counts as it stands (RFC 5280 section 6.1, a path of one step): one in between is registered as an authority.
    Not checked: name constraints, policies, and whether the authority took it back. Raises CertificateError.
    """
    return any(begins <= now <= ends for begins, ends in _issuers(der, tuple(authorities)))


@lru_cache(maxsize=1024)
def _issuers(der: bytes, authorities: tuple[bytes, ...]) -> tuple[tuple[float, float], ...]:
    """When each of those is valid that issued it and may: a client shows the same one again and again."""
    parsed = _guarded(lambda: x509.load_der_x509_certificate(der))
    found = [_guarded(lambda one=one: _issued(parsed, one)) for one in authorities]  # type: ignore[misc]
    return tuple(valid for valid in found if valid is not None)


def _issued(parsed: x509.Certificate, authority: bytes) -> tuple[float, float] | None:
    issuer = x509.load_der_x509_certificate(authority)
    limits, usage = _extension(issuer, x509.BasicConstraints), _extension(issuer, x509.KeyUsage)
    if limits is None or not limits.ca or (usage is not None and not usage.key_cert_sign):
        return None
    try:
        parsed.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return None
    return issuer.not_valid_before_utc.timestamp(), issuer.not_valid_after_utc.timestamp()


def _guarded(read: Callable[[], T]) -> T:
    """What `read` gives, whatever the parser makes of hostile bytes."""
    try:
        return read()
    except BaseException as fault:
        # Where it panics, in its own language, what it throws is no Exception.
        if isinstance(fault, Exception) or type(fault).__name__ == "PanicException":
            raise CertificateError("malformed") from None
        raise


def _read(der: bytes) -> Certificate:
    parsed = x509.load_der_x509_certificate(der)
    if parsed.serial_number <= 0:  # RFC 5280 section 4.1.2.2
        raise CertificateError("malformed")
    names = _extension(parsed, x509.SubjectAlternativeName)
    usage = _extension(parsed, x509.ExtendedKeyUsage)
    addresses = names.get_values_for_type(x509.IPAddress) if names else []
    return Certificate(
        der,
        thumbprint(der),
        tuple(frozenset((one.oid.dotted_string, _text(one.value)) for one in rdn) for rdn in parsed.subject.rdns),
        tuple(names.get_values_for_type(x509.DNSName)) if names else (),
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)) if names else (),
        tuple(one for one in addresses if isinstance(one, IPv4Address | IPv6Address)),
        tuple(names.get_values_for_type(x509.RFC822Name)) if names else (),
        int(parsed.not_valid_before_utc.timestamp()),
        int(parsed.not_valid_after_utc.timestamp()),
        _key_thumbprint(parsed),
        usage is None or not _CLIENT.isdisjoint(usage),
        parsed.issuer == parsed.subject,
        _algorithm(parsed),
    )


def _extension(parsed: x509.Certificate, kind: type[Extension]) -> Extension | None:
    try:
        return parsed.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _text(value: str | bytes) -> str:
    """The value of an attribute; of a bit string, what no text of a distinguished name can say."""
    return value if isinstance(value, str) else "\0" + value.hex()


def _key_thumbprint(parsed: x509.Certificate) -> str | None:
    try:
        jwk = _jwk(parsed.public_key())
        return import_public(jwk).thumbprint() if jwk else None
    except (UnsupportedAlgorithm, JWSError):
        return None


def _algorithm(parsed: x509.Certificate) -> str | None:
    try:
        jwk = _jwk(parsed.public_key()) or {}
    except UnsupportedAlgorithm:
        return None
    return {"P-256": "ES256", "P-384": "ES384", "Ed25519": "EdDSA"}.get(jwk.get("crv", ""), "PS256" if jwk else None)


def _jwk(key: object) -> dict[str, str] | None:
    """The members that a thumbprint is of (RFC 7638 section 3.2)."""
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        (crv, size), point = _CURVES[key.curve.name], key.public_numbers()
        return {"kty": "EC", "crv": crv, "x": _number(point.x, size), "y": _number(point.y, size)}
    if isinstance(key, Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(key.public_bytes_raw()).decode("ascii")}
    return None


def _number(value: int, size: int = 0) -> str:
    return base64url.encode(value.to_bytes(size or (value.bit_length() + 7) // 8)).decode("ascii")


def _lower(text: str) -> str:
    """With the letters of ASCII alone in lower case, as names of hosts are compared (RFC 4343)."""
    return text.translate(_LOWER)


def _email(text: str) -> tuple[str, str]:
    """The host in lower case, the mailbox as it is (RFC 5280 section 7.5)."""
    mailbox, _, host = text.rpartition("@")
    return mailbox, _lower(host)


_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_READ: Mapping[str, Callable[[str], object]] = {
    SUBJECT_DN: distinguished_names.parse,
    SAN_DNS: _lower,
    SAN_URI: str,
    SAN_IP: ip_address,
    SAN_EMAIL: _email,
}
_SHAPES = {
    SAN_DNS: re.compile(r"[A-Za-z0-9_*-]{1,63}(?:\.[A-Za-z0-9_*-]{1,63})*+"),
    SAN_URI: re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+:[!-~]++"),
    SAN_IP: re.compile(r"[0-9A-Fa-f:.]++"),  # and no zone, which no certificate knows
    SAN_EMAIL: re.compile(r"[!-?A-~]++@[A-Za-z0-9_.-]++"),
}
