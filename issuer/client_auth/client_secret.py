"""client_secret_basic and client_secret_post (RFC 6749 section 2.3.1)."""

import base64
import binascii
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from issuer.clients import Client, ClientIdError, parse_client_id
from issuer.refusals import (
    BASIC_CONTROL_CHARACTER,
    BASIC_NOT_A_PAIR,
    BASIC_NOT_BASE64,
    BASIC_NOT_UTF8,
    BASIC_TOO_LONG,
    CLIENT_ID_MALFORMED,
    MISSING_CLIENT_ID,
    OTHER_CLIENT_ID,
    invalid_request,
)
from issuer.secrets import Secret

_SCHEME = "basic"
_BAD_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
MAX_HEADER = 4096
"""Longest Authorization header in characters that is looked at."""


class ClientSecretBasic:
    """Identifier and secret in HTTP Basic, each form-encoded first (RFC 6749 section 2.3.1, RFC 7617).

    Many clients do not encode, which shows where a secret holds `%` or `+`: what does not authenticate as it was
    meant is read once more as it stands.
    """

    NAME = "client_secret_basic"

    def uses_header(self, authorization: str) -> bool:
        """Whether an Authorization header is of this method's scheme."""
        return authorization.partition(" ")[0].lower() == _SCHEME

    def presented(self, request: Any) -> bool:
        return request.authorization is not None and self.uses_header(request.authorization)

    def authenticate(self, request: Any, directory: Any, now: int) -> tuple[Client | None, Secret | None]:
        """Raises invalid_request for a header that cannot be read, or for another client_id in the body."""
        client_id, readings = _parse_basic(request.authorization)
        request.claimed_client_id = client_id
        if request.payload.data.get("client_id") not in (None, client_id):
            raise invalid_request("other_client_id_in_body", OTHER_CLIENT_ID)
        return _check(directory, client_id, readings, now)


class ClientSecretPost:
    """Identifier and secret in the body (RFC 6749 section 2.3.1)."""

    NAME = "client_secret_post"

    def uses_header(self, authorization: str) -> bool:  # noqa: ARG002 - a method of the body
        return False

    def presented(self, request: Any) -> bool:
        return "client_secret" in request.payload.data

    def authenticate(self, request: Any, directory: Any, now: int) -> tuple[Client | None, Secret | None]:
        """Raises invalid_request without a client_id of visible ASCII."""
        client_id = request.payload.data.get("client_id")
        if client_id is None:
            raise invalid_request("no_client_id", MISSING_CLIENT_ID)
        if not _is_visible(client_id):
            raise invalid_request("client_id_malformed", CLIENT_ID_MALFORMED)
        request.claimed_client_id = client_id
        return _check(directory, client_id, (request.payload.data["client_secret"],), now)


def _check(directory: Any, client_id: str, readings: tuple[str, ...], now: int) -> tuple[Client | None, Secret | None]:
    client = directory.find_client(client_id)
    return client, directory.verify_secret(client_id, client, readings, now)


def _parse_basic(header: str) -> tuple[str, tuple[str, ...]]:
    """Identifier, and the secret in each way it may be read: form-decoded, and as it stands (#36).

    Raises invalid_request for anything but the one canonical form of the header.
    """
    client_id, colon, secret = _decode_base64(header).partition(":")
    if not colon or not client_id or not secret:
        raise invalid_request("basic_not_a_pair", BASIC_NOT_A_PAIR)
    if not _is_visible(client_id):
        raise invalid_request("client_id_malformed", CLIENT_ID_MALFORMED)
    if not any(sign in client_id + secret for sign in "%+"):
        return client_id, (secret,)
    try:
        # A name whose two readings differ is registered in one of them at most: none holds a space or a percent sign.
        decoded_id, decoded = parse_client_id(_form_decode(client_id)), _form_decode(secret)
    except (ClientIdError, ValueError):
        return client_id, (secret,)
    if decoded_id != client_id:
        return decoded_id, (decoded,)
    return client_id, (decoded, secret)


def _decode_base64(header: str) -> str:
    """What stands behind the scheme, as text. Raises invalid_request."""
    _, _, encoded = header.partition(" ")
    if len(header) > MAX_HEADER:
        raise invalid_request("basic_too_long", BASIC_TOO_LONG)
    try:
        raw = base64.b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise invalid_request("basic_not_base64", BASIC_NOT_BASE64) from None
    if base64.b64encode(raw).decode() != encoded:  # trailing bits, missing or excess padding (#38)
        raise invalid_request("basic_not_base64", BASIC_NOT_BASE64)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise invalid_request("basic_not_utf8", BASIC_NOT_UTF8) from None
    if _CONTROL.search(text):
        raise invalid_request("basic_control_character", BASIC_CONTROL_CHARACTER)
    return text


def _form_decode(text: str) -> str:
    """One value of application/x-www-form-urlencoded. Raises ValueError for what is none."""
    if _BAD_PERCENT.search(text):
        raise ValueError("bad percent-encoding")
    value = unquote_to_bytes(text.replace("+", " ")).decode("utf-8")  # UnicodeError is a ValueError
    if _CONTROL.search(value):
        raise ValueError("control character")
    return value


def _is_visible(client_id: str) -> bool:
    # VSCHAR of RFC 6749 appendix A.1; a client_id with anything else was never registered.
    return bool(client_id) and client_id.isascii() and client_id.isprintable()
