"""What an administrator can do, through the plain functions: recorded, audited and logged, whoever calls them."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from issuer import slots
from issuer.admin import clients, realms, secrets, tokens
from issuer.admin.refused import ChangeRefused, ClientNotFound, RealmNotFound, SecretNotFound
from issuer.clients import ClientSettings
from issuer.realms import RealmSettings
from issuer.setting import settings_of
from issuer.storage import changes
from issuer.storage.engine import NameTaken
from keys.audit import Actor
from keys.audit_log import audit_since
from tests.issuer.conftest import Lines
from tests.support.issuer import Issuer

ROOT = Path(__file__).parent.parent.parent
ALICE = Actor("alice", "op1", "ticket 7")
READ = {"scopes": ["read"], "default_scopes": ["read"]}


def generation(issuer: Issuer) -> int:
    with issuer.runtime.database.read() as connection:
        return changes.now_at(connection).generation


def written(issuer: Issuer) -> list[Any]:
    """The administrative rows of the audit, of all realms."""
    with issuer.runtime.database.read() as connection:
        return [entry for entry, _ in audit_since(connection, 0) if not entry.of_key]


def steps(issuer: Issuer) -> dict[str, Callable[[bool], object]]:
    """Every administrative change, in an order in which each can be made; with whether it is only rehearsed."""
    admin = issuer.runtime.administration
    made: dict[str, str] = {}

    def add_secret(rehearse: bool) -> None:
        made["secret"] = secrets.add(admin, "/x", "svc", ALICE, overlap=60, rehearse=rehearse).stored.secret_id

    def revoke_secret(rehearse: bool) -> None:
        secrets.revoke(admin, "/x", "svc", made["secret"], ALICE, rehearse=rehearse)

    def first_secret() -> str:
        return secrets.of_client(admin, "/x", "svc")[0].secret_id

    return {
        "realm_created": lambda r: realms.create(admin, "/x", {"scopes": ["read"]}, ALICE, rehearse=r),
        "realm_updated": lambda r: realms.update(admin, "/x", {"access_token_lifetime": 60}, ALICE, rehearse=r),
        "client_created": lambda r: clients.create(admin, "/x", "svc", READ, ALICE, rehearse=r),
        "client_updated": lambda r: clients.update(admin, "/x", "svc", {"scopes": ["read", "write"]}, ALICE, rehearse=r),
        "secret_added": add_secret,
        "token_revoked": lambda r: tokens.revoke(admin, "/x", drawn(issuer, "/x", "svc"), ALICE, rehearse=r),
        "secret_tokens_revoked": lambda r: tokens.revoke_of_secret(admin, "/x", first_secret(), ALICE, rehearse=r),
        "secret_revoked": revoke_secret,
        "client_tokens_revoked": lambda r: tokens.revoke_of_client(admin, "/x", "svc", ALICE, rehearse=r),
        "realm_tokens_revoked": lambda r: tokens.revoke_all(admin, "/x", ALICE, rehearse=r),
        "client_disabled": lambda r: clients.disable(admin, "/x", "svc", ALICE, rehearse=r),
        "client_enabled": lambda r: clients.enable(admin, "/x", "svc", ALICE, rehearse=r),
        "client_deleted": lambda r: clients.delete(
            admin, "/x", "svc", ALICE, seen=clients.find(admin, "/x", "svc")[1], rehearse=r
        ),
        "realm_disabled": lambda r: realms.disable(admin, "/x", ALICE, rehearse=r),
        "realm_enabled": lambda r: realms.enable(admin, "/x", ALICE, rehearse=r),
        "realm_deleted": lambda r: realms.delete(admin, "/x", ALICE, seen=realms.find(admin, "/x"), rehearse=r),
    }  # fmt: skip


def drawn(issuer: Issuer, realm_path: str, client_id: str) -> str:
    """A jti as a token of the client has it."""
    begin = next(iter(clients.find(issuer.runtime.administration, realm_path, client_id)[1].ranges.values())).begin
    return slots.token_id(begin)


def test_209_every_change_is_told_to_every_process_audited_with_its_reason_and_logged_once(
    stored_issuer: Issuer, lines: Lines
) -> None:
    for action, step in steps(stored_issuer).items():
        before, rows = generation(stored_issuer), written(stored_issuer)
        lines.text.clear()
        if action != "secret_revoked":  # of a secret that a rehearsal made there is nothing to revoke
            step(True)
            assert (generation(stored_issuer), written(stored_issuer), lines.text) == (before, rows, []), action
        step(False)
        assert generation(stored_issuer) > before, action
        (row,) = written(stored_issuer)[len(rows) :]
        assert (row.event, row.actor, row.operation, row.reason) == (action, "alice", "op1", "ticket 7")
        assert row.target == ("svc" if action.startswith(("client", "secret")) else "/x")
        said = [line for line in lines.text if f" changed what={action} realm=/x" in line]
        assert len(said) == 1, lines.text
    found = stored_issuer.command("db audit --json")
    assert found.exit_code == 0, found.output


def test_the_audit_tells_what_was_set_and_no_secret(issuer: Issuer) -> None:
    for step in list(steps(issuer).values())[:5]:
        step(False)
    created, updated, client, changed, added = written(issuer)[1:]
    assert created.details == {"scopes": ["read"]}
    assert updated.details == {"access_token_lifetime": 60, "members": ["access_token_lifetime"]}
    assert client.details.keys() == {"secret_id", "scopes", "default_scopes"}
    assert changed.details == {"members": ["scopes"], "scopes": ["read", "write"]}
    assert added.details == {"secret_id": added.details["secret_id"], "overlap": 60}


def test_what_is_so_already_is_no_change(issuer: Issuer, lines: Lines) -> None:
    admin = issuer.runtime.administration
    clients.create(admin, "/", "svc", READ, ALICE)
    before, rows = generation(issuer), written(issuer)
    lines.text.clear()
    assert clients.update(admin, "/", "svc", READ, ALICE)[2] is False
    assert clients.enable(admin, "/", "svc", ALICE)[2] is False
    assert realms.enable(admin, "/", ALICE)[1] is False
    assert realms.update(admin, "/", {"token_format": "rfc9068"}, ALICE)[1] is False
    assert (generation(issuer), written(issuer), lines.text) == (before, rows, [])


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"default_scopes": ["other"]}, "default_scopes"),
        ({"scopes": ['a"b']}, "scopes"),
        ({"scopes": ["x" * 5000]}, "scopes"),
        ({"audiences": ["é"]}, "audiences"),
        ({"signing_alg": "RS256"}, "signing_alg"),
        ({"access_token_lifetime": 3601}, "access_token_lifetime"),
        ({"default_audience": ["https://a.example/" + "x" * 980] * 6}, "default_scopes"),
    ],
)
def test_a_refusal_names_its_setting_and_changes_nothing(issuer: Issuer, given: dict[str, Any], field: str) -> None:
    admin = issuer.runtime.administration
    before = written(issuer)
    with pytest.raises(ChangeRefused) as refused:
        clients.create(admin, "/", "svc", given, ALICE)
    assert (refused.value.field, "{" in str(refused.value)) == (field, False)
    assert clients.every(admin, "/")[1] == []
    clients.create(admin, "/", "svc", READ, ALICE)
    with pytest.raises(ChangeRefused):
        clients.update(admin, "/", "svc", given, ALICE)
    assert [row.event for row in written(issuer)[len(before) :]] == ["client_created"]


def test_what_is_not_there_is_said_in_words(issuer: Issuer) -> None:
    admin = issuer.runtime.administration
    clients.create(admin, "/", "svc", READ, ALICE)
    for call, kind, message in (
        (lambda: realms.find(admin, "/x"), RealmNotFound, "there is no realm /x"),
        (lambda: clients.find(admin, "/", "x"), ClientNotFound, "there is no client x"),
        (lambda: secrets.revoke(admin, "/", "svc", "sec1", ALICE), SecretNotFound, "svc has no secret sec1"),
    ):
        with pytest.raises(kind, match=message):
            call()
    with pytest.raises(NameTaken):
        clients.create(admin, "/", "svc", READ, ALICE)


def test_only_the_administration_records_a_change_of_realms_and_clients() -> None:
    """Who adds a caller cannot forget the change log, the audit or the log line: there is one place for them."""
    for file in (ROOT / "issuer").rglob("*.py"):
        room = file.relative_to(ROOT / "issuer").parts[0]
        names = {node.attr for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
        names |= {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
        if room not in ("admin", "storage"):
            assert "record_change" not in names, file
            assert not names & {"realm_store", "client_store", "credential_store"} or room == "registry", file


@pytest.mark.parametrize("owner", [RealmSettings, ClientSettings])
def test_every_setting_is_an_option_a_column_and_a_member(issuer: Issuer, owner: type) -> None:
    group = "realms" if owner is RealmSettings else "clients"
    issuer.client()
    shown = issuer.run("realms show /" if owner is RealmSettings else "clients show svc")
    help_ = issuer.command(f"{group} update --help").stdout
    for setting in settings_of(owner):
        assert setting.name in shown
        assert setting.option in help_
    assert {each.option for each in settings_of(owner)} >= {"--scope", "--default-scope", "--token-format"}
