"""Distinguished names as text (RFC 4514), read into values that can be compared with those of a certificate. Pure."""

import binascii
import re
from functools import lru_cache
from typing import TypeAlias

RDN: TypeAlias = frozenset[tuple[str, str]]
"""Attribute types, as dotted OIDs, with their values: several in a multi-valued RDN, in no order."""
DistinguishedName: TypeAlias = tuple[RDN, ...]
"""RDNs in the order of a certificate, which is the reverse of that of the text (RFC 4514 section 2.1)."""

# RFC 4514 section 3, RFC 4519, X.520, and what OpenSSL and CAs write.
_TYPES = {
    "cn": "2.5.4.3", "sn": "2.5.4.4", "serialnumber": "2.5.4.5", "c": "2.5.4.6", "l": "2.5.4.7", "st": "2.5.4.8",
    "street": "2.5.4.9", "o": "2.5.4.10", "ou": "2.5.4.11", "title": "2.5.4.12", "description": "2.5.4.13",
    "businesscategory": "2.5.4.15", "postalcode": "2.5.4.17", "name": "2.5.4.41", "gn": "2.5.4.42",
    "givenname": "2.5.4.42", "initials": "2.5.4.43", "generationqualifier": "2.5.4.44", "dnqualifier": "2.5.4.46",
    "pseudonym": "2.5.4.65", "organizationidentifier": "2.5.4.97", "uid": "0.9.2342.19200300.100.1.1",
    "mail": "0.9.2342.19200300.100.1.3", "dc": "0.9.2342.19200300.100.1.25", "emailaddress": "1.2.840.113549.1.9.1",
    "e": "1.2.840.113549.1.9.1", "unstructuredname": "1.2.840.113549.1.9.2",
    "jurisdictionl": "1.3.6.1.4.1.311.60.2.1.1", "jurisdictionst": "1.3.6.1.4.1.311.60.2.1.2",
    "jurisdictionc": "1.3.6.1.4.1.311.60.2.1.3",
}  # fmt: skip

# A value is written with these; spaces around it are none of its own, which are escaped (section 2.4).
_CHAR = re.compile(r'\\([0-9A-Fa-f]{2})|\\([ "#+,;<=>\\])|([^\\"+,;<>\0])')
_ATTRIBUTE = re.compile(
    r" *+([A-Za-z][A-Za-z0-9-]*+|(?:0|[1-9][0-9]*+)(?:\.(?:0|[1-9][0-9]*+))++) *+= *+"
    r'((?:\\[0-9A-Fa-f]{2}|\\[ "#+,;<=>\\]|[^\\"+,;<>\0])*+)([,+]|\Z)'
)
# UTF8String, PrintableString and IA5String, by their tags.
_STRINGS = {0x0C: "utf-8", 0x13: "ascii", 0x16: "ascii"}


class DNError(ValueError):
    """The text is not a distinguished name by the grammar of RFC 4514, or names an attribute type that is not known."""


@lru_cache(maxsize=256)
def parse(text: str) -> DistinguishedName:
    """The name that `text` says (RFC 4514 section 3), which is not the empty one.

    Types are known in any case, or written as OIDs; values are what they are, character for character. Spaces around
    `,`, `+` and `=` say nothing. Raises DNError; also for quoted values, `;` between RDNs, and values in hexadecimal
    that are not one of the usual strings.
    """
    rdns: list[RDN] = []
    attributes: list[tuple[str, str]] = []
    at, end = 0, ","
    while end:
        found = _ATTRIBUTE.match(text, at)
        if found is None:
            raise DNError("not a distinguished name (RFC 4514)")
        attributes.append((_type(found[1]), _value(found[2])))
        at, end = found.end(), found[3]
        if end != "+":
            rdns.append(frozenset(attributes))
            if len(rdns[-1]) != len(attributes):
                raise DNError("one attribute twice in one RDN")
            attributes = []
    return tuple(reversed(rdns))


def _type(name: str) -> str:
    if name[0].isdigit():
        return name
    oid = _TYPES.get(name.lower())
    if oid is None:
        raise DNError("an attribute type that is not known: write its OID")
    return oid


def _value(text: str) -> str:
    try:
        return _encoded(text.rstrip(" ")) if text.startswith("#") else _unescaped(text)
    except ValueError:  # UnicodeError too
        raise DNError("not the value of an attribute") from None


def _unescaped(text: str) -> str:
    raw, said = bytearray(), 0
    for pair, special, plain in _CHAR.findall(text):
        raw += bytes.fromhex(pair) if pair else (special or plain).encode()
        if plain != " ":
            said = len(raw)
    return raw[:said].decode()


def _encoded(text: str) -> str:
    """The string that a whole BER value is, its length in the short form or in one or two bytes (section 2.4)."""
    ber = binascii.unhexlify(text[1:])  # bytes.fromhex passes white space over
    if len(ber) < 2 or ber[0] not in _STRINGS:
        raise ValueError("not a string")
    beyond = max(ber[1] - 0x80, 0)
    start = 2 + beyond
    length = int.from_bytes(ber[2:start]) if beyond else ber[1]
    if beyond > 2 or ber[1] == 0x80 or length != len(ber) - start:
        raise ValueError("not its length")
    return ber[start:].decode(_STRINGS[ber[0]])
