"""An accepted token, and what the claims of one are. Values alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

Claims: TypeAlias = Mapping[str, Any]
Source = Literal["local", "introspection"]


@dataclass(frozen=True, init=False)
class AccessToken:
    """An accepted token. `expires_at` in seconds since the epoch; `claims` cannot be changed.

    `source` says what decided: "local" or "introspection". The token's own text is not kept.
    """

    client_id: str
    subject: str
    scopes: frozenset[str]
    audience: tuple[str, ...]
    jti: str
    expires_at: int
    issuer: str
    realm: str | None
    source: Source
    claims: Claims = field(repr=False)

    def __init__(
        self,
        client_id: str,
        subject: str,
        scopes: frozenset[str],
        audience: tuple[str, ...],
        jti: str,
        expires_at: int,
        issuer: str,
        realm: str | None,
        source: Source,
        claims: Claims,
    ) -> None:
        # At once: what is generated for a frozen one sets each member by a call of its own.
        self.__dict__.update(
            client_id=client_id, subject=subject, scopes=scopes, audience=audience, jti=jti, expires_at=expires_at,
            issuer=issuer, realm=realm, source=source, claims=claims,
        )  # fmt: skip


class StatusAt(NamedTuple):
    """Where a token's status is: the address of a list, and the index in it."""

    uri: str
    idx: int
