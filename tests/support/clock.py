"""Time as an argument: a wall clock and a monotonic one that move only when told."""

START = 1_795_400_000


class FakeClock:
    def __init__(self, now: int = START) -> None:
        self.now = now
        self.elapsed = 1000.0

    def wall(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.elapsed

    def advance(self, seconds: float) -> None:
        """Both clocks move on, as time passes."""
        self.now += int(seconds)
        self.elapsed += seconds

    def step(self, seconds: int) -> None:
        """Only the wall clock moves, as when somebody sets it."""
        self.now += seconds
