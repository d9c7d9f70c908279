"""A trust rule: which tokens of an outside issuer stand for a client (RFC 7523 section 2.2, RFC 7521 section 4.2).

Such a token was made for a workload by its platform: a Kubernetes service account token, an identity token of a CI job,
a SPIFFE JWT-SVID. Everything here is pure: the signature is checked by whoever has the keys.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar, NamedTuple, Self

from issuer.credentials.public_key import PublicKey, check_names, checked_url
from realmint.protocol.claims import ClaimError, audience, check_times, numeric_date, string
from realmint.protocol.jws import Unverified

LEEWAY = 30
"""Seconds that the clock of another may differ from ours."""
LONGEST_LIFE = 86400
"""Longest life in seconds of a token that is accepted, where the rule names none."""
MOST_MATCHES = 20
MAX_TEXT = 1000
"""Longest claim name, value or issuer in characters."""
SPIFFE = "spiffe://"
# What identity tokens are called: an access token of the same issuer is for somebody else (RFC 8725 section 3.11).
_TYPES = frozenset({"", "jwt", "jose"})


class RuleRefused(ValueError):
    """A rule cannot be registered; the message says why. `field`: which part of it is at fault."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class Match(NamedTuple):
    """What one claim has to say: exactly `value`, or what fits it as a glob.

    claim: its name, or with a slash in front a JSON pointer to what stands deeper (RFC 6901).
    """

    claim: str
    value: str
    glob: bool = False


class Check(NamedTuple):
    """One thing that was looked at, for whoever asks why: what was to be there, and what was.

    reason: for the log, from a closed list. what: for people, such as the name of a claim.
    """

    reason: str
    what: str
    expected: str
    found: str | None
    passed: bool


@dataclass(frozen=True)
class TrustRule:
    """Tokens of `issuer` whose claims fit every one of `matches` stand for the client.

    issuer: the `iss`, or a SPIFFE trust domain, `spiffe://example.org`, whose tokens need no `iss`. audience: the one
    value of `aud`; None for the identifier of the realm's issuer. Where its keys are: `keys`, given once and for all;
    `jwks_uri`; else what the issuer's metadata says. max_lifetime: in seconds, of a token that is accepted. once: each
    token is taken once, by its `jti`.
    """

    KIND: ClassVar[str] = "trust"
    PREFIX: ClassVar[str] = "trust"

    issuer: str
    matches: tuple[Match, ...]
    audience: str | None = None
    jwks_uri: str | None = None
    keys: tuple[PublicKey, ...] = field(default=(), repr=False)
    max_lifetime: int = LONGEST_LIFE
    once: bool = False

    def __post_init__(self) -> None:
        """Raises RuleRefused for a rule that cannot work, or that would let in more than anybody meant."""
        _check_issuer(self)
        if not self.matches:
            raise RuleRefused("a rule needs a claim to match: an issuer has tokens for others too", "matches")
        if len(self.matches) > MOST_MATCHES or len({each.claim for each in self.matches}) != len(self.matches):
            raise RuleRefused(f"a rule has at most {MOST_MATCHES} claims, each once", "matches")
        for each in self.matches:
            _check_match(each)
        if self.audience is not None and not _is_line(self.audience):
            raise RuleRefused("an audience is one line of text", "audience")
        if self.keys and self.jwks_uri is not None:
            raise RuleRefused("keys are given, or fetched, not both", "jwks")
        if self.jwks_uri is not None:
            try:
                checked_url(self.jwks_uri)
            except ValueError as error:
                raise RuleRefused(str(error), "jwks_uri") from None
        check_names([key.kid for key in self.keys])

    @property
    def is_spiffe(self) -> bool:
        """Whether it is about a SPIFFE trust domain."""
        return self.issuer.startswith(SPIFFE)

    def members(self) -> Mapping[str, Any]:
        stored: dict[str, Any] = {
            "issuer": self.issuer,
            "matches": [list(each) for each in self.matches],
            "max_lifetime": self.max_lifetime,
            "once": self.once,
        }
        optional = {"audience": self.audience, "jwks_uri": self.jwks_uri}
        stored |= {name: value for name, value in optional.items() if value is not None}
        return stored | ({"keys": [dict(key.jwk) for key in self.keys]} if self.keys else {})

    @classmethod
    def from_members(cls, members: Mapping[str, Any]) -> Self:
        matches = tuple(Match(*each) for each in members["matches"])
        keys = tuple(PublicKey.from_members({"jwk": jwk}) for jwk in members.get("keys", ()))
        max_lifetime, once, issuer = members["max_lifetime"], members["once"], members["issuer"]
        if type(max_lifetime) is not int or type(once) is not bool or not isinstance(issuer, str):
            raise ValueError("no rule")
        return cls(issuer, matches, members.get("audience"), members.get("jwks_uri"), keys, max_lifetime, once)


def checks(rule: TrustRule, token: Unverified, issuer: str, now: int) -> Iterator[Check]:
    """Everything but the signature that an outside token has to fit, in order; `issuer` is ours.

    Cheap, and without input or output. Not checked: the signature, and whether the token came before.
    """
    claims, typ = token.claims, token.protected.typ
    yield _issuer(rule, claims)
    # Of such a one a client says that it made it itself (RFC 7523 section 3), wherever it comes.
    yield Check("trust_itself", "sub", "another than iss", shown(claims.get("sub")), (
        "iss" not in claims or claims["iss"] != claims.get("sub")
    ))  # fmt: skip
    yield Check("assertion_typ", "typ", "JWT, or none", typ or None, typ in _TYPES)
    yield _audience(rule.audience or issuer, claims)
    yield _times(rule, claims, now)
    for each in rule.matches:
        found = value_at(claims, each.claim)
        yield Check("trust_claim", each.claim, each.value, shown(found), _fits(each, found))
    if rule.once:
        token_id = claims.get("jti")
        yield Check("trust_jti", "jti", "a text, for a rule that takes each token once", shown(token_id), bool(
            isinstance(token_id, str) and token_id
        ))  # fmt: skip


def comes_from(rule: TrustRule, claims: Mapping[str, Any]) -> bool:
    """Whether a token says that it is of this rule's issuer."""
    return _issuer(rule, claims).passed


def value_at(claims: Mapping[str, Any], claim: str) -> Any:
    """The value of a claim, by its name or by a JSON pointer (RFC 6901); None where there is none."""
    if not claim.startswith("/"):
        return claims.get(claim)
    value: Any = claims
    for part in claim[1:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def shown(value: Any) -> str | None:
    """A claim as people and rules write it: a text as it is, anything else as JSON; None where there is none."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _fits(match: Match, found: Any) -> bool:
    """Of a list one element has to: a workload is in each of the groups that it is said to be in."""
    values = [shown(each) for each in found] if isinstance(found, list) else [shown(found)]
    if match.glob:  # of * and ? alone: no sets of characters, of which [!x] would let nearly everything in
        pattern = match.value.replace("[", "[[]")
        return any(value is not None and fnmatchcase(value, pattern) for value in values)
    return any(value == match.value for value in values)


def _issuer(rule: TrustRule, claims: Mapping[str, Any]) -> Check:
    if rule.is_spiffe:  # JWT-SVID section 3.1: the trust domain is in `sub`, and `iss` says nothing
        subject = claims.get("sub")
        fits = isinstance(subject, str) and subject.startswith(rule.issuer + "/")
        return Check("trust_issuer", "sub", f"{rule.issuer}/...", shown(subject), fits)
    found = claims.get("iss")
    return Check("trust_issuer", "iss", rule.issuer, shown(found), found == rule.issuer)


def _audience(wanted: str, claims: Mapping[str, Any]) -> Check:
    """The only value: one that is for others too, any of them could bring to us (rfc7523bis)."""
    try:
        values: Sequence[str] = audience(claims)
    except ClaimError:
        values = ()
    return Check("trust_audience", "aud", wanted, shown(claims.get("aud")), values == (wanted,))


def _times(rule: TrustRule, claims: Mapping[str, Any], now: int) -> Check:
    """`iat` is optional, as in a JWT-SVID; a life is then counted from now."""
    expected = f"not over at {now}, no longer than {rule.max_lifetime} s"
    found = shown({name: claims[name] for name in ("iat", "nbf", "exp") if name in claims})
    try:
        check_times(claims, now, LEEWAY, issued="iat" in claims)
        began = min(numeric_date(claims, "iat"), now) if "iat" in claims else now
        fits = numeric_date(claims, "exp") - began <= rule.max_lifetime + 2 * LEEWAY
    except ClaimError:
        fits = False
    return Check("trust_time", "exp", expected, found, fits)


def _check_issuer(rule: TrustRule) -> None:
    if rule.is_spiffe:
        domain = rule.issuer.removeprefix(SPIFFE)
        good = 0 < len(domain) <= 255 and all(char in "abcdefghijklmnopqrstuvwxyz0123456789.-_" for char in domain)
        if not good:
            raise RuleRefused("a SPIFFE trust domain is written spiffe://example.org, without a path", "issuer")
        if not rule.keys and rule.jwks_uri is None:
            raise RuleRefused("a trust domain has no metadata: give its bundle, or where it is", "jwks")
        return
    try:
        string({"iss": rule.issuer}, "iss")
        if not rule.keys and rule.jwks_uri is None:
            checked_url(rule.issuer)
    except (ClaimError, ValueError):
        raise RuleRefused(
            "an issuer is an https URL; one that is only a name needs its keys given, or where they are", "issuer"
        ) from None


def _check_match(match: Match) -> None:
    if not _is_line(match.claim) or not _is_line(match.value) or type(match.glob) is not bool:
        raise RuleRefused("a claim and its value are a line of text each", "matches")
    if match.glob and not match.value.strip("*?"):
        raise RuleRefused(f"what fits every value is no rule: {match.claim}", "matches")


def _is_line(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= MAX_TEXT and text.isprintable()
