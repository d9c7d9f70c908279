"""Who reads status lists as the draft says (Token Status List, draft 21, section 8.3), with nothing of ours in it."""

import base64
import json
import zlib
from collections.abc import Callable
from typing import Any

import jwt

Fetch = Callable[[str], bytes]
"""The body at an address, or an exception."""


def read_list(text: str | bytes, jwks: Any, uri: str) -> dict[str, Any]:
    """The claims of a list, verified under the key set of its issuer; `array` is its bits."""
    token = text.decode() if isinstance(text, bytes) else text
    assert jwt.get_unverified_header(token)["typ"] == "statuslist+jwt"
    keys = {key["kid"]: jwt.PyJWK(key) for key in jwks["keys"]}
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims: dict[str, Any] = jwt.decode(
        token, key, algorithms=[key.algorithm_name], options={"verify_exp": False, "verify_iat": False}
    )
    assert claims["sub"] == uri
    packed = claims["status_list"]["lst"]
    claims["array"] = zlib.decompress(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    return claims


def bit(array: bytes, index: int) -> int:
    return array[index // 8] >> index % 8 & 1


def is_cut_off(access_token: str, fetch: Fetch, jwks_uri: str) -> bool:
    """Whether an access token's own list says that it does not count any more."""
    where = jwt.decode(access_token, options={"verify_signature": False})["status"]["status_list"]
    found = read_list(fetch(where["uri"]), json.loads(fetch(jwks_uri)), where["uri"])
    return bool(bit(found["array"], where["idx"]))


def set_bits(array: bytes) -> set[int]:
    """Every index whose bit is set."""
    return {8 * at + low for at, byte in enumerate(array) if byte for low in range(8) if byte >> low & 1}
