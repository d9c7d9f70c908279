"""Claim checks with strict types against an explicit now (RFC 7519 section 4.1, RFC 9068 section 4).

Every function raises ClaimError with a reason from the closed list `REASONS`, and never coerces:
`true` is not a number, a list is not a string, NaN does not exist.
"""

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from realmint.protocol.names import ScopeError, parse_scope

MAX_STRING = 1024
"""Longest string claim in characters, the scope apart."""
MAX_NUMERIC_DATE = 253402300799
"""31 December 9999, the last second that calendars agree on."""
_parsed = lru_cache(maxsize=256)(parse_scope)  # what clients are given repeats
_NUMBERS = (int, float)  # and not bool, which is a kind of int to Python alone

REASONS = frozenset({"claim_missing", "claim_type", "issuer", "audience", "expired", "not_yet_valid", "lifetime"})


class ClaimError(Exception):
    """A claim was refused. `reason` says which rule, `claim` its name; the value is never kept."""

    def __init__(self, reason: str, claim: str) -> None:
        super().__init__(f"{reason}: {claim}")
        self.reason = reason
        self.claim = claim


def string(claims: Mapping[str, Any], name: str) -> str:
    """A required, non-empty string claim without control characters, of at most MAX_STRING characters."""
    value: Any = claims.get(name)
    if value is None and name not in claims:
        raise ClaimError("claim_missing", name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_STRING or not value.isprintable():
        raise ClaimError("claim_type", name)
    return value


def numeric_date(claims: Mapping[str, Any], name: str) -> float:
    """A required NumericDate (RFC 7519 section 2): a number, not a boolean, from 0 to year 9999."""
    value: Any = claims.get(name)
    if value is None and name not in claims:
        raise ClaimError("claim_missing", name)
    if type(value) not in _NUMBERS or not 0 <= value <= MAX_NUMERIC_DATE:
        raise ClaimError("claim_type", name)
    number: float = value
    return number


def check_issuer(claims: Mapping[str, Any], issuer: str) -> None:
    """`iss` is exactly `issuer` (RFC 9068 section 4): no prefixes, no lists, no normalisation."""
    if claims.get("iss") != issuer:
        string(claims, "iss")  # what is no issuer at all is refused as that
        raise ClaimError("issuer", "iss")


def audience(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """The values of `aud`, a string or a non-empty list of strings (RFC 7519 section 4.1.3)."""
    if "aud" not in claims:
        raise ClaimError("claim_missing", "aud")
    value = claims["aud"]
    if isinstance(value, str) and value:
        return (value,)
    if not isinstance(value, list) or not value or not all(isinstance(v, str) and v for v in value):
        raise ClaimError("claim_type", "aud")
    return tuple(value)


def check_audience(claims: Mapping[str, Any], accepted: Collection[str]) -> None:
    """At least one value of `aud` is one of `accepted`, compared exactly."""
    value = claims.get("aud")
    if type(value) is str and value in accepted:  # what nearly every token says
        return
    if frozenset(accepted).isdisjoint(audience(claims)):
        raise ClaimError("audience", "aud")


def check_times(
    claims: Mapping[str, Any], now: int, leeway: int, max_lifetime: int | None = None, *, issued: bool = True
) -> None:
    """The token is within its life at `now`, tolerating `leeway` seconds of clock difference either way.

    `exp` and `iat` are required; expiry equal to now is expired (RFC 7519 section 4.1.4). With
    `max_lifetime`, in seconds, a token that lives longer is refused. issued: False to leave `iat` out of it.
    """
    exp = numeric_date(claims, "exp")
    iat = numeric_date(claims, "iat") if issued else None
    if exp <= now - leeway:
        raise ClaimError("expired", "exp")
    if iat is not None and iat > now + leeway:
        raise ClaimError("not_yet_valid", "iat")
    if "nbf" in claims and numeric_date(claims, "nbf") > now + leeway:
        raise ClaimError("not_yet_valid", "nbf")
    if iat is not None and (exp <= iat or (max_lifetime is not None and exp - iat > max_lifetime)):
        raise ClaimError("lifetime", "exp")


def scope_values(claims: Mapping[str, Any], *, lists: bool = False) -> tuple[str, ...]:
    """The values of `scope`, a string (RFC 9068 section 2.2.3, RFC 8693 section 4.2); none when absent.

    lists: a list of strings counts too, as AM and others write it.
    """
    if "scope" not in claims:
        return ()
    value = claims["scope"]
    if lists and isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = " ".join(value)
    if not isinstance(value, str):
        raise ClaimError("claim_type", "scope")
    try:
        return _parsed(value) if value else ()
    except ScopeError:
        raise ClaimError("claim_type", "scope") from None
