"""Authorization: what was decided, between the grant that decides and the mint that writes it down."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from issuer.clients import Client
from issuer.realms import Addresses, Realm
from realmint.protocol.names import BEARER


class Confirmation(NamedTuple):
    """What a token is bound to (RFC 7800, `cnf`), and so of what type it is (RFC 6749 section 7.1)."""

    bound: Mapping[str, str]
    token_type: str


UNBOUND = Confirmation(MappingProxyType({}), BEARER)
"""A bearer token: whoever has it may use it."""


class Authorization(NamedTuple):
    """A client may have a token with this scope and audience for this lifetime in seconds.

    `credential_id` names what the client proved itself with. `audience` is empty when neither request nor client nor
    realm named one; the format says what then.
    """

    realm: Realm
    addresses: Addresses
    client: Client
    credential_id: str
    grant_type: str
    scope: tuple[str, ...]
    audience: tuple[str, ...]
    lifetime: int
    confirmation: Confirmation
