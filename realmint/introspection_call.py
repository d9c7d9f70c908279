"""One question to an introspection endpoint (RFC 7662) and what its answer says. Pure."""

import email.utils
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlencode

from realmint.messages import Request, Response, TransportError
from realmint.protocol.jws import JWSError, parse_object
from realmint.protocol.names import FORM_MEDIA_TYPE
from realmint.reach import Reach

MAX_ANSWER = 65536
CALL_SECONDS = 1.0
"""Longest exchange, its whole."""
TIED = ("iss", "jti", "sub", "client_id")
"""Claims by which an answer is known to be about the token that was asked about."""
NOT_HERE = frozenset({301, 302, 303, 307, 308, 404, 405, 410})
"""Statuses of an address that has moved."""
NOT_THIS = frozenset({400, 413, 414, 422, 431})
"""Statuses that say something of what was sent, and nothing of how another question would fare."""


class Said(NamedTuple):
    """What the issuer said of a token: that it is active and what it says, or that it is not. size: in bytes."""

    active: bool
    claims: Mapping[str, Any] = MappingProxyType({})
    size: int = 0

    def __repr__(self) -> str:
        return f"Said(active={self.active}, size={self.size})"


class Failed(NamedTuple):
    """No answer that counts. `reason` is that of Unavailable, `cause` a few fixed words, `error` what was raised.

    moved: the address may be another by now. pause: seconds for which the endpoint asked to be left alone. alone:
    whether it is there and answers others: what anybody sends must not be able to close it for everybody.
    """

    reason: str
    cause: str
    error: TransportError | None = None
    moved: bool = False
    pause: float | None = None
    alone: bool = False


def request(reach: Reach, endpoint: str, token: str, headers: Mapping[str, str], form: Mapping[str, str]) -> Request:
    """Asks about `token` (RFC 7662 section 2.1). headers, form: what shows which client asks."""
    sent = {"Accept": "application/json", "Content-Type": FORM_MEDIA_TYPE, **headers}
    body = urlencode({"token": token, "token_type_hint": "access_token", **form}).encode()
    return reach.request("POST", endpoint, sent, body=body, max_bytes=MAX_ANSWER, seconds=CALL_SECONDS)


def read_answer(answer: Response | TransportError, now: int) -> Said | Failed:
    """What came of it. Only a boolean `active` says anything of a token (RFC 7662 section 2.2)."""
    if isinstance(answer, TransportError):
        return Failed("introspection_unreachable", str(answer), answer, moved=True)
    if answer.status == 401:  # our own credentials (RFC 7662 section 2.3): it says nothing of the token
        return Failed("introspection_credentials", "status 401")
    if answer.status != 200:
        pause = _pause(answer.headers.get("retry-after", ""), now) if answer.status in (429, 503) else None
        kind = "redirect" if 300 <= answer.status < 400 else f"status {answer.status}"
        return Failed(
            "introspection_failed", kind, moved=answer.status in NOT_HERE, pause=pause, alone=answer.status in NOT_THIS
        )
    try:
        document = parse_object(answer.body)
    except JWSError:
        return Failed("introspection_failed", "answer is not a JSON object")
    active = document.get("active")
    if active is True or active is False:
        return Said(active, document, len(answer.body))
    return Failed("introspection_failed", "answer without a boolean active")


def other_claims(answer: Mapping[str, Any], read: Mapping[str, Any], lacking: Collection[str] = ()) -> list[str]:
    """The names of claims by which `answer` is not about the token that says `read` (RFC 7662 names no such check).

    Whatever mixes answers up, on our side, on theirs or between, must not let one client in as another. An answer that
    lacks one of the claims is not known to be about this token. lacking: claims that it may lack all the same.
    """
    tied = (name for name in TIED if name in answer or name not in lacking)
    return [name for name in tied if not isinstance(answer.get(name), str) or answer[name] != read.get(name)]


def _pause(text: str, now: int) -> float | None:
    """Seconds from now that a Retry-After says (RFC 9110 section 10.2.3); None where it says none."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0.0, date - now)
