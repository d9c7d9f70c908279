"""Which database URLs are taken, and that what is said of the others, or shown of these, holds no secret."""

from pathlib import Path

import pytest

from issuer.settings import Settings, SettingsError
from issuer.storage.engine import Database
from realmint.protocol import system_clock
from tests.support.issuer import KEK
from tests.support.process import Deployment


def read(url: str) -> str | None:
    environ = {"REALMINT_DATABASE_URL": url, "REALMINT_KEK": KEK}
    return Settings.from_environ(environ, Path("/nowhere")).database_url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@h/db",
        "postgresql+psycopg://u:p@h:5433/db",
        "postgresql:///db?host=/var/run/postgresql",
        "postgresql://u:p@/db?host=/run/pg&port=5433",
        "postgresql://u:p@[::1]:5432/db",
        "postgresql://u:p@/db?host=h1:5432&host=h2:5433",
        "postgresql://u:p@/db?host=h1&host=h2&target_session_attrs=read-write",
        "postgresql://u:p@h/db?sslmode=verify-full&sslrootcert=/etc/ca.pem&application_name=realmint",
        "postgresql://u:p@h/db?application_name=realmint@node-1",
        "postgresql://h/db?user=a@b",
        "postgresql://u%40srv:S3cr%2F%23%3F%40@h/db",
        "postgresql://u@h/db",
        "sqlite:////var/lib/realmint/realmint.db",
        "sqlite:///a folder/x#y@z.db",
    ],
)
def test_a_url_of_which_a_connection_can_be_made_is_taken_as_it_stands(url: str) -> None:
    assert read(url) == url
    assert Database(url, system_clock).shown()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:12#S3cr",
        "postgresql://u:54#S3cr@h/db",
        "postgresql://u:54/S3cr@h/db",
        "postgresql://u:54?S3cr=1@h/db",
        "postgresql://u:54?host=S3cr@h",
        "postgresql://u:S3cr@h:/db",
        "postgresql://u:S3cr@h:S3cr/db",
        "postgresql://u:S3cr@h1:1,h2:2/db",
        "postgresql://u:S3cr@h:99999/db",
        "postgresql://u:S3cr\nct@h/db",
        "postgresql://u:S3cr ct@h/db",
        "postgresql://u:S3cr@ct@h/db",
        "postgresql://u:S3cr@h/db?sslmode",
        "postgresql://u:S3cr@h/db?sslmode=require&sslmode=S3cr",
        "postgresql://u:S3cr@h/db?sslmode=require#S3cr",
        "postgresql:u:S3cr@h/db",
        "POSTGRESQL://u:S3cr@h/db",
        "PostgreSQL+psycopg://u:S3cr@h/db",
        "postgresql+psycopg2://u:S3cr@h/db",
        " postgresql://u:S3cr@h/db",
        "postgresql://u:S3cr@h/db ",
        "'postgresql://u:S3cr@h/db'",
        "postgres://u:S3cr@h/db",
        "sqlite://S3cr/x",
        "sqlite://u:S3cr@h/x.db",
        "sqlite:S3cr",
        "sqlite+psycopg:///S3cr",
        "host=h password=S3cr",
    ],
)
def test_22_a_url_that_nothing_can_be_made_of_is_a_fault_that_quotes_none_of_it(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(url)
    (fault,) = refused.value.faults
    assert fault.startswith("REALMINT_DATABASE_URL ")
    assert "S3cr" not in fault


@pytest.mark.parametrize(
    "name",
    [
        "password", "sslpassword", "scram_client_key", "oauth_client_secret", "autocommit", "row_factory", "cursor_factory",
        "context", "plugin", "prepare_threshold", "service", "replication", "sslkeylogfile", "async_fallback", "conninfo",
    ],
)  # fmt: skip
def test_22_a_name_in_the_query_that_is_no_parameter_or_a_secret_is_not_taken_and_is_said(name: str) -> None:
    with pytest.raises(SettingsError, match=f"REALMINT_DATABASE_URL has {name} in its query, which") as refused:
        read(f"postgresql://u:S3cr@h/db?sslmode=require&{name}=S3cr")
    assert "S3cr" not in str(refused.value)


def test_22_what_is_shown_of_a_database_is_where_it_is_and_nothing_that_may_be_a_secret() -> None:
    url = "postgresql://u:S3cr@/db?host=/run/pg&port=5433&sslpassword=S3cr&password=S3cr&options=S3cr"
    assert Database(url, system_clock).shown() == "postgresql+psycopg://u@/db?host=%2Frun%2Fpg&port=5433"


def test_a_process_with_a_url_that_nothing_can_be_made_of_exits_2(tmp_path: Path) -> None:
    result = Deployment(tmp_path, DATABASE_URL="postgresql://u:12#S3cr", KEK=KEK).command("realms list")
    assert (result.returncode, "S3cr" in result.stderr, "Traceback" in result.stderr) == (2, False, False)
