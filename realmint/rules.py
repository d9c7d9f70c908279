"""What a token of one issuer must be, and what may be forgiven. Values alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, TypeAlias

Mode = Literal["rescue", "opaque", "live"]
"""When the issuer is asked about a token."""


@dataclass(frozen=True)
class Legacy:
    """What is forgiven to an issuer that does not write access tokens as RFC 9068 says, each named by itself.

    allow_typ_jwt: `typ` is JWT, or missing: an ID token passes too, unless its audience is another.
    allow_missing_kid: with no `kid`, the published keys of that algorithm are tried, at most four.
    allow_missing_client_id: `azp`, or else `sub`, is taken for it. allow_missing_sub: the client is taken for it.
    allow_missing_jti, allow_missing_iat: nothing takes their place. allow_missing_audience: of introspection's answers
    alone, as AM's. allow_scope_list: `scope` is a list.
    """

    allow_typ_jwt: bool = False
    allow_missing_kid: bool = False
    allow_missing_client_id: bool = False
    allow_missing_sub: bool = False
    allow_missing_jti: bool = False
    allow_missing_iat: bool = False
    allow_missing_audience: bool = False
    allow_scope_list: bool = False

    def allowed(self) -> tuple[str, ...]:
        """The names of what is forgiven."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))

    def may_lack(self) -> frozenset[str]:
        """The claims that may be missing."""
        return frozenset(name.removeprefix("allow_missing_") for name in self.allowed())


STRICT = Legacy()
"""Nothing is forgiven."""

Profile: TypeAlias = Literal["default", "strict"] | Legacy
"""`default`: RFC 9068 to the letter. `strict`: and keys are used for 15 minutes of an outage at most."""


class Rules(NamedTuple):
    """What a token must be. leeway: tolerated clock difference in seconds. mode: None where nobody asks the issuer.

    statuses: whether the status that a token names counts (Token Status List).
    """

    issuer: str
    audience: frozenset[str]
    algorithms: frozenset[str]
    leeway: int
    mode: Mode | None = None
    legacy: Legacy = STRICT
    statuses: bool = True


class Book(NamedTuple):
    """The rules of every issuer whose tokens an API accepts; there is no rule for any other.

    opaque: whose tokens may be no JWT; None where nobody's may.
    """

    by_issuer: Mapping[str, Rules]
    opaque: Rules | None


def book(rules: Iterable[Rules]) -> Book:
    """Raises ValueError for an issuer that comes twice, and for two that are asked about what is no JWT."""
    every = tuple(rules)
    by_issuer = {one.issuer: one for one in every}
    if len(by_issuer) != len(every):
        raise ValueError("an issuer comes twice: one rule for each")
    opaque = [one for one in every if one.mode in ("opaque", "live")]
    if len(opaque) > 1:
        raise ValueError(
            "a token that is no JWT does not say whose it is: one issuer may be asked in mode opaque or live"
        )
    return Book(by_issuer, opaque[0] if opaque else None)
