"""What an API says of one issuer whose tokens it accepts."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from realmint.introspection_policy import Introspection
from realmint.key_policy import KeyPolicy
from realmint.protocol.names import SIGNING_ALGORITHMS
from realmint.reach import Reach
from realmint.rules import STRICT, Legacy, Profile, Rules
from realmint.status_cache import StatusPolicy

MAX_LEEWAY = 300
STRICT_STALE_LIMIT = 900.0
"""Seconds for which the profile `strict` uses the last good keys of an issuer that cannot be reached."""


@dataclass(frozen=True)
class IssuerRule:
    """One issuer, and what a token of it must be. The options are those of ResourceServer.

    Raises ValueError for one that would skip a check, which says which value is wrong.
    """

    issuer: str
    audience: str | Sequence[str]
    algorithms: Collection[str] = SIGNING_ALGORITHMS
    leeway: int = 30
    profile: Profile = "default"
    keys: KeyPolicy = field(default_factory=KeyPolicy)
    status: StatusPolicy | None = field(default_factory=StatusPolicy)
    introspection: Introspection | None = None
    reach_at: str | None = None
    jwks_url: str | None = None
    allow_insecure_http: bool = False

    def __post_init__(self) -> None:
        for name in ("issuer", "audience", "algorithms"):  # such as what the environment was to say, and did not
            if not isinstance(getattr(self, name), str if name == "issuer" else Collection):
                raise ValueError(f"{name} is needed, and cannot be {getattr(self, name)!r}")  # noqa: TRY004 - as for every other
        self.reach()
        if not self.audiences() or not all(isinstance(value, str) and value for value in self.audiences()):
            raise ValueError(f"audience must name this API, not {self.audience!r}")
        algorithms = frozenset(self.algorithms)
        if not algorithms or not algorithms <= set(SIGNING_ALGORITHMS):
            raise ValueError(f"algorithms must be some of {', '.join(SIGNING_ALGORITHMS)}, not {self.algorithms!r}")
        if type(self.leeway) is not int or not 0 <= self.leeway <= MAX_LEEWAY:
            raise ValueError(f"leeway must be 0 to {MAX_LEEWAY} whole seconds, not {self.leeway!r}")
        if self.profile not in ("default", "strict") and not isinstance(self.profile, Legacy):
            raise ValueError(f"profile must be 'default', 'strict' or Legacy(...), not {self.profile!r}")
        asked = self.introspection
        if asked is not None and self.jwks_url is not None and asked.endpoint is None:
            raise ValueError("introspection needs endpoint=..., where jwks_url takes the place of the metadata")

    def audiences(self) -> tuple[str, ...]:
        return (self.audience,) if isinstance(self.audience, str) else tuple(self.audience)

    def reach(self) -> Reach:
        """Where it is reached. Raises ValueError."""
        return Reach(self.issuer, self.reach_at, self.jwks_url, self.allow_insecure_http)

    def key_policy(self) -> KeyPolicy:
        if self.profile != "strict":
            return self.keys
        limit = min(self.keys.stale_limit, max(STRICT_STALE_LIMIT, self.keys.max_ttl))
        return replace(self.keys, stale_limit=limit)

    def rules(self) -> Rules:
        return Rules(
            issuer=self.issuer,
            audience=frozenset(self.audiences()),
            algorithms=frozenset(self.algorithms),
            leeway=self.leeway,
            mode=self.introspection.mode if self.introspection is not None else None,
            legacy=self.profile if isinstance(self.profile, Legacy) else STRICT,
            statuses=self.status is not None,
        )
