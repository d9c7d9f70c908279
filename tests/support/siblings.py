"""A credential that revokes every token it is done with, second by second, by the real decisions, views and statements.

Time is an argument: an hour takes as long as its statements do.
"""

import heapq
import random
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from issuer import slots
from issuer.storage import realms as realm_store
from issuer.storage import revoked
from tests.support.clock import FakeClock
from tests.support.issuer import Issuer

LIFETIME = 600


@dataclass(eq=False)
class Held:
    """A token in use. `early`: some API refuses it that checks locally, though nobody revoked it."""

    index: int
    exp: int
    early: bool = False


@dataclass
class Counted:
    """early: of those that were revoked, what a sibling had taken along while it was used. lengths: of the ranges that the credential had."""

    issued: int = 0
    revoked: int = 0
    early: int = 0
    lengths: list[int] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.early / max(self.revoked, 1)


class Busy:
    """One credential, issued to by several processes in turn, each of which hears once a second."""

    def __init__(self, folder: Path, per_second: int, processes: int = 2) -> None:
        self.clock = FakeClock()
        url = f"sqlite:///{folder / 'store.db'}"
        nodes = [Issuer(folder / f"node{n}", self.clock, url, LOG_LEVEL="ERROR") for n in range(processes)]
        self.nodes = nodes
        self.secret_id = nodes[0].setup().run("clients create busy --scope read")["secret_id"]
        self.per_second = per_second
        self.counted = Counted()
        self._random = random.Random(per_second)
        self._in_use: list[tuple[float, int, Held]] = []
        self._of_index: dict[int, set[Held]] = defaultdict(set)
        self._set: set[int] = set()

    def run(self, seconds: int) -> Counted:
        """So many seconds of issuing and revoking. A token is used for anything up to its lifetime."""
        for second in range(seconds):
            for node in self.nodes:
                node.runtime.registry._lookout.look()
            for number in range(self.per_second):
                self._issue(second + number / self.per_second, self.nodes[number % len(self.nodes)])
            self._revoke_those_done(second + 1)
            self.clock.advance(1)
        self.counted.lengths = self._lengths()
        return self.counted

    def close(self) -> None:
        for node in self.nodes:
            node.runtime.close()

    def _issue(self, at: float, node: Issuer) -> None:
        view = node.runtime.registry.realm("/")
        assert view is not None
        client = node.runtime.registry.client(view.realm.id, "busy")
        assert client is not None
        index = slots.draw(client.ranges[self.secret_id], view.set_indexes)
        token = Held(index, self.clock.now + LIFETIME, early=index in self._set)
        self._of_index[index].add(token)
        self.counted.issued += 1
        heapq.heappush(self._in_use, (at + self._random.uniform(0, LIFETIME), self.counted.issued, token))

    def _revoke_those_done(self, by: float) -> None:
        """In one transaction for a second's: what each writes is the same."""
        with self.nodes[0].runtime.database.change() as connection:
            realm = realm_store.find(connection, "/")
            assert realm is not None
            while self._in_use and self._in_use[0][0] < by:
                token = heapq.heappop(self._in_use)[2]
                jti = slots.token_id(token.index)
                assert revoked.revoke(connection, realm, jti, self.clock.now, token.exp) is not None
                self._done(token)

    def _done(self, token: Held) -> None:
        self.counted.revoked += 1
        self.counted.early += token.early
        siblings = self._of_index[token.index]
        siblings.discard(token)
        for sibling in siblings:
            sibling.early = True
        self._set.add(token.index)

    def _lengths(self) -> list[int]:
        with self.nodes[0].runtime.database.read() as connection:
            rows = connection.exec_driver_sql('SELECT length FROM status_ranges ORDER BY "offset"')
            return [int(length) for (length,) in rows]
