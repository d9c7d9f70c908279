"""Authorization: what was decided, between the grant that decides and the format that writes it down."""

import base64
import secrets
from dataclasses import dataclass, field

from issuer.clients import Client
from issuer.realms import Addresses, Realm

_TOKEN_ID_BYTES = 20


@dataclass(frozen=True)
class Authorization:
    """A client may have a token with this scope and audience for this lifetime in seconds.

    `audience` is empty when neither request nor client nor realm named one; the format says what then.
    """

    realm: Realm
    addresses: Addresses
    client: Client
    grant_type: str
    scope: tuple[str, ...]
    audience: tuple[str, ...]
    lifetime: int


@dataclass(frozen=True)
class Issued:
    """An access token that was signed, and what the log may say of it."""

    token: str = field(repr=False)
    authorization: Authorization
    token_id: str
    kid: str
    expires_at: int


def new_token_id() -> str:
    """A `jti`: 160 random bits, 27 characters of base64url."""
    return base64.urlsafe_b64encode(secrets.token_bytes(_TOKEN_ID_BYTES)).rstrip(b"=").decode()


def one_or_many(values: tuple[str, ...]) -> str | list[str]:
    """A claim that is a string when there is one value (RFC 7519 section 4.1.3)."""
    return values[0] if len(values) == 1 else list(values)
