"""A standby that lags is never asked, whatever the URL says: what was revoked would be active there (#194)."""

from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.issuer.conftest import READER
from tests.support import postgres
from tests.support.issuer import Issuer
from tests.support.wire import assert_inactive, assert_refused


@pytest.fixture
def own_postgres(postgres_server: postgres.Server) -> Iterator[postgres.Server]:
    server = postgres.Server(postgres_server.binaries)
    yield server
    server.stop()


def test_194_what_was_revoked_is_inactive_at_once_though_the_store_has_a_replica_that_lags(
    own_postgres: postgres.Server, make_issuer: Callable[..., Issuer]
) -> None:
    database = own_postgres.create_database()
    issuer = make_issuer("one", own_postgres.url(database)).setup()
    caller = issuer.client(options=READER)
    token = issuer.token(caller)
    issuer.runtime.database.engine.dispose()
    replica = own_postgres.lagging_replica()
    try:
        assert issuer.revoke(caller, token).status_code == 200
        folders = [parse_qs(urlsplit(server.url(database)).query)["host"][0] for server in (replica, own_postgres)]
        for number, asked in enumerate(("", "&target_session_attrs=any", "&target_session_attrs=prefer-standby")):
            either = f"postgresql://realmint@/{database}?host={folders[0]}&host={folders[1]}{asked}"
            node = make_issuer(f"either-{number}", either)
            assert_inactive(node.introspect(caller, token))
            assert node.introspect(caller, node.token(caller)).json["active"] is True
        alone = make_issuer("replica", replica.url(database))
        for answer in (alone.introspect(caller, token), alone.token_response(caller)):
            assert_refused(answer, "temporarily_unavailable", also={"Retry-After": "1"})
    finally:
        replica.stop()
