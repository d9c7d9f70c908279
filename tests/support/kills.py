"""What is issued after a class of tokens was revoked, by processes that hear of it at different moments of one second.

A second has TICKS moments; each process polls once in it, as its thread does at half of SNAPSHOT_REFRESH, and issues at
each moment a token to who is cut off, and one to somebody who is not.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.clock import FakeClock
from tests.support.issuer import Caller, Issuer

READER = "--scope read --default-scope read"
AUDITOR = "--scope am-introspect-all-tokens"
TICKS = 10


@dataclass
class Arrivals:
    """Of the tokens issued after a kill: how many were dead on arrival, the last how many ticks after it, how many
    requests of the one who was cut off were refused; and dead tokens of somebody else."""

    issued: int = 0
    dead: int = 0
    last: int = 0
    refused: int = 0
    others: int = 0


class Processes:
    """So many issuers on one store, with the clients of each kill."""

    def __init__(self, folder: Path, number: int, url: str | None = None) -> None:
        self.clock = FakeClock()
        url = url or f"sqlite:///{folder / 'store.db'}"
        quiet = {"LOG_LEVEL": "ERROR"}
        self.nodes = [Issuer(folder / f"node{n}", self.clock, url, **quiet) for n in range(number)]
        self.operator = Issuer(folder / "operator", self.clock, url, **quiet).setup()
        self.operator.run("realms create /far")
        self.far = self.operator.client("far", READER, "/far")
        self.auditors = {path: self.operator.client("auditor", AUDITOR, path) for path in ("/", "/far")}
        self._moment = 0
        self._random = random.Random(number)
        self._number = 0

    def close(self) -> None:
        for node in (self.operator, *self.nodes):
            node.runtime.close()

    def kill(self, name: str) -> Arrivals:
        """One kill at a random moment, and the second and a half after it."""
        self._number += 1
        target = self.operator.client(f"svc{self._number}", READER)
        first = self.operator.run(f"clients secrets list {target.client_id}")[0]["secret_id"]
        sibling = self.operator.client(f"other{self._number}", READER)
        # Of a whole realm, nobody else's but in another.
        other = self.far if name in OF_REALM else sibling
        for _ in range(TICKS + self._random.randrange(TICKS)):
            self._tick(target, other, None)
        commands = [line.format(client=target.client_id, secret=first) for line in KILLS[name]]
        counted = Arrivals()
        for tick in range(TICKS + TICKS // 2):
            if tick % 4 == 0 and commands:
                self.operator.run(commands.pop(0))
            self._tick(target, other, counted, tick)
        return counted

    def _tick(self, target: Caller, other: Caller, counted: Arrivals | None, tick: int = 0) -> None:
        self._moment += 1
        self.clock.advance(1 / TICKS)
        self.clock.now += self._moment % TICKS == 0
        for number, node in enumerate(self.nodes):
            if (self._moment + number * TICKS // len(self.nodes)) % TICKS == 0:
                node.runtime.registry._lookout.look()
            answer = node.token_response(target)
            theirs = node.token(other)
            if counted is None:
                continue
            counted.others += not self._active(other, theirs)
            if answer.status_code != 200:
                counted.refused += 1
                continue
            counted.issued += 1
            if not self._active(target, answer.json["access_token"]):
                counted.dead += 1
                counted.last = tick + 1

    def _active(self, caller: Caller, token: str) -> bool:
        """As a process that has heard of everything answers."""
        self.operator.runtime.registry._lookout.look()
        response = self.operator.introspect(self.auditors[caller.realm], token)
        return response.status_code == 200 and bool(response.json["active"])


OF_REALM = ("tokens revoke --all", "realms disable, enable")
KILLS: dict[str, tuple[str, ...]] = {
    "clients disable, enable": ("clients disable {client}", "clients enable {client}"),
    "secrets revoke": ("clients secrets revoke {client} {secret} --yes",),
    "tokens revoke --client": ("tokens revoke --client {client} --reason bench --yes",),
    "tokens revoke --secret": ("tokens revoke --secret {secret} --reason bench --yes",),
    "tokens revoke --all": ("tokens revoke --all --reason bench --yes",),
    "realms disable, enable": ("realms disable /", "realms enable /"),
}
"""The commands of each kill; the second four ticks after the first."""
Show = Callable[[str, Arrivals], None]


def count(folder: Path, processes: int, times: int, show: Show, url: str | None = None) -> dict[str, Arrivals]:
    """Each kill so many times, at random moments; the sum of each."""
    world = Processes(folder, processes, url)
    sums: dict[str, Arrivals] = {}
    for name in KILLS:
        total = sums[name] = Arrivals()
        for _ in range(times):
            one = world.kill(name)
            total.issued += one.issued
            total.dead += one.dead
            total.last = max(total.last, one.last)
            total.refused += one.refused
            total.others += one.others
        show(name, total)
    world.close()
    return sums
