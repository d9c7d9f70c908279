"""A client ends its own tokens (RFC 7009): facts/security.md sections H and N, and what a flood of it costs others."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from issuer.revocation_limit import PER_CLIENT, PER_REALM, RevocationLimit
from issuer.storage import changes, revoked
from keys.audit_log import audit_since
from tests.issuer.conftest import READER, House, Lines
from tests.issuer.test_introspection import resigned
from tests.support.broken import Broken
from tests.support.forge import Forge
from tests.support.issuer import Caller, Issuer, basic, claims
from tests.support.wire import (
    NO_TOKEN,
    OTHER_CLIENTS_TOKEN,
    PRIVATE,
    QUERY,
    assert_inactive,
    assert_refused,
    headers,
)

AUDITOR = "--scope am-introspect-all-tokens"


def assert_done(response: Any) -> None:
    """RFC 7009 section 2.2: the same for whatever is not active now."""
    assert (response.status_code, response.data) == (200, b"{}\n")
    assert headers(response) == PRIVATE


def is_revoked(issuer: Issuer, token: str) -> bool:
    with issuer.runtime.database.read() as connection:
        return revoked.is_revoked(connection, 1, claims(token)["jti"])


@pytest.mark.rfc("7009", "2.2")
def test_120_127_a_revoked_token_is_inactive_at_every_process_at_once_and_its_sibling_is_not(
    stored_issuer: Issuer, second_node: Issuer, lines: Lines
) -> None:
    svc = stored_issuer.client(options=READER)
    other = stored_issuer.client("other", READER)
    nodes = (stored_issuer, second_node)
    token, sibling, others = stored_issuer.token(svc), second_node.token(svc), stored_issuer.token(other)
    for node in nodes:
        assert node.introspect(svc, token).json["active"] is True
    lines.text.clear()
    assert_done(stored_issuer.revoke(svc, token))
    for node in nodes:
        assert_inactive(node.introspect(svc, token))
        assert node.introspect(svc, sibling).json["active"] is True
        assert node.introspect(other, others).json["active"] is True
    jti = claims(token)["jti"]
    assert [
        line
        for line in lines.text
        if f" revocation realm=/ client_id=svc address=127.0.0.1 effect=true jti={jti}" in line
    ]
    assert token not in "".join(lines.text)
    for node in nodes:  # again is no fault
        assert_done(node.revoke(svc, token))
        assert_inactive(node.introspect(svc, token))


def test_a_revocation_by_a_client_is_no_row_of_the_audit(issuer: Issuer) -> None:
    svc = issuer.client(options=READER)
    with issuer.runtime.database.read() as connection:
        before = len(audit_since(connection, 0))
    assert_done(issuer.revoke(svc, issuer.token(svc)))
    with issuer.runtime.database.read() as connection:
        assert len(audit_since(connection, 0)) == before


@pytest.mark.parametrize("token_format", ["rfc9068", "jwt", "am"])
def test_120_a_token_of_each_format_can_be_revoked(issuer: Issuer, token_format: str) -> None:
    svc = issuer.client(options=f"{READER} --token-format {token_format}")
    token = issuer.token(svc)
    assert_done(issuer.revoke(svc, token))
    assert_inactive(issuer.introspect(svc, token))


@pytest.mark.parametrize(
    "text",
    ["x", ".", "..", "a.b.c", "a" * 60_000, "." * 60_000, "eyJhbGciOiJub25lIn0.e30.", "ü.ü.ü", "\u2028", "null",
     "' OR 1=1--", "rmt_" + "x" * 43, "%"],
)  # fmt: skip
@pytest.mark.rfc("7009", "2.2")
def test_121_193_what_is_no_token_of_ours_is_answered_as_one_that_was_ended(house: House, text: str) -> None:
    assert_done(house.issuer.revoke(house["svc"], text))


@pytest.mark.rfc("7009", "2.2")
def test_121_a_token_that_is_forged_or_ended_already_is_answered_alike_and_touches_no_other(house: House) -> None:
    issuer, svc = house.issuer, house["svc"]
    token = issuer.token(svc)
    now = issuer.clock.now
    texts = {
        "stranger": Forge("ES256", claims(token)["iss"]).token(claims=claims(token)),
        "cut": token[:-1],
        "padded": token + "=",
        "long_expired": resigned(issuer, token, iat=now - 9000, nbf=now - 9000, exp=now - 1000),
        "other_issuer": resigned(issuer, token, iss="https://issuer.example/oauth2/realms/root/realms/x"),
        "no_jti": resigned(issuer, token, jti=None),
        "jti_of_another_kind": resigned(issuer, token, jti="0123456789abcdef"),
        "index_that_nobody_has": resigned(issuer, token, jti="_" * 28),
        "no_access_token": resigned(issuer, token, typ="client-authentication+jwt"),
    }
    for name, text in texts.items():
        assert_done(issuer.revoke(svc, text)), name
        assert issuer.introspect(svc, token).json["active"] is True, name


def test_121_195_a_token_that_a_late_clock_still_accepts_can_be_revoked_after_its_expiry(issuer: Issuer) -> None:
    """An API has leeway, and so has each clock: until nobody can accept it, to revoke it has an effect."""
    svc = issuer.client(options=READER)
    policy = issuer.runtime.settings.policy
    longest = policy.verifier_leeway + 2 * policy.clock_error
    for age, effect in ((600, True), (600 + longest - 1, True), (600 + longest, False), (600 + longest + 1, False)):
        token = issuer.token(svc)
        issuer.clock.advance(age)
        assert_inactive(issuer.introspect(svc, token))
        assert_done(issuer.revoke(svc, token))
        assert is_revoked(issuer, token) is effect, age


@pytest.mark.rfc("7009", "2.1")
def test_122_another_client_s_token_is_refused_and_goes_on(house: House, lines: Lines) -> None:
    token = house.issuer.token(house["svc"])
    for caller in ("other", "auditor", "api"):
        assert_refused(house.issuer.revoke(house[caller], token), "invalid_request", text=OTHER_CLIENTS_TOKEN)
        assert f"client_id={caller}" in lines.text[-1]
        assert "reason=other_clients_token" in lines.text[-1]
    assert house.issuer.introspect(house["svc"], token).json["active"] is True


def test_202_204_a_client_of_another_realm_and_one_made_anew_revoke_nothing(issuer: Issuer) -> None:
    issuer.run("realms create /x")
    svc, far = issuer.client(options=READER), issuer.client("svc", READER, "/x")
    token = issuer.token(svc)
    assert_done(issuer.revoke(far, token))  # at its own realm there is no such token
    assert issuer.introspect(svc, token).json["active"] is True
    here = Caller("svc", far.secret)
    assert_refused(issuer.revoke(here, token), "invalid_client")
    issuer.run("clients delete svc --yes")
    again = issuer.client(options=READER)
    issuer.clock.advance(3)
    mine = issuer.token(again)
    assert_done(issuer.revoke(again, token))
    assert issuer.introspect(again, mine).json["active"] is True


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "nonsense", "", "x" * 9000, "' OR 1=1--"])
@pytest.mark.rfc("7009", "2.2")
def test_123_a_hint_changes_nothing(house: House, hint: str) -> None:
    token = house.issuer.token(house["svc"])
    assert_done(house.issuer.revoke(house["svc"], token, token_type_hint=hint))
    assert_inactive(house.issuer.introspect(house["svc"], token))


@pytest.mark.rfc("7009", "2.1")
def test_124_the_caller_authenticates_by_either_method_and_sends_a_form_with_a_token(house: House) -> None:
    issuer, svc = house.issuer, house["svc"]
    token, address = issuer.token(svc), issuer.address("/token/revoke")
    assert_refused(issuer.post("/token/revoke", {"token": token}), "invalid_client")
    assert_refused(issuer.post("/token/revoke", {"token": token}, basic("svc", "wrong")), "invalid_client")
    assert_refused(
        issuer.post("/token/revoke", {"token": token}, {"Authorization": f"Bearer {token}"}), "invalid_client"
    )
    for form in ({"token": ""}, {"token_type_hint": "access_token"}):
        assert_refused(issuer.post("/token/revoke", form, svc.basic), "invalid_request", text=NO_TOKEN)
    got = issuer.http.get(f"{address}?token={token}", headers=svc.basic)
    assert_refused(got, "method_not_allowed", also={"Allow": "POST"})
    asked = issuer.http.post(f"{address}?token={token}", headers=svc.basic, data={})
    assert_refused(asked, "invalid_request", text=QUERY)
    assert issuer.introspect(svc, token).json["active"] is True
    assert_done(issuer.post("/token/revoke", {"token": token} | svc.post))
    assert_inactive(issuer.introspect(svc, token))


def test_a_client_that_revokes_all_it_is_done_with_gets_a_longer_range_and_loses_no_other_token(issuer: Issuer) -> None:
    svc = issuer.client(options=READER)
    kept = issuer.token(svc)
    for _ in range(12):  # a range of 256 drains at four
        issuer.clock.advance(2)
        assert_done(issuer.revoke(svc, issuer.token(svc)))
    assert issuer.introspect(svc, kept).json["active"] is True
    assert issuer.introspect(svc, issuer.token(svc)).json["active"] is True


def test_one_client_s_flood_meets_its_limit_at_every_process_of_the_node_and_moves_no_other(
    stored_issuer: Issuer, database_url: str, make_issuer: Callable[..., Issuer]
) -> None:
    """1,000 attempts within one second, through two processes of one node; another realm goes on as before."""
    stored_issuer.run("realms create /x")
    svc, other = stored_issuer.client(options=READER), stored_issuer.client("other", READER)
    far = stored_issuer.client("far", READER, "/x")
    worker = make_issuer("instance", database_url)
    tokens = [stored_issuer.token(svc) for _ in range(PER_CLIENT + 1)]
    attempts = [tokens[n % len(tokens)] for n in range(1000)]
    answers = [(stored_issuer, worker)[n % 2].revoke(svc, token) for n, token in enumerate(attempts)]
    assert [answer.status_code for answer in answers] == [200] * PER_CLIENT + [429] * (1000 - PER_CLIENT)
    for answer in answers:
        if answer.status_code == 200:
            assert_done(answer)
        else:
            assert_refused(answer, "temporarily_unavailable", status=429, also={"Retry-After": "1"})
    assert sum(is_revoked(stored_issuer, token) for token in tokens) == PER_CLIENT
    for caller in (other, far):  # within the same second
        token = worker.token(caller)
        assert_done(stored_issuer.revoke(caller, token))
        assert_inactive(worker.introspect(caller, token))
    stored_issuer.clock.advance(1)
    assert_done(worker.revoke(svc, tokens[-1]))


def test_the_clients_of_a_realm_share_its_limit_and_another_realm_has_its_own(tmp_path: Path) -> None:
    limit = RevocationLimit(tmp_path / "revocations")
    names = [f"client-{n}" for n in range(10)]
    admitted = [name for name in names for _ in range(PER_CLIENT + 5) if limit.admits(1, name, 7)]
    assert len(admitted) == PER_REALM
    assert not limit.admits(1, "late", 7)
    assert limit.admits(2, "client-0", 7)
    assert limit.admits(1, "client-0", 8)
    assert not limit.admits(1, "late", 7)  # one that was read late wipes nothing out, and is not let through
    assert limit.admits(1, "client-0", 2**32 + 9)  # 2106
    limit.close()


def test_who_is_over_its_own_limit_takes_nothing_of_its_realm_s(tmp_path: Path) -> None:
    limit = RevocationLimit(tmp_path / "no" / "folder" / "revocations")
    assert sum(limit.admits(1, "flood", 7) for _ in range(5000)) == PER_CLIENT
    assert sum(limit.admits(1, "other", 7) for _ in range(60)) == PER_CLIENT


@pytest.mark.parametrize(("warm", "unheard"), [(False, False), (True, True)], ids=["cold", "warm and unheard"])
def test_125_191_192_whichever_call_of_a_revocation_fails_it_is_done_or_503_and_never_a_lie(
    stored_issuer: Issuer, database_url: str, make_issuer: Callable[..., Issuer], warm: bool, unheard: bool
) -> None:
    """unheard: the commit was carried out, and nobody heard of it; then the row stands, and 503 claims nothing."""
    svc = stored_issuer.client(options=READER)
    node = make_issuer("warm", database_url)
    for call in count(1):
        if not warm:
            node = make_issuer(f"cold-{call}", database_url)
        else:
            node.introspect(svc, stored_issuer.token(svc))
        token, before = stored_issuer.token(svc), state(stored_issuer, None)
        with Broken(node.runtime.database).at(call, unheard=unheard) as broken:
            answer = node.revoke(svc, token)
        after = state(stored_issuer, token)
        if answer.status_code == 200:
            assert_done(answer)
            assert done(before, after)
        else:
            assert_refused(answer, "temporarily_unavailable", also={"Retry-After": "1"})
            assert after == before or (unheard and done(before, after))
        if broken.calls < call:
            assert answer.status_code == 200
            break
        stored_issuer.clock.advance(2)
        assert_done(node.revoke(svc, token))  # the same process, without a restart; the client tries again
        assert done(before, state(stored_issuer, token))
        assert_inactive(stored_issuer.introspect(svc, token))
    assert call > (6 if warm else 10)


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_192_whichever_call_of_an_introspection_fails_nothing_dead_is_active_and_nothing_live_is_not(
    stored_issuer: Issuer, database_url: str, make_issuer: Callable[..., Issuer], warm: bool
) -> None:
    svc = stored_issuer.client(options=READER)
    dead, live = stored_issuer.token(svc), stored_issuer.token(svc)
    assert_done(stored_issuer.revoke(svc, dead))
    for token, active in ((dead, False), (live, True)):
        for call in count(1):
            node = make_issuer(f"node-{active}-{call}", database_url)
            if warm:
                node.introspect(svc, live)
            with Broken(node.runtime.database).at(call) as broken:
                answer = node.introspect(svc, token)
            if answer.status_code == 200:
                assert answer.json["active"] is active
            else:
                assert_refused(answer, "temporarily_unavailable", also={"Retry-After": "1"})
            if broken.calls < call:
                assert answer.status_code == 200
                break
        assert call > (1 if warm else 5)


def state(issuer: Issuer, token: str | None) -> tuple[bool, int]:
    """Whether the row of a token stands, and how many changes there are: a transaction is there whole or not at all."""
    with issuer.runtime.database.read() as connection:
        generation = changes.now_at(connection).generation
        return token is not None and revoked.is_revoked(connection, 1, claims(token)["jti"]), generation


def done(before: tuple[bool, int], after: tuple[bool, int]) -> bool:
    """One revocation is recorded, with the change of its client where the range was full."""
    return after[0] and after[1] - before[1] in (1, 2)
