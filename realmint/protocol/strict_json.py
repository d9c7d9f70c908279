"""JSON as strangers may send it: one reading of each text, and bounds on its depth and on its numbers (RFC 8259).

The libraries accept duplicate members, other encodings, NaN and numbers without end.
"""

import json
import re
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 32
"""Deepest nesting."""


def read(raw: bytes) -> Any:
    """The value that the whole of `raw` is. Raises ValueError.

    Refused: anything but UTF-8 without a byte order mark (RFC 8725 section 3.7), duplicate members (RFC 7515 section 4,
    RFC 7519 section 4), nesting past MAX_DEPTH, NaN and infinities, numbers of more than 20 digits, lone surrogates.
    """
    text = raw.decode("utf-8")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise ValueError("too deep")
    try:
        value = _value_of(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails on a lone surrogate
    except RecursionError:
        raise ValueError("too deep") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _bounded_int(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("number too long")
    return int(digits)


def _finite_float(digits: str) -> float:
    value = float(digits)
    if len(digits) > 32 or value in (float("inf"), float("-inf")):
        raise ValueError("number out of range")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=_bounded_int,
    parse_float=_finite_float,
    parse_constant=_no_constant,
)
_scan: Callable[[str, int], tuple[Any, int]] = _decoder.scan_once  # type: ignore[attr-defined]


# Possessive, and matching a string that never ends too: each character is looked at once, whatever the text.
_STRING = re.compile(r'"(?:[^"\\]|\\.|\\\Z)*+"?', re.DOTALL)


def _value_of(text: str) -> Any:
    """Raises ValueError, RecursionError."""
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        end = -1
    # With white space around it, or something behind.
    return value if end == len(text) else _decoder.decode(text)


def _depth(text: str) -> int:
    deepest = depth = 0
    # Brackets inside strings do not nest: cut the strings out first.
    for char in _STRING.sub("", text):
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest
