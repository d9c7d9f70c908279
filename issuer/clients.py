"""A client: a machine that authenticates (RFC 6749 section 2). Its repr shows names, never secrets."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from issuer.secrets import Secret

INTROSPECT_ALL = "am-introspect-all-tokens"
MARKERS = frozenset({INTROSPECT_ALL})
"""Scope values that mark a client's profile and are never granted in a token (interface section 4)."""

MAX_CLIENT_ID = 255
_CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.~@:/+-]{0,254}")


class ClientIdError(ValueError):
    """The text is not a client identifier we register."""


@dataclass(frozen=True)
class Client:
    """A client as it is stored. Lifetimes in seconds; None means: as the realm has it.

    `not_before` kills tokens issued at or before it; `secret_salt` is for its imported secrets.
    """

    id: int
    realm_id: int
    client_id: str
    name: str | None
    enabled: bool
    scopes: frozenset[str]
    default_scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    default_audience: tuple[str, ...]
    resource_identifiers: tuple[str, ...]
    grant_types: tuple[str, ...]
    auth_method: str
    access_token_lifetime: int | None
    signing_alg: str | None
    token_format: str | None
    not_before: int
    created_at: int
    last_used_at: int | None
    secret_salt: bytes = field(repr=False, default=b"")
    secrets: tuple[Secret, ...] = field(repr=False, default=())

    def check_grant_type(self, grant_type: str) -> bool:
        """Whether this client may use a grant; Authlib's ClientCredentialsGrant asks (RFC 6749 section 5.2)."""
        return grant_type in self.grant_types

    @property
    def may_introspect_all(self) -> bool:
        """Whether the profile carries the marker that opens every token of the realm."""
        return INTROSPECT_ALL in self.scopes

    def grantable(self, values: Iterable[str]) -> bool:
        """Whether every scope value may stand in a token of this client."""
        return set(values) <= self.scopes - MARKERS


def parse_client_id(text: str) -> str:
    """A client identifier fit for registration. Raises ClientIdError.

    Narrower than RFC 6749 appendix A.1: no spaces or quotes, so that it survives shells, logs and headers.
    """
    if not _CLIENT_ID.fullmatch(text):
        raise ClientIdError(
            "a client_id is 1 to 255 of A-Z a-z 0-9 and _ . ~ @ : / + -, starting with a letter or digit"
        )
    return text
