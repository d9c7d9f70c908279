"""client_secret_basic and client_secret_post (RFC 6749 section 2.3.1)."""

import binascii
from collections.abc import Sequence

from authlib.oauth2.rfc6749 import InvalidRequestError

from issuer.client_auth.method import Directory, Method
from issuer.clients import ClientIdError, parse_client_id
from issuer.form import CONTROL, decode
from issuer.refusals import (
    BASIC_CONTROL_CHARACTER,
    BASIC_NOT_A_PAIR,
    BASIC_NOT_BASE64,
    BASIC_NOT_UTF8,
    BASIC_TOO_LONG,
    CLIENT_ID_MALFORMED,
    MISSING_CLIENT_ID,
    OTHER_CLIENT_ID,
    ClaimedBy,
    invalid_client,
    invalid_request,
    too_many_attempts,
)
from issuer.request import AuthenticatedClient, Request
from issuer.secrets import TooManyAttempts

MAX_HEADER = 4096
"""Longest Authorization header in characters that is looked at."""


class ClientSecretBasic(Method):
    """Identifier and secret in HTTP Basic, each form-encoded first (RFC 6749 section 2.3.1, RFC 7617).

    Many clients do not encode, which shows where a secret holds `%` or `+`: what does not authenticate as it was
    meant is read once more as it stands.
    """

    NAME = "client_secret_basic"
    SCHEME = "basic"

    def presented(self, request: Request) -> bool:
        return request.authorization_scheme == self.SCHEME

    def authenticate(self, request: Request, directory: Directory, now: int) -> AuthenticatedClient:
        """Raises invalid_request for a header that cannot be read, or for another client_id in the body."""
        client_id, readings = _parse_basic(request.authorization_header or "")
        in_body = request.one("client_id")
        if in_body is not None and in_body != client_id:
            with ClaimedBy(client_id):
                raise invalid_request("other_client_id_in_body", OTHER_CLIENT_ID)
        return _by_secret(self.NAME, directory, client_id, readings, now)


class ClientSecretPost(Method):
    """Identifier and secret in the body (RFC 6749 section 2.3.1)."""

    NAME = "client_secret_post"

    def presented(self, request: Request) -> bool:
        return request.one("client_secret") is not None

    def authenticate(self, request: Request, directory: Directory, now: int) -> AuthenticatedClient:
        """Raises invalid_request without a client_id of visible ASCII."""
        client_id = request.one("client_id")
        if client_id is None:
            raise invalid_request("no_client_id", MISSING_CLIENT_ID)
        if not _is_visible(client_id):
            raise invalid_request("client_id_malformed", CLIENT_ID_MALFORMED)
        return _by_secret(self.NAME, directory, client_id, request.every("client_secret"), now)


def _by_secret(
    method: str, directory: Directory, client_id: str, readings: Sequence[str], now: int
) -> AuthenticatedClient:
    client = directory.find_client(client_id)
    try:
        secret = directory.verify_secret(client_id, client, readings, now)
    except TooManyAttempts as over:
        with ClaimedBy(client_id):
            raise too_many_attempts(over.reason, over.retry_after) from None
    if client is None or secret is None:
        with ClaimedBy(client_id):
            raise invalid_client("unknown_client" if client is None else "wrong_secret")
    return AuthenticatedClient(client, method, secret.secret_id)


def _parse_basic(header: str) -> tuple[str, tuple[str, ...]]:
    """Identifier, and the secret in each way it may be read: form-decoded, and as it stands (#36).

    Raises invalid_request for anything but the one canonical form of the header.
    """
    client_id, colon, secret = _decode_base64(header).partition(":")
    if not colon or not client_id or not secret:
        raise invalid_request("basic_not_a_pair", BASIC_NOT_A_PAIR)
    if not _is_visible(client_id):
        raise invalid_request("client_id_malformed", CLIENT_ID_MALFORMED)
    if "%" not in client_id and "+" not in client_id and "%" not in secret and "+" not in secret:
        return client_id, (secret,)
    try:
        # A name whose two readings differ is registered in one of them at most: none holds a space or a percent sign.
        decoded_id, decoded = parse_client_id(decode(client_id.encode())), decode(secret.encode())
    except (ClientIdError, InvalidRequestError):
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
        raw = binascii.a2b_base64(encoded.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise invalid_request("basic_not_base64", BASIC_NOT_BASE64) from None
    if binascii.b2a_base64(raw, newline=False).decode() != encoded:  # trailing bits, missing or excess padding (#38)
        raise invalid_request("basic_not_base64", BASIC_NOT_BASE64)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise invalid_request("basic_not_utf8", BASIC_NOT_UTF8) from None
    if CONTROL.search(text):
        raise invalid_request("basic_control_character", BASIC_CONTROL_CHARACTER)
    return text


def _is_visible(client_id: str) -> bool:
    # VSCHAR of RFC 6749 appendix A.1; a client_id with anything else was never registered.
    return bool(client_id) and client_id.isascii() and client_id.isprintable()
