"""When to leave alone what keeps failing. Pure: it is told the time and how each call ended.

| state | when | a call |
|---|---|---|
| closed | calls succeed | is made |
| open | 5 failed in a row, half of 20 or more in 10 s did, or it asked for a pause | is refused |
| half open | the pause is over | one is made, which decides; the others are refused |

The pause is 1 s, and doubles up to 30 s with each call that was tried in between and failed.
"""

import math
from typing import Literal, NamedTuple

IN_A_ROW = 5
WINDOW = 10.0
MANY = 20
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
LONGEST_ASKED = 60.0
"""Longest pause in seconds that the other side is granted (Retry-After, RFC 9110 section 10.2.3)."""
_JITTER = 0.2

State = Literal["closed", "open", "half open"]


class _Ended(NamedTuple):
    at: float
    failed: bool


class Breaker(NamedTuple):
    """What is known of one place that is called. Nothing here changes: what does answers with another one.

    reason: why the last call failed that did.
    """

    reason: str = ""
    in_a_row: int = 0
    recent: tuple[_Ended, ...] = ()
    retry_at: float | None = None
    """When the pause is over; None while closed."""
    pause: float = FIRST_PAUSE
    """The next one."""
    trying: bool = False
    """Whether the one call that decides is under way."""

    def state(self, now: float) -> State:
        if self.retry_at is None:
            return "closed"
        return "open" if now < self.retry_at and not self.trying else "half open"

    def admit(self, now: float) -> "tuple[Breaker, bool] | None":
        """As it is once a call was let through, and whether that one decides; None when none is let through."""
        if self.retry_at is None:
            return self, False
        return (self._replace(trying=True), True) if now >= self.retry_at and not self.trying else None

    def retry_after(self, now: float) -> int:
        """Whole seconds, from 1 on, until a call may be let through."""
        return max(1, math.ceil(self.retry_at - now)) if self.retry_at is not None else 1

    def succeeded(self, now: float, *, decides: bool) -> "Breaker":
        """After a call that did what it should. One that set out before it opened closes nothing."""
        if decides:
            return Breaker()
        return self._replace(in_a_row=0, recent=self._with(now, failed=False))

    def failed(self, reason: str, now: float, jitter: float, *, decides: bool, pause: float | None = None) -> "Breaker":
        """After one that did not. jitter: drawn from 0 to 1. pause: seconds that the other side asked for."""
        after = self._replace(reason=reason, in_a_row=self.in_a_row + 1, recent=self._with(now, failed=True))
        if decides or (after.retry_at is None and after._fails()):  # noqa: SLF001 - itself, a moment later
            length = min(after.pause * (1 - _JITTER + 2 * _JITTER * jitter), LONGEST_PAUSE)
            after = after._replace(retry_at=now + length, pause=min(2 * after.pause, LONGEST_PAUSE))
        if decides:
            after = after._replace(trying=False)
        if pause is not None:
            asked = now + min(pause, LONGEST_ASKED)
            after = after._replace(retry_at=asked if after.retry_at is None else max(asked, after.retry_at))
        return after

    def abandoned(self) -> "Breaker":
        """The call that decides was not made."""
        return self._replace(trying=False)

    def _with(self, now: float, *, failed: bool) -> tuple[_Ended, ...]:
        return (*(one for one in self.recent if now - one.at < WINDOW), _Ended(now, failed))[-4 * MANY :]

    def _fails(self) -> bool:
        failed = sum(one.failed for one in self.recent)
        return self.in_a_row >= IN_A_ROW or (len(self.recent) >= MANY and 2 * failed >= len(self.recent))
