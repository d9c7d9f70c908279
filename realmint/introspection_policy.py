"""When the issuer is asked about a token: the settings, without what asks. Pure."""

from dataclasses import dataclass, field

from realmint.protocol.addresses import is_url
from realmint.rules import Mode

MAX_STALE = 60


@dataclass(frozen=True)
class Introspection:
    """When to ask, and as which client.

    mode: `rescue` asks when a token of our issuer cannot be decided locally; `opaque` also when it is not a
    JWT; `live` also about every token that passed the local checks. endpoint: its address, when not the one
    the issuer's metadata names. stale_if_error: for how many seconds more a good answer is used when none is to be had
    (0 to 60; never past the token's exp, and not where every token is asked about).

    An answer is used for up to 10 s, a good one never past the token's exp; `live` uses each once.
    """

    client_id: str
    client_secret: str = field(repr=False)
    mode: Mode = "rescue"
    endpoint: str | None = None
    stale_if_error: float = 0

    def __post_init__(self) -> None:
        if self.mode not in ("rescue", "opaque", "live"):
            raise ValueError("mode is rescue, opaque or live")
        if not self.client_id or not self.client_secret:
            raise ValueError("introspection needs a client_id and a client_secret")
        if self.endpoint is not None and not is_url(self.endpoint):
            raise ValueError(f"the introspection endpoint must be an https URL, not {self.endpoint!r}")
        if not 0 <= self.stale_if_error <= MAX_STALE:
            raise ValueError(f"stale_if_error must be 0 to {MAX_STALE} seconds")
