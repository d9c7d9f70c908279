"""flask keys doctor finds each damage by its name, and nothing in a sound store."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, text, update

from keys.key import canonical, generate
from keys.store import audit, key_sets, keys
from tests.support.issuer import Issuer


def active(connection: Connection) -> Any:
    return connection.execute(select(keys).where(keys.c.state == "active", keys.c.realm_id == 1)).mappings().one()


def change(of: str, /, **values: Any) -> Callable[[Connection, Issuer], None]:
    """Values that no command of ours writes."""
    return lambda connection, _: connection.execute(  # type: ignore[return-value]
        update(keys).where(keys.c.state == of, keys.c.realm_id == 1).values(**values)
    )


def flip_a_bit(connection: Connection, _: Issuer) -> None:
    row = active(connection)
    connection.execute(update(keys).where(keys.c.kid == row["kid"]).values(sealed=row["sealed"][:-1] + b"\0"))


def another_private_half(connection: Connection, issuer: Issuer) -> None:
    row, other = active(connection), generate("ES256")
    sealed = issuer.runtime.sealer().seal(other.pkcs8, row["realm_id"], row["kid"], row["alg"])
    connection.execute(update(keys).where(keys.c.kid == row["kid"]).values(sealed=sealed))


def another_public_half(connection: Connection, _: Issuer) -> None:
    row, other = active(connection), generate("ES256")
    jwk = {**other.public_jwk, "kid": row["kid"]}
    connection.execute(update(keys).where(keys.c.kid == row["kid"]).values(public_jwk=canonical(jwk)))


def a_private_member(connection: Connection, _: Issuer) -> None:
    row = active(connection)
    jwk = {**json.loads(row["public_jwk"]), "d": "AAAA"}
    connection.execute(update(keys).where(keys.c.kid == row["kid"]).values(public_jwk=canonical(jwk)))


def a_second_active_key(connection: Connection, issuer: Issuer) -> None:
    connection.execute(text("DROP INDEX one_active_key"))
    change("published", state="active")(connection, issuer)


def a_row_of_the_audit_changed(connection: Connection, _: Issuer) -> None:
    connection.execute(update(audit).where(audit.c.realm_id == 1, audit.c.seq == 1).values(actor="nobody"))


def the_newest_rows_of_the_audit_gone(connection: Connection, _: Issuer) -> None:
    connection.execute(delete(audit).where(audit.c.realm_id == 1, audit.c.seq == 5))


def a_state_set_by_hand(connection: Connection, issuer: Issuer) -> None:
    change("retiring", state="retired", retired_at=1_795_400_000)(connection, issuer)


def no_key_set(connection: Connection, _: Issuer) -> None:
    connection.execute(delete(key_sets).where(key_sets.c.realm_id == 1))


def a_generation_that_went_back(connection: Connection, _: Issuer) -> None:
    connection.execute(update(key_sets).where(key_sets.c.realm_id == 1).values(generation=1))


def a_realm_that_lost_its_keys(connection: Connection, _: Issuer) -> None:
    connection.execute(delete(keys).where(keys.c.realm_id == 1))


def a_key_slipped_in(connection: Connection, issuer: Issuer) -> None:
    other = generate("ES256")
    row = dict(active(connection)) | {"kid": other.kid, "thumbprint": other.thumbprint, "state": "retiring"}
    row |= {"public_jwk": canonical(other.public_jwk), "retiring_at": row["activated_at"], "not_signed_after": 2**40}
    sealed = issuer.runtime.sealer().seal(other.pkcs8, 1, other.kid, "ES256")
    connection.execute(insert(keys).values(**{**row, "sealed": sealed, "max_exp_bound": 2**40}))


def a_dead_key_forgotten(connection: Connection, _: Issuer) -> None:
    connection.execute(delete(keys).where(keys.c.state == "revoked"))


def a_generation_that_leapt(connection: Connection, _: Issuer) -> None:
    connection.execute(update(key_sets).where(key_sets.c.realm_id == 1).values(generation=99))


def an_unreadable_audit(connection: Connection, _: Issuer) -> None:
    connection.execute(update(audit).where(audit.c.realm_id == 1, audit.c.seq == 2).values(gates="{"))


DAMAGES: dict[str, tuple[Callable[[Connection, Issuer], None], set[str]]] = {
    "a bit of a sealed half is flipped": (flip_a_bit, {"cannot_open"}),
    "a half is sealed under an unknown key-encryption key": (change("published", kek_id="0" * 16), {"cannot_open"}),
    "a private half is another key's": (another_private_half, {"canary"}),
    "a public half is another key's": (another_public_half, {"material", "canary", "not_authenticated"}),
    "a public half holds a private member": (a_private_member, {"private_member", "canary", "not_authenticated"}),
    "nothing signs": (change("active", state="retiring", retiring_at=1_795_400_060, not_signed_after=2**40,
                             max_exp_bound=2**40), {"no_active", "not_audited", "bound"}),
    "nothing stands ready": (change("published", state="pending"), {"no_standby", "not_audited"}),
    "two keys are active": (a_second_active_key, {"several", "no_standby", "not_audited", "instants"}),
    "a key counts on shorter tokens than the realm allows": (change("active", max_lifetime=60), {"lifetime"}),
    "a retiring key forgot its bound": (change("retiring", max_exp_bound=None), {"bound"}),
    "a bound is too early": (change("retiring", max_exp_bound=1_795_400_100), {"bound"}),
    "instants are out of order": (change("active", activated_at=1_795_300_000), {"instants"}),
    "something happened in the future": (change("published", published_at=1_895_400_000), {"instants"}),
    "a dead key's private half is still there": (change("revoked", sealed=b"x", kek_id="x"), {"not_erased"}),
    "a state was set by hand": (a_state_set_by_hand, {"not_audited", "not_erased", "orphans"}),
    "a key slipped in": (a_key_slipped_in, {"not_audited", "bound", "not_authenticated"}),
    "a bound is stretched": (change("retiring", max_exp_bound=2**40), {"bound"}),
    "a key is held by hand": (change("retiring", held=True), {"held"}),
    "a key is authenticated by nobody": (change("published", proof=None), {"not_authenticated"}),
    "a key is authenticated for another": (change("active", proof=b"x" * 28), {"not_authenticated"}),
    "a row of the audit was changed": (a_row_of_the_audit_changed, {"audit_broken"}),
    "the newest row of the audit is gone": (the_newest_rows_of_the_audit_gone, {"audit_broken", "not_audited"}),
    "the key set is gone": (no_key_set, {"no_key_set", "audit_broken", "generation", "clock_ahead"}),
    "the generation went back": (a_generation_that_went_back, {"generation"}),
    "a dead key was forgotten, so that it could come again": (a_dead_key_forgotten, {"row_missing"}),
    "the generation leapt": (a_generation_that_leapt, {"generation"}),
    "the audit cannot be read": (an_unreadable_audit, {"audit_broken"}),
    "a public half cannot be read": (change("retiring", public_jwk="{"), {"material", "canary", "not_authenticated"}),
    "a public half says more than it should": (change("retiring", public_jwk='{"x5u":"https://x.example"}'),
                                               {"material", "canary", "not_authenticated"}),
    "a gate was opened by hand": (change("published", last_absent_at=None), {"instants"}),
    "the keys are gone": (a_realm_that_lost_its_keys, {"empty_jwks", "no_active", "no_standby", "row_missing"}),
}  # fmt: skip


@pytest.fixture
def rotated(stored_issuer: Issuer) -> Issuer:
    """A realm with an active, a published, a retiring and a revoked key; another realm beside it."""
    stored_issuer.run("realms create /other")
    stored_issuer.clock.advance(60)
    stored_issuer.run("keys rotate")
    pending = stored_issuer.run("keys generate --pending")["steps"][0]["kid"]
    stored_issuer.run(f"keys revoke {pending} --reason test --yes")
    return stored_issuer


def test_a_sound_store_has_no_findings(rotated: Issuer) -> None:
    result = rotated.command("keys doctor")
    *where, said = result.stdout.splitlines()
    assert (result.exit_code, said) == (0, "2 realms are sound")
    assert where == [f"database  {rotated.runtime.database.shown()}", "base URL  https://issuer.example"]
    assert rotated.run("keys doctor") == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_doctor_fails_on_a_damaged_store_and_names_the_damage(rotated: Issuer, damage: str) -> None:
    spoil, expected = DAMAGES[damage]
    with rotated.runtime.database.write() as connection:
        spoil(connection, rotated)
    result = rotated.command("keys doctor --json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert {finding["check"] for finding in found} == expected
    assert {finding["realm"] for finding in found} == {"/"}
    assert rotated.command("keys doctor --realm /other --json").exit_code == 0
    people = rotated.command("keys doctor").stdout
    assert all(check in people for check in expected)


def test_doctor_sees_clocks_that_disagree_and_files_that_others_can_read(issuer: Issuer, tmp_path: Path) -> None:
    issuer.clock.step(-61)
    assert {finding["check"] for finding in json.loads(issuer.command("keys doctor --json").stdout)} >= {"clock_behind"}
    issuer.clock.step(61)
    (tmp_path / "instance" / "realmint.db").chmod(0o644)
    (tmp_path / "instance").chmod(0o755)
    found = json.loads(issuer.command("keys doctor --json").stdout)
    assert [finding["check"] for finding in found] == ["file_mode", "file_mode"]
    (tmp_path / "instance" / "realmint.db").chmod(0o600)
    (tmp_path / "instance").chmod(0o700)
    (tmp_path / "instance" / "kek").chmod(0o640)
    issuer.runtime._sealer = None
    found = json.loads(issuer.command("keys doctor --json").stdout)
    assert [finding["check"] for finding in found] == ["key_encryption_key"]


def test_doctor_warns_of_what_nobody_does(issuer: Issuer) -> None:
    issuer.run("keys rotate")
    issuer.clock.advance(7776000 * 3 // 2 + 1)
    checks = [finding["check"] for finding in json.loads(issuer.command("keys doctor --json").stdout)]
    assert sorted(checks) == ["over_age", "prune_overdue"]
    issuer.clock.advance(7776000)
    checks = [finding["check"] for finding in json.loads(issuer.command("keys doctor --json").stdout)]
    assert "clock_ahead" in checks
