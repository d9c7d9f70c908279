"""A worker with 10,000 realms and 100,000 clients, every one of which gets a token, twice: what it holds then."""

from bench import many_realms
from bench.figures import Figure, Run

PART = "memory"
REALMS, CLIENTS = 10_000, 100_000


def measure(run: Run, realms: int = REALMS, clients: int = CLIENTS) -> None:
    """Once, whatever the rounds: it takes minutes."""
    run.tell(f"memory: {realms} realms and {clients} clients are made, then each gets a token, twice")
    found = many_realms.measure(realms, clients)
    run.figures += [
        Figure(PART, name, "", {measure: [value] for measure, value in row.items()}) for name, row in found.items()
    ]
