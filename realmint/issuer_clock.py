"""The time by an issuer's clock, as far as its answers tell (RFC 9110 section 6.6.1). Pure."""

import re
from calendar import timegm
from collections.abc import Mapping

from realmint.key_policy import age
from realmint.messages import Response

# RFC 9110 section 5.6.7, the one form that is sent today.
_DATE = re.compile(r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-2][0-9]):([0-5][0-9]):([0-6][0-9]) GMT")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def date(headers: Mapping[str, str]) -> int | None:
    """When the answer was written, by its server's clock, in seconds since the epoch (RFC 9110 section 6.6.1)."""
    match = _DATE.fullmatch(headers.get("date", ""))
    if match is None or match[2] not in _MONTHS or not 1970 <= int(match[3]) <= 9999 or not 1 <= int(match[1]) <= 31:
        return None
    month = _MONTHS.index(match[2]) + 1
    return timegm((int(match[3]), month, int(match[1]), int(match[4]), int(match[5]), int(match[6])))


def dated(answer: Response) -> int | None:
    """When the issuer wrote the answer: as it says, else as our clock does."""
    said = date(answer.headers)
    if said is not None or answer.received_at is None:
        return said
    return answer.received_at - age(answer.headers)


def clock_offset(answer: Response) -> int | None:
    """By how many seconds our clock is ahead of the issuer's; None where that cannot be told."""
    said = date(answer.headers)
    if said is None or answer.received_at is None:
        return None
    return answer.received_at - (said + age(answer.headers))
