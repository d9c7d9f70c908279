"""Time that moves when told."""

from realmint.protocol import system_clock


class TestClock:
    """A wall clock and one that never steps, for ResourceServer(clock=, monotonic=)."""

    __test__ = False  # its name makes pytest look into it

    def __init__(self, now: int | None = None) -> None:
        self.now = system_clock() if now is None else now
        self._elapsed = 1000.0
        self._fraction = 0.0

    def wall(self) -> int:
        """Whole seconds since the epoch."""
        return self.now

    def monotonic(self) -> float:
        """Seconds."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Both move on, as time passes."""
        self._elapsed += seconds
        whole, self._fraction = divmod(self._fraction + seconds, 1)
        self.now += int(whole)
