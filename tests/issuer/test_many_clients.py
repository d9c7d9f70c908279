"""What a change costs where a realm has very many clients: no more than where it has few. Counted, not timed.

Every change holds the one lock of the change log while it is made (design decision 15), and so everybody else's up.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Table, func, select, update

from bench import crowd
from issuer import slots
from issuer.admin import clients, keys, realms, secrets, tokens
from issuer.admin.change import Administration
from issuer.storage.changes import record_change
from issuer.storage.tables import revoked_tokens, status_ranges
from keys.audit import Actor
from tests.support import postgres
from tests.support.clock import FakeClock
from tests.support.issuer import Issuer
from tests.support.work import Work, analyze

FEW, MANY = 200, 4000
ACTOR = Actor("test", "operation", "test")
READ = {"scopes": ["read"]}


@dataclass
class Crowd:
    """One issuer, one realm /crowd with so many clients, and /other with one."""

    issuer: Issuer
    work: Work

    @property
    def admin(self) -> Administration:
        return self.issuer.runtime.administration

    def cost(self, act: Callable[["Crowd"], object]) -> int:
        with self.work.counting() as work:
            act(self)
        return work.done


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crowds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Crowd, Crowd]]:
    """Half of the ranges ended a while ago, by far not long enough to be pruned."""
    made = []
    for number in (FEW, MANY):
        folder = tmp_path_factory.mktemp(f"crowd-{number}")
        made.append(_crowd(folder, _url(request, folder), number))
    yield made[0], made[1]
    for each in made:
        each.issuer.runtime.close()


def _url(request: pytest.FixtureRequest, folder: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{folder / 'store.db'}"
    server: postgres.Server = request.getfixturevalue("postgres_server")
    return server.url(server.create_database())


def _crowd(folder: Path, url: str, number: int) -> Crowd:
    issuer = Issuer(folder / "instance", FakeClock(), url).setup()
    for path in ("/crowd", "/other"):
        issuer.run(f"realms create {path}")
    issuer.client("svc", realm="/other")
    crowd.load(issuer.runtime.database, "/crowd", number)
    with issuer.runtime.database.write() as connection:
        half = status_ranges.c.client_pk % 2 == 0
        connection.execute(update(status_ranges).where(half).values(ended_at=issuer.clock.now))
    analyze(issuer.runtime.database)
    issuer.clock.advance(1000)
    return Crowd(issuer, Work(issuer.runtime.database))


def _tell(crowd: Crowd) -> None:
    """One client changed, and a process hears of it."""
    with crowd.issuer.runtime.database.change() as connection:
        record_change(connection, 2, "c4")
    crowd.issuer.runtime.registry._lookout.look()


CHANGES: dict[str, Callable[[Crowd], object]] = {
    "clients create": lambda it: clients.create(it.admin, "/crowd", None, READ, ACTOR),
    "clients create elsewhere": lambda it: clients.create(it.admin, "/other", None, READ, ACTOR),
    "clients update": lambda it: clients.update(it.admin, "/crowd", "c4", {"audiences": ["x"]}, ACTOR),
    "secrets add": lambda it: secrets.add(it.admin, "/crowd", "c4", ACTOR),
    "clients disable": lambda it: clients.disable(it.admin, "/crowd", "c6", ACTOR),
    "clients enable": lambda it: clients.enable(it.admin, "/crowd", "c6", ACTOR),
    "clients delete": lambda it: clients.delete(
        it.admin, "/crowd", "c8", ACTOR, seen=clients.find(it.admin, "/crowd", "c8")[1]
    ),
    "tokens revoke --jti": lambda it: tokens.revoke(it.admin, "/crowd", slots.token_id(256 * 9), ACTOR),
    "tokens revoke --client": lambda it: tokens.revoke_of_client(it.admin, "/crowd", "c10", ACTOR),
    "tokens revoke --secret": lambda it: tokens.revoke_of_secret(it.admin, "/crowd", "sec-13", ACTOR),
    "tokens revoke --all": lambda it: tokens.revoke_all(it.admin, "/crowd", ACTOR),
    "realms update": lambda it: realms.update(it.admin, "/crowd", {"access_token_lifetime": 300}, ACTOR),
    "realms disable": lambda it: realms.disable(it.admin, "/crowd", ACTOR),
    "realms enable": lambda it: realms.enable(it.admin, "/crowd", ACTOR),
    "keys rotate": lambda it: keys.rotate(it.admin, "/crowd", ACTOR, force=True),
    "a process hears of a client": _tell,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_costs_no_more_in_a_realm_of_many_clients(crowds: tuple[Crowd, Crowd], name: str) -> None:
    few, many = (each.cost(CHANGES[name]) for each in crowds)
    assert few > 0
    assert many <= 1.3 * few + 50, (few, many)


def test_what_goes_beside_a_change_is_a_few_rows_however_many_are_dead(crowds: tuple[Crowd, Crowd]) -> None:
    costs = []
    for each, number in zip(crowds, (5 * FEW, 5 * MANY), strict=True):
        now = each.issuer.clock.now
        with each.issuer.runtime.database.write() as connection:
            crowd.insert_many(connection, revoked_tokens, [_dead(256 * n, now - 3600) for n in range(number)])
        analyze(each.issuer.runtime.database)
        costs.append(each.cost(lambda it: clients.update(it.admin, "/other", "svc", {"name": "sooner"}, ACTOR)))
        assert number - 40 < _count(each, revoked_tokens) < number
        each.issuer.clock.advance(3600)
        ended = _count(each, status_ranges)
        analyze(each.issuer.runtime.database)
        costs.append(each.cost(lambda it: clients.update(it.admin, "/other", "svc", {"name": "later"}, ACTOR)))
        assert ended - 40 < _count(each, status_ranges) < ended
    assert costs[2] <= 1.3 * costs[0] + 50
    assert costs[3] <= 1.3 * costs[1] + 50


def _dead(index: int, exp: int) -> dict[str, object]:
    return {"realm_id": 2, "jti": slots.token_id(index), "index": index, "exp": exp, "generation": index}


def _count(crowd: Crowd, table: Table) -> int:
    with crowd.issuer.runtime.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0
