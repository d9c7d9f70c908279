"""One issuer with a cast of clients for the tests that change nothing in it, and what is written to the log."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from issuer import log
from issuer.storage import clients as client_store
from issuer.storage import realms as realm_store
from issuer.storage.changes import record_change
from tests.support.clock import FakeClock
from tests.support.issuer import Caller, Issuer

ORDERS = "https://orders.example"
STOCK = "https://stock.example"
READER = "--scope read --default-scope read"


@dataclass
class House:
    """An issuer and its clients by name. Nobody changes them; the clock may move on."""

    issuer: Issuer
    clients: dict[str, Caller] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Caller:
        return self.clients[name]

    def add(self, name: str, options: str = READER, realm: str = "/", secret: str | None = None) -> None:
        made = self.issuer.run(
            f"clients create {name} --realm {realm} {options} {'--secret-stdin' if secret else ''}", secret
        )
        self.clients[name] = Caller(name, secret or made["client_secret"], realm)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Without a limit of failures, since hundreds of cases fail at one and the same instant."""
    house = House(Issuer(tmp_path_factory.mktemp("house"), FakeClock(), AUTH_FAILURES_PER_MINUTE="0"))
    house.issuer.runtime.boot()
    house.issuer.run("realms create /customers --scope read --scope write")
    house.add("svc", f"--scope 'read write Read' --default-scope read --audience {ORDERS} --audience {STOCK}")
    house.add("other")
    house.add("plain", f"{READER} --audience 'kafka {ORDERS}'")
    house.add("api", f"--resource-identifier {ORDERS}")
    house.add("auditor", "--scope am-introspect-all-tokens --scope read")
    house.add("basic-only", f"{READER} --auth-method client_secret_basic")
    house.add("post-only", f"{READER} --auth-method client_secret_post")
    house.add("off")
    house.add("past", f"{READER} --expires-in 1s")
    house.add("no-default", "--scope read")
    house.add("no-grant")
    house.add("elsewhere", realm="/customers")
    house.add("legacy", secret="s+ %:ü-legacy")
    house.issuer.run("clients disable off")
    without_grant(house.issuer, "no-grant")
    house.issuer.clock.advance(10)
    yield house
    house.issuer.runtime.close()


def without_grant(issuer: Issuer, client_id: str) -> None:
    """No command takes the only grant there is away from a client, so the store is told."""
    with issuer.runtime.database.change() as connection:
        realm = realm_store.find(connection, "/")
        assert realm is not None
        client = client_store.find(connection, realm.id, client_id)
        assert client is not None
        client_store.alter(connection, client.id, {"grant_types": []})
        record_change(connection, realm.id, client_id)


class Lines(logging.Handler):
    """What our log writes, in both of its forms."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.json: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        for lines, formatter in ((self.text, log._Text()), (self.json, log._JSON())):
            lines.append(formatter.format(record))


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The log from here on. Ask for it after the issuer, whose start sets the log up anew."""
    handler = Lines()
    log.LOGGER.addHandler(handler)
    yield handler
    log.LOGGER.removeHandler(handler)
