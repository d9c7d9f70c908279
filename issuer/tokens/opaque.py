"""The reference token of the classic flow, for APIs that always ask: what it says is stored."""

from typing import Any

from issuer.tokens.claims import MintedClaims
from issuer.tokens.jwt import RFC9068


class Opaque(RFC9068):
    """What RFC 9068 says, but where to read its status: nobody reads a list for a token that is asked about anyway."""

    NAME = "opaque"
    TYP: str | None = None

    def shape(self, minted: MintedClaims) -> dict[str, Any]:
        """What is stored, until it expires."""
        return {name: value for name, value in super().shape(minted).items() if name != "status"}
