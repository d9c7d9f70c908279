"""The body of a request, application/x-www-form-urlencoded in UTF-8, read strictly (RFC 6749 appendix B)."""

import re
from collections.abc import Collection, Mapping
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
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def check_content_type(header: str | None) -> None:
    """Raises invalid_request for anything but the form media type in UTF-8."""
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
    for pair in body.split(b"&"):
        if not pair:
            continue
        name, _, value = pair.partition(b"=")
        values = parameters.setdefault(_decode(name), [])
        values.append(_decode(value))
        if len(values) > 1 and _decode(name) not in repeatable:
            raise invalid_request("repeated_parameter", REPEATED_PARAMETER)
    return {name: given for name, values in parameters.items() if (given := [value for value in values if value])}


def _decode(raw: bytes) -> str:
    if b"%" in raw or b"+" in raw:
        if not _ENCODED.fullmatch(raw):
            raise invalid_request("percent_encoding", BAD_PERCENT_ENCODING)
        raw = unquote_to_bytes(raw.replace(b"+", b" "))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise invalid_request("not_utf8", NOT_UTF8) from None
    if _CONTROL.search(text):
        raise invalid_request("control_character", CONTROL_CHARACTER)
    return text
