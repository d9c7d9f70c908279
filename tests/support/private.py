"""Every way in which somebody might write the private half of a key."""

import base64
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

_SHORT = 12
"""A run of fewer characters could stand anywhere by chance."""


def spellings(pkcs8: bytes) -> set[bytes]:
    """Of each private number: raw, hexadecimal, decimal, and base64 in both alphabets; of the file: PEM and DER."""
    key: Any = serialization.load_der_private_key(pkcs8, None)
    found = {pkcs8, pkcs8.hex().encode(), pkcs8.hex().upper().encode(), repr(pkcs8).encode()[2:-1]}
    for form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
        if isinstance(key, ed25519.Ed25519PrivateKey) and form is not serialization.PrivateFormat.PKCS8:
            continue
        pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        found |= set(_lines(pem, _numbers(key)))
    for raw in _numbers(key):
        number = int.from_bytes(raw)
        found |= {raw, repr(raw).encode()[2:-1], raw.hex().encode(), raw.hex().upper().encode(), b"%d" % number}
        found |= {encode(raw).rstrip(b"=") for encode in (base64.b64encode, base64.urlsafe_b64encode)}
        found |= {b"%x" % number, b"%X" % number, b":".join(b"%02x" % byte for byte in raw)}
    return found


def _lines(pem: bytes, numbers: list[bytes]) -> Iterator[bytes]:
    """What the lines of a PEM file hold of private numbers, and not of the public ones beside them."""
    lines = pem.splitlines()[1:-1]
    der = base64.b64decode(b"".join(lines))
    for raw in numbers:
        start = der.index(raw)
        first, last = -(-start * 4 // 3), (start + len(raw)) * 4 // 3
        for number, line in enumerate(lines):
            part = line[max(first - 64 * number, 0) : max(last - 64 * number, 0)]
            if len(part) > _SHORT:
                yield part


def _numbers(key: Any) -> list[bytes]:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return [key.private_bytes_raw()]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return [key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8)]
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    members = (numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
    return [number.to_bytes((number.bit_length() + 7) // 8) for number in members]


def shows(text: str | bytes, secret: set[bytes]) -> bool:
    """Whether one of `secret` stands in `text`."""
    raw = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
    return any(spelling in raw for spelling in secret)
