"""What an access token says, before a format gives it names and types."""

import base64
import secrets
from typing import NamedTuple

from issuer import slots
from issuer.realms import Realm

_GRANT_ID_BYTES = 20


class MintedClaims(NamedTuple):
    """Decided once, the same for every format. Instants in seconds since the epoch.

    `audience` is empty when nobody named one; the format says what then. `slot`: the index whose bit tells its status.
    """

    issuer: str
    realm: Realm
    client_id: str
    grant_type: str
    scope: tuple[str, ...]
    audience: tuple[str, ...]
    issued_at: int
    expires_at: int
    token_id: str
    slot: int
    token_type: str

    @property
    def status(self) -> dict[str, dict[str, object]]:
        """The claim `status`: where to read whether the token was cut off (Token Status List section 6.1)."""
        number, position = slots.place_of(self.slot)
        return {"status_list": {"idx": position, "uri": slots.address_of(self.issuer, number)}}


def new_grant_id() -> str:
    """An identifier that nobody looks up: 160 random bits, 27 characters of base64url."""
    return base64.urlsafe_b64encode(secrets.token_bytes(_GRANT_ID_BYTES)).rstrip(b"=").decode()


def one_or_many(values: tuple[str, ...]) -> str | list[str]:
    """A claim that is a string when there is one value (RFC 7519 section 4.1.3)."""
    return values[0] if len(values) == 1 else list(values)
