"""The whole decision about an access token (RFC 9068 section 4), in order, cheapest checks first. No I/O, no clock.

What it has to know from elsewhere it yields as a need, and is told; so threads and an event loop share it.
"""

from collections.abc import Callable, Generator, Iterable
from types import MappingProxyType
from typing import NamedTuple, TypeAlias, TypeGuard

from realmint.access_token import AccessToken, Claims, Source, StatusAt
from realmint.bearer import InvalidToken, Unavailable, check_token
from realmint.protocol import checksummed, jws
from realmint.protocol.claims import (
    ClaimError,
    audience,
    check_audience,
    check_issuer,
    check_times,
    numeric_date,
    scope_values,
    string,
)
from realmint.protocol.names import ACCESS_TOKEN_TYP, JWT_TYP
from realmint.protocol.status_list import VALID
from realmint.rules import Book, Rules


class Verdict(NamedTuple):
    """An accepted token, and what that rests on: a key and a status, where it was decided by them alone."""

    token: AccessToken
    key: jws.VerificationKey | None = None
    status: StatusAt | None = None


class KeyNeeded(NamedTuple):
    """The issuer's key of this name; every one that has this algorithm, where the token names none.

    issued_at: when the token says it was issued. Answered with `keys`, or by raising InvalidToken or Unavailable.
    """

    issuer: str
    kid: str | None
    alg: str
    issued_at: float | None = None


class StatusNeeded(NamedTuple):
    """A status. Answered with `status`, or by raising InvalidToken or Unavailable."""

    issuer: str
    at: StatusAt


class IssuerAsked(NamedTuple):
    """What the issuer says of the token; `read`: the claims that were read in it, None where nothing was.

    verified: whether it passed the local checks. fresh: no answer of before will do. Answered with `claims`, or by
    raising InvalidToken or Unavailable.
    """

    issuer: str
    token: str
    read: Claims | None
    verified: bool = False
    fresh: bool = False

    def __repr__(self) -> str:
        return f"IssuerAsked(issuer={self.issuer!r}, verified={self.verified}, fresh={self.fresh})"


Need: TypeAlias = KeyNeeded | StatusNeeded | IssuerAsked


class Told(NamedTuple):
    """The answer to a need, and the time at which it came, in seconds since the epoch."""

    now: int
    keys: tuple[jws.VerificationKey, ...] = ()
    claims: Claims | None = None
    status: int = VALID


Decision: TypeAlias = Generator[Need, Told, Verdict]
KeyAtHand: TypeAlias = Callable[[str, str], jws.VerificationKey | None]
"""An issuer's key of a name, where it may be used as it is; None where something has to be done for it."""
StatusAtHand: TypeAlias = Callable[[str, StatusAt, int], int | None]
"""The status that an issuer gives at a place and a time, in the same way."""
Fits: TypeAlias = Callable[[Claims], object]
"""Raises InvalidToken for claims by which a token is bound to what the request does not show."""


def unbound(claims: Claims) -> None:
    """Nothing is shown: what is bound to a key must not pass as a plain bearer token (RFC 9449 section 7.2)."""
    if "cnf" in claims:
        raise InvalidToken("cnf")


def nothing(claims: Claims) -> None:
    """Nothing is shown, and a token needs a proof."""
    unbound(claims)
    raise InvalidToken("unbound")


def decide_at_hand(
    token: object, book: Book, now: int, key_at_hand: KeyAtHand, status_at_hand: StatusAtHand, fits: Fits = unbound
) -> Verdict | None:
    """What decide() comes to, where all that it needs is at hand: so it is with nearly every token.

    None where it is not, or where the issuer has to be asked: of the token nothing is said. Raises InvalidToken.
    """
    if not _is_jwt(token):
        return None
    unverified, rules = read(token, book, now, fits)
    kid = unverified.protected.kid
    key = key_at_hand(rules.issuer, kid) if kid is not None and rules.mode != "live" else None
    if key is None:
        return None
    accepted = _accepted(unverified, (key,), rules, now, fits, fitted_at=now)[0]
    at = status_at(unverified.claims) if rules.statuses else None
    if at is not None:
        status = status_at_hand(rules.issuer, at, now)
        if status is None:
            return None
        _check_status(status)
    return Verdict(accepted, key, at)


def decide(token: object, book: Book, now: int, *, live: bool = False, fits: Fits = unbound) -> Decision:
    """The accepted token. live: the issuer is asked as well. fits: what it may be bound to.

    Raises InvalidToken, Unavailable. Not checked: the scope, and the proof that a key is held.
    """
    unverified, verified = None, False
    text = token if _is_jwt(token) else check_token(token)
    if _is_jwt(text) or book.opaque is None:
        unverified, rules = read(text, book, now, fits)
        asks = live or rules.mode == "live"
        try:
            # A token that the local checks proved bad is never sent on.
            verdict = yield from _locally(unverified, rules, now, fits, statuses=rules.statuses and not asks)
        except Unavailable:
            if rules.mode is None:
                raise
        else:
            if not asks:
                return verdict
            verified = True
    else:
        rules = book.opaque
        if _is_mistyped(text):
            raise InvalidToken("malformed")  # nobody could ever have issued it: no call is worth it
    claims = unverified.claims if unverified is not None else None
    told = yield IssuerAsked(rules.issuer, text, claims, verified, live or rules.mode == "live")
    assert told.claims is not None
    return Verdict(check(_still_bound(told.claims, claims), rules, told.now, "introspection", fits))


def _still_bound(said: Claims, read: Claims | None) -> Claims:
    """What the issuer says: of a token that says itself what it is bound to, an answer that does not frees nobody."""
    if read is None or "cnf" not in read:
        return said
    if said.get("cnf", read["cnf"]) != read["cnf"]:
        raise InvalidToken("cnf")
    return {**said, "cnf": read["cnf"]}


def _locally(unverified: jws.Unverified, rules: Rules, now: int, fits: Fits, *, statuses: bool) -> Decision:
    """By key, claims and status alone. now: when the claims were read, and fitted."""
    issued_at = unverified.claims.get("iat")
    told = yield KeyNeeded(rules.issuer, unverified.kid, unverified.alg, issued_at if _is_number(issued_at) else None)
    token, key = _accepted(unverified, told.keys, rules, told.now, fits, fitted_at=now)
    at = status_at(unverified.claims) if statuses else None
    if at is not None:
        now, told = told.now, (yield StatusNeeded(rules.issuer, at))
        _check_status(told.status)
        if told.now != now:
            _check_still_live(unverified.claims, rules, told.now)
    return Verdict(token, key, at)


def _check_status(status: int) -> None:
    if status != VALID:  # 1 is invalid, 2 suspended; what another means its issuer alone knows
        raise InvalidToken("revoked")


def _check_still_live(claims: Claims, rules: Rules, now: int) -> None:
    """Of a token that was live a moment ago. Raises InvalidToken."""
    try:
        check_times(claims, now, rules.leeway, issued=False)
    except ClaimError as error:
        raise InvalidToken(error.reason) from None


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_jwt(token: object) -> TypeGuard[str]:
    """Whether it has the three parts of a compact JWS; whatever else is wrong with those, read() finds."""
    return isinstance(token, str) and token.count(".") == 2


def _is_mistyped(text: str) -> bool:
    """Whether it looks like an opaque token of Realmint's, whose checksum is wrong."""
    prefix = checksummed.OPAQUE_TOKEN
    return checksummed.has_shape(prefix, text) and not checksummed.fits(prefix, text)


def read(token: str, book: Book, now: int, fits: Fits = unbound) -> tuple[jws.Unverified, Rules]:
    """What the token says, where that may be worth a key, and what it must be: junk must not cause a fetch.

    Raises InvalidToken.
    """
    try:
        unverified = jws.peek(token)
        rules = _rules_for(unverified.claims, book)
        alg, kid, typ = unverified.protected[1:]
        # RFC 9068 section 4.
        if typ != ACCESS_TOKEN_TYP and not (rules.legacy.allow_typ_jwt and typ in ("", JWT_TYP.lower())):
            raise InvalidToken("typ")
        if alg not in rules.algorithms:
            raise InvalidToken("alg")
        if kid is None and not rules.legacy.allow_missing_kid:
            raise InvalidToken("key_unknown")
        _check_addressed_and_live(unverified.claims, rules, now, "local")
        fits(unverified.claims)
    except (jws.JWSError, ClaimError) as error:
        raise InvalidToken(error.reason) from None
    return unverified, rules


def _rules_for(claims: Claims, book: Book) -> Rules:
    issuer = claims.get("iss")
    found = book.by_issuer.get(issuer) if isinstance(issuer, str) else None
    if found is None:
        string(claims, "iss")  # what is no issuer at all is refused as that
        raise ClaimError("issuer", "iss")
    return found


def check(
    claims: Claims, rules: Rules, now: int, source: Source, fits: Fits = unbound, *, fitted_at: int | None = None
) -> AccessToken:
    """The token that says `claims`, which its signature or its issuer vouches for. Raises InvalidToken.

    fitted_at: when the same claims were found to be for this API, live and fitting: at `now` too they are.
    """
    legacy = rules.legacy
    try:
        if fitted_at != now:
            check_issuer(claims, rules.issuer)
            _check_addressed_and_live(claims, rules, now, source)
            fits(claims)
        client_id = _client_id(claims, rules)
        return AccessToken(
            client_id=client_id,
            subject=client_id if legacy.allow_missing_sub and "sub" not in claims else string(claims, "sub"),
            scopes=frozenset(scope_values(claims, lists=legacy.allow_scope_list)),
            audience=audience(claims) if "aud" in claims else (),
            jti="" if legacy.allow_missing_jti and "jti" not in claims else string(claims, "jti"),
            expires_at=int(numeric_date(claims, "exp")),
            issuer=rules.issuer,
            realm=string(claims, "realm") if "realm" in claims else None,
            source=source,
            claims=MappingProxyType(dict(claims)),
        )
    except ClaimError as error:
        raise InvalidToken(error.reason) from None


def status_at(claims: Claims) -> StatusAt | None:
    """Where the status of a token is, if it has one (Token Status List, section 6). Raises InvalidToken("status")."""
    status = claims.get("status")
    if status is None and "status" not in claims:
        return None
    where = status.get("status_list") if isinstance(status, dict) else None
    uri, index = (where.get("uri"), where.get("idx")) if isinstance(where, dict) else (None, None)
    # What is there and not understood may say that it does not count any more.
    if not isinstance(uri, str) or type(index) is not int or index < 0:
        raise InvalidToken("status")
    return StatusAt(uri, index)


def _client_id(claims: Claims, rules: Rules) -> str:
    if rules.legacy.allow_missing_client_id and "client_id" not in claims:
        return string(claims, "azp" if "azp" in claims else "sub")
    return string(claims, "client_id")


def _check_addressed_and_live(claims: Claims, rules: Rules, now: int, source: Source) -> None:
    local = source == "local"
    if local or "aud" in claims or not rules.legacy.allow_missing_audience:
        check_audience(claims, rules.audience)
    # RFC 7662 section 2.2 makes most members optional; what decides must be there, and `iat` does not.
    issued = local and ("iat" in claims or not rules.legacy.allow_missing_iat)
    check_times(claims, now, rules.leeway, issued=issued)


def _accepted(
    unverified: jws.Unverified,
    keys: Iterable[jws.VerificationKey],
    rules: Rules,
    now: int,
    fits: Fits,
    *,
    fitted_at: int,
) -> tuple[AccessToken, jws.VerificationKey]:
    """The token, and which of the keys signed it. Raises InvalidToken, as where none of them did."""
    reason = "key_unknown"
    for key in keys:
        try:
            jws.check_signature(unverified, key)
        except jws.JWSError as error:
            reason = error.reason
        else:
            return check(unverified.claims, rules, now, "local", fits, fitted_at=fitted_at), key
    raise InvalidToken(reason)
