"""An issuer that lost what it needs, its keys or its root realm: never a token, never an "active", and it says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from issuer.secrets import MAX_PRESENTED
from tests.issuer.conftest import READER, Lines
from tests.support.issuer import Caller, Issuer
from tests.support.wire import PRIVATE, assert_inactive, headers

READY = {"database": True, "key_encryption_key": True, "root_realm": True, "snapshot": True}


def end_active_keys(issuer: Issuer, state: str, *, known: bool) -> None:
    """The keys that sign are in this state instead; with `known` processes are told."""
    with issuer.runtime.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE keys SET state = '{state}' WHERE state = 'active'")
        if known:
            connection.exec_driver_sql("UPDATE change_head SET generation = generation + 1")
            connection.exec_driver_sql("DELETE FROM change_log")  # far behind: everything held is dropped
    issuer.clock.advance(3)


@pytest.mark.parametrize("state", ["retired", "revoked"])
def test_117_a_token_of_a_key_that_ended_is_inactive_before_this_process_heard_of_it(
    issuer: Issuer, lines: Lines, state: str
) -> None:
    caller = issuer.client(options=READER)
    token = issuer.token(caller)
    assert issuer.introspect(caller, token).json["active"] is True
    end_active_keys(issuer, state, known=False)
    assert_inactive(issuer.introspect(caller, token))
    assert "reason=key_ended" in lines.text[-1]


def test_a_realm_without_a_key_that_signs_is_503_and_not_ready(issuer: Issuer, lines: Lines) -> None:
    caller = issuer.client(options=READER)
    token = issuer.token(caller)
    assert issuer.http.get("/readyz").json == {"status": "ready", "checks": READY}
    end_active_keys(issuer, "retiring", known=True)
    refused = issuer.token_response(caller)
    assert (refused.status_code, refused.json["error"]) == (503, "temporarily_unavailable")
    assert headers(refused) == PRIVATE | {"Retry-After": "1"}
    assert "reason=no_signing_key" in lines.text[-1]
    # What was signed before stays what it is: the key is published still.
    assert issuer.introspect(caller, token).json["active"] is True
    ready = issuer.http.get("/readyz")
    assert (ready.status_code, ready.json) == (503, {"status": "not ready", "checks": READY | {"root_realm": False}})


def test_a_database_without_a_root_realm_is_not_ready(make_issuer: Callable[..., Issuer], tmp_path: Path) -> None:
    issuer = make_issuer("instance", f"sqlite:///{tmp_path / 'store.db'}")
    # The key-encryption key was given, and nothing contradicts it.
    assert issuer.http.get("/readyz").json["checks"] == dict.fromkeys(READY, False) | {"key_encryption_key": True}
    issuer.run("db upgrade")
    issuer.clock.advance(1)
    ready = issuer.http.get("/readyz")
    assert ready.status_code == 503
    assert ready.json["checks"] == READY | {"root_realm": False}
    issuer.run("realms create /")
    issuer.clock.advance(2)
    assert issuer.http.get("/readyz").json["status"] == "ready"


def test_readiness_blames_one_fault_on_one_check(make_issuer: Callable[..., Issuer], tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    issuer = make_issuer("instance", f"sqlite:///{path}").setup()

    def checks() -> Any:
        return issuer.http.get("/readyz").json["checks"]

    assert checks() == READY
    path.rename(tmp_path / "away")  # what is held goes on for ten refreshes
    issuer.clock.advance(2)
    assert checks() == READY | {"database": False}
    issuer.clock.advance(18)
    assert checks() == READY | {"database": False, "snapshot": False}
    (tmp_path / "away").rename(path)
    issuer.clock.advance(2)
    assert checks() == READY
    issuer.run("realms disable /")
    issuer.clock.advance(2)
    assert checks() == READY | {"root_realm": False}
    issuer.run("realms enable /")
    issuer.clock.advance(2)
    with issuer.runtime.database.write() as connection:  # another process sealed it under a key that is not given here
        connection.exec_driver_sql("UPDATE keys SET kek_id = 'ffffffffffffffff' WHERE state = 'published'")
    assert checks() == READY | {"key_encryption_key": False}


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_201_a_secret_longer_than_any_that_can_be_imported_costs_no_slow_hash(issuer: Issuer, over: int) -> None:
    issuer.run(f"clients create legacy {READER} --secret-stdin", "forgerock")
    issuer.clock.advance(3)
    form = {"grant_type": "client_credentials"} | Caller("legacy", "x" * (MAX_PRESENTED + over)).post
    assert issuer.post("/access_token", form).status_code == 401
    assert issuer.runtime.verifier.argon2_runs == (0 if over > 0 else 1)
