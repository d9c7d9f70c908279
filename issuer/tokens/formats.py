"""FORMATS lists how a token can be written down; a new one is a file and a line here."""

from typing import Any, Protocol

from issuer.plugins import by_name
from issuer.tokens.am import AM
from issuer.tokens.claims import MintedClaims
from issuer.tokens.jwt import JWT, RFC9068
from issuer.tokens.opaque import Opaque


class Format(Protocol):
    """Names and types of what a token says. It decides, signs and stores nothing.

    `TYP` is the type in the header of what is signed; None where what it says is stored and its text says nothing.
    """

    NAME: str
    TYP: str | None

    def shape(self, minted: MintedClaims) -> dict[str, Any]: ...


FORMATS: tuple[Format, ...] = (RFC9068(), JWT(), AM(), Opaque())
FORMATS_BY_NAME = by_name(FORMATS)
