"""What a request shows beside its access token: how that was sent, the proof, the certificate. A value, no more."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from realmint.protocol.names import BEARER


@dataclass
class Presented:
    """What the sender of one request proves (RFC 8705 section 3, RFC 9449 section 7).

    scheme: that of its Authorization header, "Bearer" or "DPoP". dpop: every value under the header DPoP. method, url:
    of the request; the URL as clients write it, never put together from Host. certificate: DER, the one that the client
    showed and was proven to hold by what ended its TLS; None without one.

    It stands for one request: a proof counts once, and within one value of this for as many calls as are made with it.
    """

    scheme: str = BEARER
    dpop: Sequence[str] = field(default=(), repr=False)
    method: str = ""
    url: str = field(default="", repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    proven: tuple[object, str, str] | None = field(default=None, init=False, repr=False, compare=False)
    """Who found its proof good and used it up, for which token, and the thumbprint of its key."""
