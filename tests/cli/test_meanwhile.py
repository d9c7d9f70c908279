"""What another process does between the looks of a command and its transaction: nothing is done to what nobody saw."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from issuer.cli.first_client import first_client
from tests.support.issuer import Issuer
from tests.support.meanwhile import meanwhile

READER = "--scope read --default-scope read"


@pytest.fixture
def nodes(stored_issuer: Issuer, second_node: Issuer) -> tuple[Issuer, Issuer]:
    return stored_issuer, second_node


def ran(one: Issuer, line: str, action: Callable[[], Any], stdin: str | None = None) -> Any:
    """The result of a command of `one`, just before whose transaction `action` happened."""
    with meanwhile(one, action) as runs:
        result = one.command(line, stdin)
    assert runs
    return result


def test_a_client_made_again_is_not_deleted_for_the_one_before(nodes: tuple[Issuer, Issuer]) -> None:
    one, other = nodes
    one.client()

    def again() -> None:
        other.run("clients delete svc --yes")
        other.run(f"clients create svc {READER}")

    assert ran(one, "clients delete svc --yes --json", again).exit_code == 5
    assert [client["client_id"] for client in one.run("clients list")] == ["svc"]


@pytest.mark.parametrize("line", ["realms delete /a --yes", "keys revoke --all --realm /a --yes --reason leak"])
def test_a_realm_made_again_is_not_acted_upon_for_the_one_before(nodes: tuple[Issuer, Issuer], line: str) -> None:
    one, other = nodes
    one.run("realms create /a")

    def again() -> None:
        other.run("realms delete /a --yes")
        other.run("realms create /a")

    assert ran(one, f"{line} --json", again).exit_code == 5
    assert sorted(key["state"] for key in one.run("keys list --realm /a")) == ["active", "published"]


def test_189_a_key_that_was_revoked_while_its_export_was_confirmed_is_written_nowhere(
    nodes: tuple[Issuer, Issuer], tmp_path: Path
) -> None:
    one, other = nodes
    kid = one.run("keys list --state published")[0]["kid"]
    out = tmp_path / "key.jwe"
    line = f"keys export {kid} --private --yes --passphrase-stdin --out {out}"
    result = ran(one, line, lambda: other.run(f"keys revoke {kid} --yes --reason leak"), "correct horse battery\n")
    assert (result.exit_code, out.exists()) == (2, False)
    assert "its private half is gone" in result.output
    assert "exported" not in {row["event"] for row in one.run("keys audit")}


def test_a_realm_that_was_deleted_holds_no_routine_up(nodes: tuple[Issuer, Issuer]) -> None:
    one, other = nodes
    one.run("realms create /a")
    one.run("keys rotate --all")
    one.clock.advance(90 * 86400)
    result = ran(one, "keys prune --all --json", lambda: other.run("realms delete /a --yes"))
    assert result.exit_code == 0, result.output


def test_a_key_has_the_size_that_the_realm_has_when_it_is_stored(nodes: tuple[Issuer, Issuer]) -> None:
    one, other = nodes
    ran(one, "realms update / --alg ES256 --alg RS256 --json", lambda: other.run("realms update / --rsa-bits 3072"))
    one.clock.advance(2)
    keys = one.http.get(one.address("/connect/jwk_uri")).json["keys"]
    assert {len(key["n"]) for key in keys if key["kty"] == "RSA"} == {512}


def test_who_is_not_found_is_named(nodes: tuple[Issuer, Issuer]) -> None:
    one, other = nodes
    one.client()

    def again() -> None:
        other.run("clients delete svc --yes")
        other.run(f"clients create svc {READER}")

    result = ran(one, "clients secrets add svc --json", again)
    assert (result.exit_code, json.loads(result.stdout)["message"]) == (4, "there is no client svc")


def test_a_first_start_that_a_command_overtakes_is_done_all_the_same(make_issuer: Callable[..., Issuer]) -> None:
    one, other = make_issuer("one"), make_issuer("one")
    other.run("db upgrade")
    other.runtime.boot(root_realm=False)
    with meanwhile(one, lambda: other.run("realms create /")) as runs:
        one.runtime.boot()
    assert runs
    with meanwhile(one, lambda: other.run(f"clients create myClient {READER}")) as runs:
        first_client(one.runtime)
    assert runs
    assert [client["client_id"] for client in one.run("clients list")] == ["myClient"]
