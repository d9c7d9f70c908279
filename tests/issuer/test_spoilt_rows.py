"""#187: whoever spoils one row in the database silences what it is about, and nothing else: no process goes deaf."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy.exc import IntegrityError

from issuer import slots
from issuer.storage.changes import record_change
from tests.issuer.conftest import READER
from tests.support.issuer import Issuer, claims

DEEP = "[" * 2000 + "]" * 2000
"""JSON that is deeper than the parser goes."""
NOT_UTF8 = "CAST(x'ff' AS TEXT)"
KEY = "realm_id = 1 AND state = 'published'"
NEWEST = "generation = (SELECT max(generation) FROM change_log)"
ANYWHERE = [
    f"UPDATE keys SET public_jwk = '{DEEP}' WHERE {KEY}",
    f"UPDATE realms SET scopes = '{DEEP}' WHERE path = '/'",
    "INSERT INTO change_head (id, generation) VALUES (7, 3)",
]
"""What spoils a row of the root realm, or of the changes."""
IN_SQLITE = [
    *[f"UPDATE keys SET {column} = {NOT_UTF8} WHERE {KEY}" for column in ("kid", "reason", "public_jwk", "alg")],
    f"UPDATE realms SET scopes = {NOT_UTF8} WHERE path = '/'",
    f"UPDATE change_log SET client_id = {NOT_UTF8} WHERE {NEWEST}",
    f"UPDATE change_log SET nonce = {NOT_UTF8} WHERE {NEWEST}",
    f"UPDATE change_log SET realm_id = 'x' WHERE {NEWEST}",
    "INSERT INTO change_log VALUES ('zz', 'n', 1, NULL)",
    "UPDATE change_head SET generation = 'zz'",
    "INSERT INTO revoked_tokens VALUES (1, 'j', 'zz', 'zz', 'zz')",
    f"INSERT INTO revoked_tokens VALUES ('zz', {NOT_UTF8}, {NOT_UTF8}, 0, (SELECT max(generation) FROM change_log))",
    "UPDATE status_ranges SET length = 'zz' WHERE realm_id = 1",
]
"""SQLite keeps any type of value in any column, and any bytes as text."""


def spoil(issuer: Issuer, statement: str) -> None:
    with issuer.runtime.database.change() as connection:
        record_change(connection, 1)
        connection.exec_driver_sql(statement)


@pytest.mark.parametrize("statement", [*ANYWHERE, *IN_SQLITE])
def test_187_a_process_hears_of_changes_whatever_row_is_spoilt(
    stored_issuer: Issuer, second_node: Issuer, statement: str
) -> None:
    if statement in IN_SQLITE and not stored_issuer.runtime.database.is_sqlite:
        pytest.skip("no such value can be in PostgreSQL")
    stored_issuer.run("realms create /other")
    root, other = stored_issuer.client(options=READER), stored_issuer.client(options=READER, realm="/other")
    for caller in (root, other):
        second_node.token(caller)
    second_node.clock.advance(2)
    second_node.token(other)
    spoil(stored_issuer, statement)
    second_node.clock.advance(2)
    assert second_node.token_response(root).status_code in {200, 503}
    assert second_node.token_response(other).status_code == 200
    stored_issuer.run("clients disable svc --realm /other")
    for _ in range(3):
        second_node.clock.advance(2)
        assert second_node.token_response(other).status_code == 401
        assert second_node.token_response(root).status_code in {200, 503}
        assert second_node.http.get(second_node.address("/connect/jwk_uri", "/other")).status_code == 200
    assert second_node.runtime.measures().registry.store_reachable


def test_187_a_key_that_is_deeper_than_the_parser_goes_is_named_by_doctor_and_takes_no_other_along(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    (standby,) = [key["kid"] for key in stored_issuer.run("keys list") if key["state"] == "published"]
    caller = stored_issuer.client(options=READER)
    spoil(stored_issuer, ANYWHERE[0])
    found = stored_issuer.command("keys doctor --json")
    assert found.exit_code == 1
    checks = {row["check"] for row in json.loads(found.stdout) if row["kid"] == standby}
    assert {"not_authenticated", "material"} <= checks
    published = second_node.http.get(second_node.address("/connect/jwk_uri")).json["keys"]
    assert standby not in {jwk["kid"] for jwk in published}
    assert second_node.token(caller)


VALUES = ["NULL", "5", "1.5", "'text'", "x'ff'", NOT_UTF8, "'{}'", "'[1]'", f"'{DEEP}'"]
COLUMNS = {
    "realms": [
        "signing_algs", "access_token_lifetime", "max_access_token_lifetime", "default_audience", "scopes", "default_scopes",
        "grant_types", "token_format",
    ],
    "clients": [
        "scopes", "default_scopes", "audiences", "default_audience", "resource_identifiers", "grant_types",
        "access_token_lifetime", "secret_salt", "token_format", "signing_alg", "auth_method", "name",
    ],
    "client_credentials": ["kind", "material", "expires_at", "created_at"],
    "key_sets": ["generation", "watermark", "audit_seq", "audit_hash"],
}  # fmt: skip
OF_THE_ROOT = {
    "realms": "path = '/'",
    "clients": "realm_id = 1",
    "client_credentials": "client_pk IN (SELECT id FROM clients WHERE realm_id = 1)",
    "key_sets": "realm_id = 1",
}


@pytest.mark.parametrize(("table", "column"), [(table, column) for table in COLUMNS for column in COLUMNS[table]])
def test_187_a_row_that_is_spoilt_is_503_for_whom_it_concerns_and_keeps_no_command_from_the_others(
    issuer: Issuer, make_issuer: Callable[..., Issuer], table: str, column: str
) -> None:
    issuer.run("realms create /other")
    options = f"{READER} --scope am-introspect-all-tokens"
    root, other = issuer.client(options=options), issuer.client(options=options, realm="/other")
    token = issuer.token(root)
    for value in VALUES:
        with issuer.runtime.database.write() as connection:
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            before = connection.exec_driver_sql(f"SELECT {column} FROM {table} WHERE {OF_THE_ROOT[table]}").scalar()
            try:
                connection.exec_driver_sql(f"UPDATE {table} SET {column} = {value} WHERE {OF_THE_ROOT[table]}")
            except IntegrityError:
                continue  # not even that can be there
        process = make_issuer()
        said = [process.token_response(root), process.introspect(root, token)]
        assert {answer.status_code for answer in said} <= {200, 401, 503}, value
        assert process.token(other)
        for command in ("keys doctor", "realms list --json"):
            assert isinstance(process.command(command).exception, SystemExit | None), (command, value)
        assert "/other" in process.command("realms list --json").stdout
        with issuer.runtime.database.write() as connection:
            connection.exec_driver_sql(f"UPDATE {table} SET {column} = ? WHERE {OF_THE_ROOT[table]}", (before,))


@pytest.mark.parametrize("head", ["0", "1.5", "'x'", "99"])
def test_187_a_spoilt_head_of_the_audit_keeps_nobody_from_being_disabled(stored_issuer: Issuer, head: str) -> None:
    if not stored_issuer.runtime.database.is_sqlite and head not in ("0", "99"):
        pytest.skip("no such value can be in PostgreSQL")
    stored_issuer.client()
    with stored_issuer.runtime.database.change() as connection:
        connection.exec_driver_sql(f"UPDATE key_sets SET audit_seq = {head}")
    assert stored_issuer.run("clients disable svc")["changed"] is True
    for command in ("keys doctor", "keys audit", "db audit"):
        result = stored_issuer.command(f"{command} --json")
        assert isinstance(result.exception, SystemExit | None), command
    assert stored_issuer.command("db audit").exit_code in (0, 1)


@pytest.mark.parametrize(
    "spoilt",
    ["length = 0", "length = 3", "length = -256", "length = 2097152", "offset = -1", "offset = 1048500",
     "length = 'zz'", "length = 256.5", "length = x'ff'", "offset = 'zz'", "offset = 400.5", "offset = x'ff'"],
)  # fmt: skip
def test_187_nothing_is_drawn_from_a_range_that_is_spoilt_for_it_could_be_anothers(
    stored_issuer: Issuer, spoilt: str
) -> None:
    if not stored_issuer.runtime.database.is_sqlite and not spoilt.rpartition(" ")[2].lstrip("-").isdigit():
        pytest.skip("no such value can be in PostgreSQL")
    other, caller = stored_issuer.client("other", READER), stored_issuer.client(options=READER)
    assert slots.index_of(claims(stored_issuer.token(caller))["jti"]) >= 256
    quoted = spoilt.replace("offset", '"offset"')  # a word of PostgreSQL's
    spoil(stored_issuer, f"UPDATE status_ranges SET {quoted} WHERE client_pk = 2")
    stored_issuer.clock.advance(2)
    assert stored_issuer.token_response(caller).status_code == 503
    token = stored_issuer.token(other)
    assert stored_issuer.introspect(other, token).json["active"] is True
    for line in ("tokens inspect -", "tokens revoke --token - --reason leak"):
        assert stored_issuer.command(line, token).exit_code in {0, 6}
    stored_issuer.run("tokens revoke --client other --reason leak --yes")
    assert stored_issuer.introspect(other, token).json["active"] is False


@pytest.mark.parametrize("realm_id", ["'zz'", "x'ff'", NOT_UTF8])
@pytest.mark.parametrize("table", ["status_ranges", "revoked_tokens"])
def test_187_a_spoilt_row_keeps_no_other_from_being_pruned_and_no_change_from_being_made(
    issuer: Issuer, table: str, realm_id: str
) -> None:
    caller = issuer.client(options=READER)
    for name in ("one", "two"):
        issuer.client(name, READER)
        issuer.run(f"tokens revoke --jti {claims(issuer.token(caller))['jti']} --reason leak")
        issuer.run(f"clients disable {name}")
    some = f"rowid = (SELECT min(rowid) FROM {table} WHERE {'ended_at > 0' if table == 'status_ranges' else 'exp > 0'})"
    spoil(issuer, f"UPDATE {table} SET realm_id = {realm_id} WHERE {some}")
    issuer.clock.advance(2 * 3600 + 200)
    assert issuer.run("clients create three --scope read")["client_id"] == "three"  # a few go beside it
    assert issuer.run("db prune")["changed"] is False
    with issuer.runtime.database.read() as connection:
        assert connection.exec_driver_sql(f"SELECT count(*) FROM {table} WHERE realm_id = {realm_id}").scalar() == 1


@pytest.mark.parametrize("count", ["'zz'", "x'ff'", "9223372036854775807", "-5"])
def test_187_a_token_whose_count_is_spoilt_is_revoked_or_503(issuer: Issuer, count: str) -> None:
    caller = issuer.client(options=READER)
    token = issuer.token(caller)
    spoil(issuer, f"UPDATE status_ranges SET set_count = {count}")
    answer = issuer.revoke(caller, token)
    assert answer.status_code == (503 if "'" in count else 200)
    assert issuer.introspect(caller, token).json["active"] is (answer.status_code == 503)


@pytest.mark.parametrize(
    "spoilt",
    [
        "path = '/none'",
        "lists = 0, small = 0",
        "lists = -1",
        "lists = 268435457",
        "small = 99999999999",
        "lists = 'zz'",
    ],
)
def test_187_a_numbering_that_is_spoilt_lowers_no_floor_and_revives_nothing(stored_issuer: Issuer, spoilt: str) -> None:
    if "zz" in spoilt and not stored_issuer.runtime.database.is_sqlite:
        pytest.skip("no such value can be in PostgreSQL")
    caller = stored_issuer.client(options=READER)
    token = stored_issuer.token(caller)
    stored_issuer.run("tokens revoke --all --reason leak --yes")
    spoil(stored_issuer, f"UPDATE status_numbering SET {spoilt}")
    lines = ["tokens revoke --all --reason leak --yes", "realms disable /", "clients create new --scope read",
             "clients secrets add svc", "realms update / --max-access-token-lifetime 7200"]  # fmt: skip
    for line in lines:
        refused = stored_issuer.command(f"{line} --json")
        assert (refused.exit_code, json.loads(refused.stdout)["error"]) == (6, "row_spoilt")
        assert stored_issuer.introspect(caller, token).json == {"active": False}
    assert stored_issuer.run("clients disable svc")["changed"] is True


def test_187_a_floor_that_is_spoilt_is_503_for_the_lists_of_its_path_alone(issuer: Issuer) -> None:
    issuer.run("realms create /other")
    for realm in ("/", "/other"):
        issuer.client(options=READER, realm=realm)
        issuer.run(f"tokens revoke --all --realm {realm} --reason leak --yes")
    spoil(issuer, "UPDATE status_floors SET end_list = 'zz' WHERE path = '/'")
    issuer.clock.advance(2)
    for suffix in ("/status", "/status/0"):
        assert issuer.http.get(issuer.address(suffix)).status_code == 503
        assert issuer.http.get(issuer.address(suffix, "/other")).status_code == 200
    assert issuer.run("realms disable /")["changed"] is True
    for realm in ("/other", "/"):
        issuer.run(f"realms delete {realm} --yes")
    issuer.clock.advance(10_000)
    assert issuer.run("db prune")["deleted_realms"] == 1
    assert issuer.http.get(issuer.address("/connect/jwk_uri")).status_code == 200
