"""A client's certificate in a header, as the proxy that ended its TLS hands it on. Pure: strings in, DER out.

That the header comes from such a proxy, and from nobody else, is for who reads it (RFC 9440 section 2.4).
"""

import binascii
import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote_to_bytes

MAX_LENGTH = 16384
"""Longest certificate in bytes, and longest value of a header in characters."""

REASONS = frozenset({"missing", "several", "malformed", "too_large"})

# As `$ssl_client_escaped_cert` and Envoy write it; some leave `+`, `/` and `=` as they are. A plus is never a space.
_ESCAPED = re.compile(r"(?:[A-Za-z0-9._~+/=-]|%[0-9A-Fa-f]{2})*+")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\r?\n((?:[A-Za-z0-9+/=]++\r?\n)++)-----END CERTIFICATE-----(?:\r?\n)?")
# A pair of an element, and what follows it. In quotes a backslash takes the meaning of the character behind it, as in
# the subject that stands there (RFC 2253).
_XFCC_PAIR = re.compile(r'([A-Za-z]++)=(?:"((?:[^"\\]|\\.)*+)"|([^",;]*+))([,;]|\Z)')
_XFCC_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
# What a certificate says, of which Envoy writes the last two as they are: behind them anything may be forged.
_SAID = frozenset({"subject", "uri", "dns"})


class CertificateError(Exception):
    """A certificate, or the header with it, was refused. `reason` is one of REASONS and never holds input."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def from_header(value: str, form: str) -> bytes:
    """The one certificate, DER, in the value of a header that a proxy set in one of FORMATS.

    Raises CertificateError: `several` where there is more than one value, element or certificate. Raises KeyError for
    another format. Not checked: what is inside of the outermost SEQUENCE.
    """
    decode = FORMATS[form]
    if not value:
        raise CertificateError("missing")
    if len(value) > MAX_LENGTH:
        raise CertificateError("too_large")
    der = decode(value)
    if not _is_sequence(der):
        raise CertificateError("malformed")
    return der


def _only(value: str) -> str:
    """What is ASCII and holds no comma, by which doubled headers are joined, and which none of these forms has."""
    if "," in value:
        raise CertificateError("several")
    if not value.isascii():
        raise CertificateError("malformed")
    return value


def _base64(text: bytes) -> bytes:
    """What is written in the one way there is (RFC 4648 section 4)."""
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise CertificateError("malformed") from None
    if binascii.b2a_base64(raw, newline=False) != text:  # more padding than is due, which passes as strict
        raise CertificateError("malformed")
    return raw


def _byte_sequence(value: str) -> bytes:
    """RFC 9440 section 2.1, RFC 9651 section 3.3.5: without parameters."""
    if len(value) < 2 or not value.startswith(":") or not value.endswith(":"):
        raise CertificateError("malformed")
    text = value[1:-1].encode()
    return _base64(text + b"=" * (-len(text) % 4))  # which need not be there, says the RFC


def _escaped_pem(value: str) -> bytes:
    """One certificate (RFC 7468 section 5), percent-encoded once, with nothing around it."""
    if not _ESCAPED.fullmatch(value):
        raise CertificateError("malformed")
    text = unquote_to_bytes(value)
    found = _PEM.fullmatch(text)
    if found is None:
        raise CertificateError("several" if text.count(b"-----BEGIN") > 1 else "malformed")
    return _base64(found[1].translate(None, b"\r\n"))


def _xfcc(value: str) -> bytes:
    """The `Cert` of the one element of x-forwarded-client-cert: more of them are of other proxies, or of the client.

    It stands where Envoy writes it, before what the certificate says of itself.
    """
    found: list[str] = []
    said, at, end = False, 0, ";"
    while end == ";":
        pair = _XFCC_PAIR.match(value, at)
        if pair is None:
            raise CertificateError("malformed")
        said = said or pair[1].lower() in _SAID
        if pair[1].lower() == "cert":
            if said and not found:
                raise CertificateError("malformed")
            found.append(pair[3] if pair[2] is None else _XFCC_ESCAPE.sub(r"\1", pair[2]))
        at, end = pair.end(), pair[4]
    if end == "," or len(found) > 1:
        raise CertificateError("several")
    if not found or not found[0]:
        raise CertificateError("missing")
    return _escaped_pem(found[0])


FORMATS: Mapping[str, Callable[[str], bytes]] = {
    "rfc9440": lambda value: _byte_sequence(_only(value)),
    "nginx": lambda value: _escaped_pem(_only(value)),
    "envoy": _xfcc,
    "haproxy": lambda value: _base64(_only(value).encode()),
}
"""How proxies write it: `Client-Cert` (RFC 9440), `$ssl_client_escaped_cert`, `x-forwarded-client-cert` with `Cert`,
`%[ssl_c_der,base64]`."""


def _is_sequence(der: bytes) -> bool:
    """Whether `der` is one SEQUENCE, its length in two or three bytes as that of every certificate, and no more."""
    if der[:1] != b"\x30" or der[1:2] not in (b"\x81", b"\x82"):
        return False
    start = 2 + der[1] - 0x80
    return len(der) == start + int.from_bytes(der[2:start])
