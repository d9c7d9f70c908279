"""flask db audit: every administrative change and transition of a key, of every realm, to read and for scripts."""

import json

import pytest
from sqlalchemy import delete, update

from keys import store
from keys.audit import Actor
from tests.cli.test_what_people_see import on_80_columns
from tests.support.issuer import Issuer
from tests.support.process import Deployment

ACTOR = Actor("cli:anna", "operation", "the contract ended")


def note(issuer: Issuer, event: str, target: str, realm_id: int = 1, **details: object) -> None:
    with issuer.runtime.database.change() as connection:
        store.note(connection, realm_id, event, target, ACTOR, now=issuer.clock.now, details=details)


@pytest.fixture
def busy(stored_issuer: Issuer) -> Issuer:
    """Two realms in a row: a rotation on the first day, a client's end on the second, a realm's on the third."""
    stored_issuer.run("realms create /eu")
    stored_issuer.run("keys rotate --reason routine")
    stored_issuer.clock.advance(86400)
    note(stored_issuer, "client_disabled", "svc", keep_tokens=False)
    stored_issuer.clock.advance(86400)
    stored_issuer.run("realms delete /eu --yes")
    return stored_issuer


def events(issuer: Issuer, options: str = "") -> list[tuple[str, str]]:
    return [(row["realm"], row["event"]) for row in issuer.run(f"db audit {options}")]


def test_every_row_of_every_realm_is_shown_oldest_first_with_who_what_and_why(busy: Issuer) -> None:
    rows = busy.run("db audit")
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    # A realm's deletion and what else is done to realms and clients may have rows of its own beside these.
    told = [(row["realm"], row["event"]) for row in rows]
    assert told[:9] == [
        ("/", "realm_created"), ("/", "generated"), ("/", "generated"), ("/", "demoted"), ("/", "promoted"),
        ("/", "generated"), ("/eu", "realm_created"), ("/eu", "generated"), ("/eu", "generated"),
    ]  # fmt: skip
    assert told[9] == ("/", "client_disabled")
    assert told.count(("/eu", "revoked")) == 2
    assert rows[9] == {
        "at": busy.clock.now - 86400, "realm": "/", "realm_id": 1, "seq": 6, "actor": "cli:anna",
        "operation": "operation", "event": "client_disabled", "target": "svc", "reason": "the contract ended",
        "details": {"keep_tokens": False},
    }  # fmt: skip
    rotated = rows[4]
    assert (rotated["reason"], rotated["actor"].partition(":")[0]) == ("routine", "cli")
    assert rotated["target"] == next(key["kid"] for key in busy.run("keys list") if key["state"] == "active")
    assert rotated["details"] == {
        "alg": "ES256", "from_state": "published", "to_state": "active", "generation": 2, "forced": False,
        "gates": {"promotable_at": 0},
    }  # fmt: skip


def test_since_takes_an_age_a_date_a_time_and_seconds(busy: Issuer) -> None:
    every = events(busy)
    last_two_days = every[9:]
    noted_at = busy.clock.now - 86400
    assert events(busy, "--since 365d") == every
    for said in ("86400s", "1440m", "24h", "1d", str(noted_at)):
        assert events(busy, f"--since {said}") == last_two_days, said
    assert events(busy, f"--since {noted_at + 1}") == last_two_days[1:]
    assert events(busy, f"--since {busy.clock.now + 1}") == []
    assert "no such rows" in busy.command(f"db audit --since {busy.clock.now + 1}").stdout


@pytest.mark.parametrize(
    "said", ["2026-11-23", "2026-11-23T00:00:00Z", "2026-11-23T00:00", "2026-11-23T01:00:00+01:00"]
)
def test_a_date_and_a_time_are_in_utc_unless_they_say_otherwise(stored_issuer: Issuer, said: str) -> None:
    midnight = 1_795_392_000
    before = len(stored_issuer.run("db audit"))
    with stored_issuer.runtime.database.change() as connection:
        for at in (midnight - 1, midnight):
            store.note(connection, 1, "client_enabled", str(at), ACTOR, now=at, details={})
    assert len(stored_issuer.run("db audit")) == before + 2
    told = [row["target"] for row in stored_issuer.run(f"db audit --since {said}") if row["event"] == "client_enabled"]
    assert told == [str(midnight)]


@pytest.mark.parametrize("said", ["yesterday", "0d", "12w", "-1", "2026-13-01", "999999999999", "''", "5000d"])
def test_anything_else_is_a_usage_error(stored_issuer: Issuer, said: str) -> None:
    result = stored_issuer.command(f"db audit --since={said}")
    assert (result.exit_code, result.stdout) == (2, "")


def test_one_realm_and_the_newest_rows(busy: Issuer) -> None:
    every = events(busy)
    assert events(busy, "--realm /") == [row for row in every if row[0] == "/"]
    assert events(busy, "--realm /eu") == [row for row in every if row[0] == "/eu"]  # though it is deleted
    assert events(busy, "--limit 3") == every[-3:]
    assert events(busy, "--limit 999") == every
    assert events(busy, "--realm /eu --limit 1") == every[-1:]
    unknown = busy.command("db audit --realm /nowhere --json")
    assert (unknown.exit_code, json.loads(unknown.stdout)["error"]) == (4, "not_found")


def test_a_realm_made_again_under_a_path_is_told_apart_from_the_one_before(busy: Issuer) -> None:
    busy.run("realms create /eu")
    assert {row["realm_id"] for row in busy.run("db audit --realm /eu")} == {2, 3}


def test_a_chain_that_does_not_hold_is_an_exit_code_and_a_line_even_where_its_rows_are_not_shown(busy: Issuer) -> None:
    with busy.runtime.database.write() as connection:
        connection.execute(update(store.audit).where(store.audit.c.target == "svc").values(target="another"))
    for options in ("", "--limit 1", "--since 1s", "--realm /"):
        result = busy.command(f"db audit --json {options}")
        assert (result.exit_code, isinstance(json.loads(result.stdout), list)) == (1, True)
        assert "The audit of / does not hold from row 6 on" in result.stderr
    assert busy.command("db audit --realm /eu").exit_code == 0
    with busy.runtime.database.write() as connection:
        connection.execute(delete(store.audit).where(store.audit.c.realm_id == 2))
    result = busy.command("db audit --realm /eu")
    assert (result.exit_code, "The audit of /eu does not hold from row 0 on" in result.stderr) == (1, True)


def test_a_schema_of_a_later_version_is_not_read(busy: Issuer) -> None:
    with busy.runtime.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    result = busy.command("db audit --json")
    assert (result.exit_code, json.loads(result.stdout)["error"]) == (6, "schema_newer")


def test_people_see_a_table_that_fits_80_columns(tmp_path_factory: pytest.TempPathFactory) -> None:
    made = Deployment(tmp_path_factory.mktemp("busy"))
    made.run("realms create /")
    made.run("keys rotate --reason 'the key before it may have been seen in a crash dump of the old node'")
    for line in ("db audit", "db audit --realm /"):
        lines = on_80_columns(made, line)
        assert max(map(len, lines)) <= 80, "\n".join(lines)
        assert {word for word in " ".join(lines).split() if not word.isdigit()} <= set(
            made.command(line).stdout.split()
        )
    heading = made.command("db audit").stdout.splitlines()[0].split()
    assert heading == ["HAPPENED", "REALM", "ACTOR", "EVENT", "TARGET", "REASON"]
    kid = made.run("keys list")[0]["kid"]
    assert kid not in made.command("db audit").stdout
    assert kid in made.command("db audit --full").stdout
