"""The body of a request, application/x-www-form-urlencoded in UTF-8, read strictly (RFC 6749 appendix B)."""

import re
from collections.abc import Collection, Iterator, Mapping
from urllib.parse import unquote_to_bytes

from issuer.refusals import (
    BAD_PERCENT_ENCODING,
    CONTROL_CHARACTER,
    INVALID_CONTENT_TYPE,
    NOT_UTF8,
    REPEATED_PARAMETER,
    TOO_MANY_PARAMETERS,
    invalid_request,
)
from realmint.protocol.names import FORM_MEDIA_TYPE

MAX_PARAMETERS = 1000
_ENCODED = re.compile(rb"(?:[^%]|%[0-9A-Fa-f]{2})*", re.DOTALL)
_UTF8 = ("charset=utf-8", "charset=utf8")
"""What clients write; the second is no registered name and common all the same."""
_PLAIN = re.compile(rb"[ -$&-*,-~]*")
"""Printable ASCII without the two signs that encode."""
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
"""A character that stands in no name and no value (RFC 6749 appendix A)."""


def check_content_type(header: str | None) -> None:
    """Raises invalid_request for anything but the form media type in UTF-8."""
    if header == FORM_MEDIA_TYPE:
        return
    media_type, *parameters = (header or "").lower().split(";", 8)
    said = [parameter.strip().replace('"', "") for parameter in parameters if parameter.strip()]
    if media_type.strip() != FORM_MEDIA_TYPE or len(said) > 1 or (said and said[0] not in _UTF8):
        raise invalid_request("content_type", INVALID_CONTENT_TYPE)


def parse_form(body: bytes, repeatable: Collection[str]) -> Mapping[str, list[str]]:
    """The parameters of `body`, in order; those without a value count as absent (RFC 6749 section 3.2).

    Raises invalid_request for a repeated parameter that is not `repeatable`, encodings that are not UTF-8,
    control characters, and more than MAX_PARAMETERS.
    """
    if body.count(b"&") >= MAX_PARAMETERS:
        raise invalid_request("too_many_parameters", TOO_MANY_PARAMETERS)
    parameters: dict[str, list[str]] = {}
    empty = False
    for name, value in _plain_pairs(body) if _PLAIN.fullmatch(body) else _pairs(body):
        if name not in parameters:
            parameters[name] = [value]
        elif name in repeatable:
            parameters[name].append(value)
        else:
            raise invalid_request("repeated_parameter", REPEATED_PARAMETER)
        empty = empty or not value
    if not empty:
        return parameters
    return {name: given for name, values in parameters.items() if (given := [value for value in values if value])}


def _pairs(body: bytes) -> Iterator[tuple[str, str]]:
    for pair in body.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            yield decode(name), decode(value)


def _plain_pairs(body: bytes) -> list[tuple[str, str]]:
    """The same of a body in which nothing is encoded, so that it is decoded as a whole."""
    pairs = []
    for pair in body.decode("ascii").split("&"):
        if pair:
            name, _, value = pair.partition("=")
            pairs.append((name, value))
    return pairs


def decode(raw: bytes) -> str:
    """One name or value (RFC 6749 appendix B). Raises invalid_request for what is not encoded as one, or holds a
    control character."""
    if b"%" in raw or b"+" in raw:
        if not _ENCODED.fullmatch(raw):
            raise invalid_request("percent_encoding", BAD_PERCENT_ENCODING)
        raw = unquote_to_bytes(raw.replace(b"+", b" "))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise invalid_request("not_utf8", NOT_UTF8) from None
    if CONTROL.search(text):
        raise invalid_request("control_character", CONTROL_CHARACTER)
    return text
