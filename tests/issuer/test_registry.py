"""The warm path: no SQL for a known client, a change elsewhere in force within a refresh, bounded memory."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from issuer.registry.bounded import Bounded, Held
from issuer.registry.memory import available, clients_held, realms_held
from issuer.storage.changes import record_change
from tests.support import postgres
from tests.support.issuer import Caller, Issuer, header
from tests.support.process import Deployment

READER = "--scope read --default-scope read"


@contextmanager
def statements(issuer: Issuer) -> Iterator[list[str]]:
    """Every statement that reaches the database of this process."""
    seen: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(issuer.runtime.database.engine, "before_cursor_execute", record)
    yield seen
    event.remove(issuer.runtime.database.engine, "before_cursor_execute", record)


def test_a_known_client_costs_no_sql(stored_issuer: Issuer) -> None:
    caller = stored_issuer.client(options=READER)
    stored_issuer.token(caller)
    with statements(stored_issuer) as seen:
        for _ in range(100):
            stored_issuer.token(caller)
            assert stored_issuer.http.get(stored_issuer.address("/connect/jwk_uri")).status_code == 200
    assert seen == []


def test_one_poll_per_refresh_is_all_that_time_costs(stored_issuer: Issuer) -> None:
    caller = stored_issuer.client(options=READER)
    stored_issuer.token(caller)
    with statements(stored_issuer) as seen:
        for _ in range(10):
            stored_issuer.clock.advance(2)
            for _ in range(10):
                stored_issuer.token(caller)
    polls = [statement for statement in seen if not statement.startswith(("BEGIN", "COMMIT"))]
    assert len(polls) == 10
    assert all("change_head" in statement for statement in polls)


def test_a_change_evicts_one_client_and_no_other(stored_issuer: Issuer, second_node: Issuer) -> None:
    callers = [stored_issuer.client(f"svc{n}", READER) for n in range(5)]
    for caller in callers:
        second_node.token(caller)
    stored_issuer.run("clients update svc0 --access-token-lifetime 60")
    second_node.clock.advance(2)
    with statements(second_node) as seen:
        for caller in callers:
            second_node.token(caller)
    loads = [statement for statement in seen if "FROM clients" in statement]
    assert len(loads) == 1
    assert not any("FROM realms" in statement for statement in seen)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_change_made_by_a_real_command_is_in_force_within_a_refresh(
    engine: str, tmp_path: Path, make_issuer: Callable[..., Issuer], request: pytest.FixtureRequest
) -> None:
    if engine == "sqlite":
        url = f"sqlite:///{tmp_path}/outside.db"
    else:
        server = request.getfixturevalue("postgres_server")
        url = server.url(server.create_database())
    other = Deployment(tmp_path / "other", DATABASE_URL=url, KEK="AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
    issuer = make_issuer("instance", url).setup()
    caller = issuer.client(options=READER)
    kid = header(issuer.token(caller))["kid"]
    assert other.run("clients disable svc")["changed"]
    assert other.run("keys rotate")["changed"]
    assert issuer.token_response(caller).status_code == 200  # not yet looked
    with statements(issuer) as seen:
        issuer.clock.advance(2)
        assert issuer.token_response(caller).status_code == 401
    assert (
        sum("change_head" in statement for statement in seen) == 2
    )  # the poll, which reads the realm again, and the load of the client
    other.run("clients enable svc")
    issuer.clock.advance(2)
    assert header(issuer.token(caller))["kid"] != kid


class Outage:
    """A database of its own that can be taken away and given back."""

    def __init__(self, engine: str, folder: Path) -> None:
        binaries = postgres.find_binaries() if engine == "postgresql" else None
        if engine == "postgresql" and binaries is None:
            pytest.skip("no PostgreSQL server binary on this machine (apt-get install postgresql)")
        self.server = postgres.Server(binaries) if binaries else None
        self.path = folder / "outside.db"
        self.url = self.server.url("postgres") if self.server else f"sqlite:///{self.path}"

    def begin(self, issuer: Issuer) -> None:
        if self.server:
            self.server.crash()
        else:
            issuer.runtime.database.engine.dispose()  # the last connection writes the log back into the file
            self.path.rename(self.path.with_suffix(".away"))

    def end(self) -> None:
        if self.server:
            self.server.restart()
        else:
            self.path.with_suffix(".away").rename(self.path)

    def close(self) -> None:
        if self.server:
            self.server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def outage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outage]:
    made = Outage(request.param, tmp_path)
    yield made
    made.close()


def test_190_a_process_that_cannot_read_the_store_stops_signing_after_ten_refreshes_and_recovers(
    outage: Outage, make_issuer: Callable[..., Issuer]
) -> None:
    issuer = make_issuer("instance", outage.url).setup()
    caller = issuer.client(options=READER)
    token = issuer.token(caller)
    outage.begin(issuer)
    issuer.clock.advance(19)
    assert issuer.token_response(caller).status_code == 200
    assert issuer.introspect(caller, token).status_code == 503  # read afresh, so at once
    issuer.clock.advance(1)
    refused = issuer.token_response(caller)
    assert (refused.status_code, refused.json["error"]) == (503, "temporarily_unavailable")
    assert refused.headers["Retry-After"]
    assert refused.headers["Cache-Control"] == "no-store"
    for suffix in ("/connect/jwk_uri", "/.well-known/oauth-authorization-server"):
        assert issuer.http.get(issuer.address(suffix)).status_code == 200
    assert issuer.http.get("/readyz").status_code == 503
    assert issuer.http.get("/healthz").status_code == 200
    never_read = issuer.http.get(issuer.address("/connect/jwk_uri", "/never-read"))
    assert (never_read.status_code, never_read.headers["Cache-Control"]) == (503, "no-store")
    outage.end()
    issuer.clock.advance(2)
    assert issuer.token_response(caller).status_code == 200
    assert issuer.introspect(caller, token).json["active"] is True
    assert issuer.http.get("/readyz").status_code == 200


def test_made_up_clients_and_realms_evict_nobody_and_use_bounded_memory(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    issuer.token(caller)
    for n in range(200):
        issuer.token_response(Caller(f"made-up-{n}", caller.secret))
        issuer.http.get(f"/oauth2/realms/root/realms/made-up-{n}/connect/jwk_uri")
    with statements(issuer) as seen:
        issuer.token(caller)
        issuer.token_response(Caller("made-up-7", caller.secret))
    assert seen == []  # an absence is remembered too


def test_190_a_client_disabled_while_the_first_look_failed_is_disabled_after_the_first_that_succeeds(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    caller = stored_issuer.client(options=READER)
    engine = second_node.runtime.database.engine

    def fail_the_look(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "change_log" in statement and "change_head" in statement and not second_node.http.looked:
            second_node.http.looked = True
            raise OperationalError(statement, None, Exception("gone for a moment"))

    second_node.http.looked = False
    event.listen(engine, "before_cursor_execute", fail_the_look)
    # The look fails, the load of realm and client in the same request succeeds.
    assert second_node.token_response(caller).status_code == 200
    assert second_node.http.looked
    event.remove(engine, "before_cursor_execute", fail_the_look)
    stored_issuer.run("clients disable svc")
    second_node.clock.advance(2)
    assert second_node.token_response(caller).status_code == 401


def test_more_realms_and_clients_than_before_stay_warm(issuer: Issuer) -> None:
    registry = issuer.runtime.registry
    assert realms_held(available()) >= 1024
    assert clients_held(available()) >= 20_000
    assert (realms_held(24 << 30), clients_held(24 << 30)) > (10_000, 100_000)
    caller = issuer.client(options=READER)
    issuer.token(caller)
    realm = registry.held("/")
    assert realm is not None
    known = registry.client(realm.realm.id, "svc")
    for n in range(25_000):  # as many as once pushed everybody out
        registry._cache.put_client(registry._cache.moment, realm.realm.id, f"c{n}", known)
    with statements(issuer) as seen:
        issuer.token(caller)
    assert seen == []


def test_the_health_of_many_clients_and_their_marks_cost_no_statement_each(stored_issuer: Issuer) -> None:
    callers = [stored_issuer.client(f"svc{n}", READER) for n in range(12)]
    with statements(stored_issuer) as seen:
        assert stored_issuer.command("clients health").exit_code == 1  # they name no audience
    assert len([text for text in seen if text.startswith("SELECT") and "pg_catalog" not in text]) <= 5
    for caller in callers:
        stored_issuer.token(caller)
    batches: list[bool] = []
    listener = lambda _c, _k, text, _p, _x, many: batches.append(many) if "last_used_at=" in text else None  # noqa: E731
    event.listen(stored_issuer.runtime.database.engine, "before_cursor_execute", listener)
    stored_issuer.runtime.registry.marks.flush()
    event.remove(stored_issuer.runtime.database.engine, "before_cursor_execute", listener)
    assert batches == [True]
    assert all(client["last_used_at"] for client in stored_issuer.run("clients list"))


def test_what_is_held_is_the_newest_up_to_its_bound() -> None:
    held: Bounded[int, int] = Bounded(3)
    for n in range(5):
        held.put(n, n)
        held.get(0, -1)
    assert [held.get(n, -1) for n in range(5)] == [0, -1, -1, 3, 4]
    assert held.measures() == Held(count=3, size=3, evicted=2)


def test_a_client_that_was_asked_for_too_early_is_found_once_it_exists(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    assert second_node.token_response(Caller("svc", "rms_none")).status_code == 401
    caller = stored_issuer.client(options=READER)
    second_node.clock.advance(2)
    assert second_node.token(caller)


def test_a_process_far_behind_the_log_drops_everything_it_holds(stored_issuer: Issuer, second_node: Issuer) -> None:
    caller = stored_issuer.client(options=READER)
    second_node.token(caller)
    stored_issuer.run("clients disable svc")
    with stored_issuer.runtime.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM change_log")  # as pruning would have, much later
    second_node.clock.advance(2)
    assert second_node.token_response(caller).status_code == 401


def outside(make_issuer: Callable[..., Issuer], folder: Path) -> Issuer:
    """A node on an SQLite file in a folder of its own, which can be taken away."""
    folder.mkdir()
    return make_issuer("node", f"sqlite:///{folder / 'store.db'}").setup()


def jwks(issuer: Issuer, realm: str = "/") -> Any:
    return issuer.http.get(issuer.address("/connect/jwk_uri", realm))


def test_190_a_folder_that_cannot_be_read_is_a_store_that_is_out_of_reach(
    make_issuer: Callable[..., Issuer], tmp_path: Path
) -> None:
    node = outside(make_issuer, tmp_path / "data")
    caller = node.client(options=READER)
    token = node.token(caller)
    (tmp_path / "data").rename(tmp_path / "away")
    (tmp_path / "data").write_text("not a folder")  # NotADirectoryError, as EIO and ESTALE are: no missing file
    node.clock.advance(3)
    assert node.token_response(caller).status_code == 200
    assert node.introspect(caller, token).status_code == 503
    assert node.http.get("/readyz").status_code == 503
    node.clock.advance(20)
    assert node.token_response(caller).status_code == 503
    assert jwks(node).status_code == 200


def test_188_a_history_that_came_equally_far_by_another_way_is_noticed(
    make_issuer: Callable[..., Issuer], tmp_path: Path
) -> None:
    node = outside(make_issuer, tmp_path / "data")
    store = tmp_path / "data" / "store.db"
    caller = node.client(options=READER)
    node.runtime.database.engine.dispose()
    backup = store.read_bytes()
    node.run("clients update svc --name later")
    node.token(caller)  # holds the newest change
    node.runtime.database.engine.dispose()
    (tmp_path / "data" / "older.db").write_bytes(backup)
    (tmp_path / "data" / "older.db").replace(store)
    operator = make_issuer("operator", f"sqlite:///{store}")
    operator.run("clients disable svc")  # the same number again, for another change
    node.clock.advance(2)
    assert node.token_response(caller).status_code == 503  # until somebody has seen to it
    operator.run("db after-restore --keep-keys")
    node.clock.advance(2)
    assert node.token_response(caller).status_code == 401


def test_a_realm_that_was_deleted_does_not_come_back_when_the_store_goes_away(
    make_issuer: Callable[..., Issuer], tmp_path: Path
) -> None:
    node = outside(make_issuer, tmp_path / "data")
    node.run("realms create /a")
    assert jwks(node, "/a").status_code == jwks(node).status_code == 200
    leaked = jwks(node).json["keys"][0]["kid"]
    node.run("realms delete /a --yes")
    node.run(f"keys revoke {leaked} --reason leaked --yes")
    node.clock.advance(2)
    node.http.get("/healthz")
    assert jwks(node, "/nobody").status_code == 404  # any request hears of the changes
    node.runtime.database.engine.dispose()
    (tmp_path / "data").rename(tmp_path / "away")
    node.clock.advance(3)
    assert jwks(node, "/a").status_code in {404, 503}
    assert leaked not in {key["kid"] for key in jwks(node).json["keys"]}


def test_187_what_was_read_before_a_change_is_not_held_after_it_was_heard_of(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    caller = stored_issuer.client(options=READER)
    leaked = stored_issuer.run("keys list")[0]["kid"]
    second_node.http.get(second_node.address("/connect/jwk_uri", "/nobody"))
    read, go_on = threading.Event(), threading.Event()

    def pause(*_: Any) -> None:
        """Between the reading of the realm and its being held."""
        if threading.current_thread().name == "slow":
            read.set()
            assert go_on.wait(10)

    engine = second_node.runtime.database.engine
    event.listen(engine, "checkin", pause)
    answers: list[Any] = []
    slow = threading.Thread(target=lambda: answers.append(jwks(second_node)), name="slow")
    slow.start()
    assert read.wait(10)
    stored_issuer.run(f"keys revoke {leaked} --reason leaked --yes")
    second_node.clock.advance(2)
    jwks(second_node, "/nobody")  # hears of the change
    go_on.set()
    slow.join(10)
    event.remove(engine, "checkin", pause)
    assert leaked not in {key["kid"] for key in jwks(second_node).json["keys"]}
    assert header(second_node.token(caller))["kid"] != leaked


def test_a_realm_whose_row_is_spoilt_holds_no_other_up(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /a")
    caller, there = stored_issuer.client(options=READER), stored_issuer.client(options=READER, realm="/a")
    assert stored_issuer.token(caller)
    assert stored_issuer.token(there)
    with stored_issuer.runtime.database.change() as connection:
        connection.exec_driver_sql("UPDATE realms SET scopes = '{}', signing_algs = '5' WHERE path = '/a'")
        record_change(connection, 2)
    for _ in range(3):
        stored_issuer.clock.advance(12)
        assert stored_issuer.token_response(caller).status_code == 200
        assert stored_issuer.token_response(there).status_code == 503
