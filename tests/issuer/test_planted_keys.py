"""#187, #188: who can write the database and does not hold the key-encryption key plants no key that anybody believes."""

import json
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from issuer.storage.changes import record_change
from keys.key import canonical, generate, signer
from keys.store import keys
from realmint.protocol import jws
from tests.issuer.conftest import READER, Lines
from tests.support.issuer import Issuer, claims
from tests.support.wire import assert_inactive


def published(issuer: Issuer, realm: str = "/") -> set[str]:
    return {jwk["kid"] for jwk in issuer.http.get(issuer.address("/connect/jwk_uri", realm)).json["keys"]}


def row(connection: Any, **wanted: Any) -> dict[str, Any]:
    query = select(keys)
    for name, value in wanted.items():
        query = query.where(keys.c[name] == value)
    return dict(connection.execute(query).mappings().one())


def plant(issuer: Issuer, kind: str) -> Any:
    """A key of the attacker's among the published ones, as well as the database alone allows; how it signs."""
    made = generate("ES256")
    with issuer.runtime.database.change() as connection:
        if kind == "a row of its own":
            copied = row(connection, realm_id=1, state="retiring")
            mine = {"kid": made.kid, "thumbprint": made.thumbprint, "public_jwk": canonical(made.public_jwk)}
            connection.execute(insert(keys).values({**copied, **mine}))  # the seal and the proof of another
            kid = made.kid
        elif kind == "another public half under a name of ours":
            kid = row(connection, realm_id=1, state="published")["kid"]
            jwk = canonical({**made.public_jwk, "kid": kid})
            connection.execute(update(keys).where(keys.c.kid == kid).values(public_jwk=jwk))
        else:  # a key that another realm, whose administrator the attacker is, imported
            theirs = row(connection, realm_id=2, state="published")
            connection.execute(delete(keys).where(keys.c.kid == theirs["kid"]))
            connection.execute(insert(keys).values({**theirs, "realm_id": 1, "state": "retiring"}))
            kid = theirs["kid"]
        record_change(connection, 1)
    issuer.clock.advance(2)
    return kid, signer(kid, "ES256", made.pkcs8)


@pytest.mark.parametrize(
    "kind", ["a row of its own", "another public half under a name of ours", "a row of another realm"]
)
def test_187_a_planted_key_is_published_nowhere_and_what_it_signs_is_inactive(
    stored_issuer: Issuer, lines: Lines, kind: str
) -> None:
    caller = stored_issuer.client(options=READER)
    stored_issuer.run("realms create /theirs")
    stored_issuer.run("keys rotate")
    token = stored_issuer.token(caller)
    before = published(stored_issuer)
    assert stored_issuer.introspect(caller, token).json["active"] is True
    kid, forger = plant(stored_issuer, kind)
    assert published(stored_issuer) == before - {kid}
    assert kid not in published(stored_issuer)
    forged = jws.sign({**claims(token), "jti": "forged", "scope": "read admin"}, forger, "at+jwt")
    assert_inactive(stored_issuer.introspect(caller, forged))
    assert stored_issuer.introspect(caller, stored_issuer.token(caller)).json["active"] is True
    assert any("key_not_authenticated" in line and kid in line for line in lines.text)
    found = stored_issuer.command("keys doctor --json")
    assert found.exit_code == 1
    assert any(finding["check"] == "not_authenticated" and finding["kid"] == kid for finding in _json(found))


def test_187_a_revoked_key_that_is_put_back_stays_out(stored_issuer: Issuer) -> None:
    with stored_issuer.runtime.database.read() as connection:
        before = row(connection, realm_id=1, state="active")
    stored_issuer.run(f"keys revoke {before['kid']} --reason leaked --yes")
    with stored_issuer.runtime.database.change() as connection:
        back = {
            "state": "retiring",
            "retiring_at": before["activated_at"],
            "max_exp_bound": 2**40,
            "not_signed_after": 2**40,
        }
        connection.execute(update(keys).where(keys.c.kid == before["kid"]).values(**back))
        record_change(connection, 1)
    stored_issuer.clock.advance(2)
    assert before["kid"] not in published(stored_issuer)


def test_187_a_revoked_key_whose_whole_old_row_is_put_back_is_named_by_doctor(stored_issuer: Issuer) -> None:
    with stored_issuer.runtime.database.read() as connection:
        before = row(connection, realm_id=1, state="active")
    stored_issuer.run(f"keys revoke {before['kid']} --reason leaked --yes")
    back = {**before, "state": "retiring", "retiring_at": before["activated_at"]}
    with stored_issuer.runtime.database.change() as connection:
        connection.execute(update(keys).where(keys.c.kid == before["kid"]).values(**back))
    found = stored_issuer.command("keys doctor --json")
    assert any(finding["check"] == "not_audited" and finding["kid"] == before["kid"] for finding in _json(found))


SPOILT = {
    "proof": ["1", "'text'", "1.5", "''"],
    "sealed": ["1", "'text'", "''"],
    "public_jwk": ["1", "x'ff'", "'[]'", '\'{"kid":"\\ud800"}\'', "'{\"n\":NaN}'"],
    "alg": ["1", "x'ff'"],
    "kid": ["1", "x'ff'"],
    "held": ["'text'"],
    "retiring_at": ["'text'", "x'ff'", "1.5"],
    "max_exp_bound": ["'text'", "x'ff'"],
}


@pytest.mark.parametrize(("column", "value"), [(name, value) for name, values in SPOILT.items() for value in values])
def test_187_a_row_that_is_spoilt_takes_no_other_key_along(
    issuer: Issuer, make_issuer: Any, column: str, value: str
) -> None:
    """SQLite keeps any type of value in any column."""
    issuer.run("keys rotate")
    before = published(issuer)
    with issuer.runtime.database.change() as connection:
        kid = row(connection, realm_id=1, state="retiring")["kid"]
        connection.exec_driver_sql(f"UPDATE keys SET {column} = {value} WHERE kid = '{kid}'")
        record_change(connection, 1)
    issuer.clock.advance(2)
    caller = issuer.client(options=READER)
    for process in (issuer, make_issuer()):
        assert published(process) >= before - {kid}
        assert process.introspect(caller, process.token(caller)).json["active"] is True
    for command in ("keys doctor", "keys list", "keys audit", "keys rotate --dry-run", "keys prune --dry-run"):
        assert isinstance(issuer.command(command).exception, SystemExit | None), command
    assert issuer.command("keys doctor").exit_code == 1


@pytest.mark.parametrize("kek_id", ["1", "x'00'", "'0123456789abcdef'"])
def test_187_a_key_under_a_key_encryption_key_that_is_none_of_ours_answers_503(
    issuer: Issuer, make_issuer: Any, kek_id: str
) -> None:
    with issuer.runtime.database.change() as connection:
        connection.exec_driver_sql(f"UPDATE keys SET kek_id = {kek_id} WHERE state = 'published'")
    answer = make_issuer().http.get(issuer.address("/connect/jwk_uri"))
    assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable")


def test_rewrap_vouches_for_nothing_that_was_planted(
    stored_issuer: Issuer, make_issuer: Any, database_url: str
) -> None:
    stored_issuer.run("realms create /theirs")
    stored_issuer.run("keys rotate")
    kid, _ = plant(stored_issuer, "another public half under a name of ours")
    keks = "BBECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8,AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    newer = make_issuer("newer", database_url, KEK=keks)
    refused = newer.command("keys rewrap --json")
    assert (refused.exit_code, kid in _json(refused)["message"]) == (7, True)
    assert kid not in published(newer)


def _json(result: Any) -> Any:
    return json.loads(result.stdout)
