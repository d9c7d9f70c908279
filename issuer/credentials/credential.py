"""A credential that is no secret: what is stored of it may be shown, and proves nothing to whoever reads it."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from realmint.protocol.jws import JWSError, parse_object

MAX_MATERIAL = 64 * 1024
"""Longest form in bytes in which one is stored."""


class Proof(Protocol):
    """What one kind of credential is about. A value; its material says all of it."""

    KIND: ClassVar[str]
    """Under which it is stored."""
    PREFIX: ClassVar[str]
    """What the identifiers of such credentials begin with, for people."""

    def members(self) -> Mapping[str, Any]:
        """Everything there is to it, as JSON; what from_members() makes it of again."""
        ...

    @classmethod
    def from_members(cls, members: Mapping[str, Any]) -> Self:
        """What was stored. Raises ValueError for what nobody stored."""
        ...


@dataclass(frozen=True)
class Credential:
    """One credential of a client as it is stored. Seconds since the epoch; `expires_at` None for no end."""

    credential_id: str
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    proof: Proof

    def live(self, now: int) -> bool:
        """Whether it may be used at `now`; at its expiry it may not."""
        return self.expires_at is None or now < self.expires_at


def generate_id(kind: type[Proof]) -> str:
    """A new identifier, for people and commands; not itself secret."""
    return kind.PREFIX + secrets.token_hex(6)


def written(proof: Proof) -> bytes:
    """What is stored of it. Raises ValueError for more than anybody should register."""
    material = json.dumps(dict(proof.members()), sort_keys=True, separators=(",", ":")).encode()
    if len(material) > MAX_MATERIAL:
        raise ValueError(f"it has more than {MAX_MATERIAL} bytes")
    return material


def read(kind: type[Proof], material: bytes) -> Proof:
    """What was stored. Raises ValueError for what nobody stored."""
    try:
        return kind.from_members(parse_object(material))
    except JWSError as error:
        raise ValueError(error.reason) from None
