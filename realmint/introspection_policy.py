"""When the issuer is asked about a token: the settings, without what asks. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from realmint.protocol.addresses import is_url
from realmint.rules import Mode

MAX_STALE = 60
CREDENTIALS = ("client_secret", "client_key", "client_assertion")
"""The options by which an API shows which client it is."""


class Asserting(Protocol):
    """What makes assertions for a client, as ClientKey does, from wherever its key may be."""

    def assertion(self, client_id: str, audience: str, now: int) -> str:
        """One that counts once (RFC 7523 section 3)."""
        ...


@dataclass(frozen=True)
class Introspection:
    """When to ask, and as which client.

    client_id, and exactly one of: client_secret; client_key, a ClientKey, by which each request gets an assertion of
    its own (`private_key_jwt`, RFC 7523 section 2.2); client_assertion, an AssertionFile, or anything that is called
    for each request and returns an assertion that somebody else signed.

    mode: `rescue` asks when a token of our issuer cannot be decided locally; `opaque` also when it is not a
    JWT; `live` also about every token that passed the local checks. endpoint: its address, when not the one
    the issuer's metadata names. stale_if_error: for how many seconds more a good answer is used when none is to be had
    (0 to 60; never past the token's exp, and not where every token is asked about).

    An answer is used for up to 10 s, a good one never past the token's exp; `live` uses each once.
    """

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    mode: Mode = "rescue"
    endpoint: str | None = None
    stale_if_error: float = 0
    client_key: Asserting | None = None
    client_assertion: Callable[[], str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.mode not in ("rescue", "opaque", "live"):
            raise ValueError("mode is rescue, opaque or live")
        given = [name for name in CREDENTIALS if getattr(self, name) is not None]
        if not self.client_id or len(given) != 1 or self.client_secret == "":
            several = f", not {' and '.join(given)}" if len(given) > 1 else ""
            raise ValueError(f"introspection needs a client_id, and one of {', '.join(CREDENTIALS)}{several}")
        if self.client_key is not None and not callable(getattr(self.client_key, "assertion", None)):
            raise ValueError("client_key must be a ClientKey")
        if self.client_assertion is not None and not callable(self.client_assertion):
            raise ValueError("client_assertion must be an AssertionFile, or a function that returns an assertion")
        if self.endpoint is not None and not is_url(self.endpoint):
            raise ValueError(f"the introspection endpoint must be an https URL, not {self.endpoint!r}")
        if not 0 <= self.stale_if_error <= MAX_STALE:
            raise ValueError(f"stale_if_error must be 0 to {MAX_STALE} seconds")

    @property
    def credential(self) -> str:
        """Which of CREDENTIALS it has."""
        return next(name for name in CREDENTIALS if getattr(self, name) is not None)
