"""client_secret_basic and client_secret_post (RFC 6749 section 2.3.1)."""

import base64
import binascii
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from issuer.clients import Client
from issuer.refusals import invalid_request
from issuer.secrets import Secret

_SCHEME = "basic"
_BAD_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
MAX_HEADER = 4096
"""Longest Authorization header in characters that is looked at."""


class ClientSecretBasic:
    """Identifier and secret in HTTP Basic, each form-encoded first (RFC 6749 section 2.3.1, RFC 7617)."""

    NAME = "client_secret_basic"

    def uses_header(self, authorization: str) -> bool:
        """Whether an Authorization header is of this method's scheme."""
        return authorization.partition(" ")[0].lower() == _SCHEME

    def presented(self, request: Any) -> bool:
        return request.authorization is not None and self.uses_header(request.authorization)

    def authenticate(self, request: Any, directory: Any, now: int) -> tuple[Client | None, Secret | None]:
        """Raises invalid_request for a header that cannot be read, or for another client_id in the body."""
        client_id, secret = _parse_basic(request.authorization)
        request.claimed_client_id = client_id
        if request.payload.data.get("client_id") not in (None, client_id):
            raise invalid_request("other_client_id_in_body")
        return _check(directory, client_id, secret, now)


class ClientSecretPost:
    """Identifier and secret in the body (RFC 6749 section 2.3.1)."""

    NAME = "client_secret_post"

    def uses_header(self, authorization: str) -> bool:  # noqa: ARG002 - a method of the body
        return False

    def presented(self, request: Any) -> bool:
        return "client_secret" in request.payload.data

    def authenticate(self, request: Any, directory: Any, now: int) -> tuple[Client | None, Secret | None]:
        """Raises invalid_request without a client_id of visible ASCII."""
        client_id = request.payload.data.get("client_id", "")
        if not _is_visible(client_id):
            raise invalid_request("client_id_malformed")
        request.claimed_client_id = client_id
        return _check(directory, client_id, request.payload.data["client_secret"], now)


def _check(directory: Any, client_id: str, secret: str, now: int) -> tuple[Client | None, Secret | None]:
    client = directory.find_client(client_id)
    return client, directory.verify_secret(client_id, client, secret, now)


def _parse_basic(header: str) -> tuple[str, str]:
    """Identifier and secret. Raises invalid_request for anything but the one canonical form."""
    _, _, encoded = header.partition(" ")
    if len(header) > MAX_HEADER:
        raise invalid_request("basic_too_long")
    try:
        raw = base64.b64decode(encoded.encode("ascii"), validate=True)
        if base64.b64encode(raw).decode() != encoded:  # trailing bits, missing or excess padding (#38)
            raise invalid_request("basic_not_canonical")
        client_id, colon, secret = raw.decode("utf-8").partition(":")
        client_id, secret = _form_decode(client_id), _form_decode(secret)
    except (binascii.Error, ValueError):  # UnicodeError is one
        raise invalid_request("basic_malformed") from None
    if not colon or not secret or not _is_visible(client_id):
        raise invalid_request("basic_malformed")
    return client_id, secret


def _form_decode(text: str) -> str:
    """One value of application/x-www-form-urlencoded: always decoded, never tried both ways (#36)."""
    if _BAD_PERCENT.search(text):
        raise ValueError("bad percent-encoding")
    value = unquote_to_bytes(text.replace("+", " ")).decode("utf-8") if "%" in text or "+" in text else text
    if _CONTROL.search(value):
        raise ValueError("control character")
    return value


def _is_visible(client_id: str) -> bool:
    # VSCHAR of RFC 6749 appendix A.1; a client_id with anything else was never registered.
    return bool(client_id) and client_id.isascii() and client_id.isprintable()
