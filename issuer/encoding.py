"""JSON as it is answered and as it is signed. Each token takes one of either, so both are written by orjson."""

import json
from collections.abc import Mapping

import orjson

_as_ascii = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def answered(members: Mapping[str, object]) -> bytes:
    """A JSON object as it is sent: sorted, compact, ASCII, one line."""
    try:
        body = orjson.dumps(members, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
        if body.isascii():
            return body
    except orjson.JSONEncodeError:
        pass  # half a surrogate pair, or a number of more than 64 bits, which a spoilt row may hold
    return (_as_ascii(members) + "\n").encode()


def signed(claims: Mapping[str, object]) -> bytes:
    """A JSON object as a signature is over it: compact, in the order that it has. Raises TypeError for what is none."""
    return orjson.dumps(claims)
