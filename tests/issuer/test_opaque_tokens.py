"""The format `opaque`: a text that says nothing, a row under its digest, and every kill reaches it. Both engines."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import OperationalError

from issuer import opaque, slots
from issuer.admin import tokens as admin_tokens
from issuer.opaque import MOST_LIVE, OpaqueToken
from issuer.storage import opaque as opaque_store
from issuer.storage.tables import metadata, opaque_counts, opaque_tokens
from keys.audit import Actor
from realmint import Introspection, InvalidToken, ResourceServer
from realmint.messages import Request, Response
from realmint.protocol import checksummed
from tests.issuer.conftest import ORDERS, READER, Lines
from tests.support.issuer import BASE_URL, Caller, Issuer
from tests.support.wire import PRIVATE, assert_inactive, assert_refused, headers

OPAQUE = f"{READER} --token-format opaque"
ALICE = Actor("test:alice", "operation", "to see")


def auditor(issuer: Issuer, realm: str = "/") -> Caller:
    return issuer.client("auditor", "--scope am-introspect-all-tokens", realm)


def rows(issuer: Issuer) -> int:
    with issuer.runtime.database.read() as connection:
        return int(connection.scalar(select(func.count()).select_from(opaque_tokens)) or 0)


def everything_stored(issuer: Issuer) -> str:
    """Each value of each table, and the bytes of the file where the database is one."""
    with issuer.runtime.database.read() as connection:
        values = [tuple(row) for table in metadata.sorted_tables for row in connection.execute(select(table))]
    database = issuer.runtime.database
    raw = [file.read_bytes() for file in database.path.parent.glob("*.db*")] if database.is_sqlite else []
    return repr(values) + "".join(part.decode("latin-1") for part in raw)


@pytest.mark.rfc("6749", "5.1")
@pytest.mark.rfc("7662", "2.2")
def test_it_is_a_text_that_says_nothing_and_introspection_says_what_rfc9068_would(stored_issuer: Issuer) -> None:
    caller = stored_issuer.client(options=f"{OPAQUE} --audience {ORDERS}")
    response = stored_issuer.token_response(caller, resource=ORDERS)
    assert (response.status_code, headers(response)) == (200, PRIVATE)
    body = dict(response.json)
    token = body.pop("access_token")
    assert body == {"token_type": "Bearer", "expires_in": 600, "scope": "read"}
    assert re.fullmatch(r"rmt_[A-Za-z0-9_-]{49}", token)
    now = stored_issuer.clock.now
    stored_issuer.clock.advance(100)
    answer = stored_issuer.introspect(caller, token)
    assert headers(answer) == PRIVATE
    jti = answer.json["jti"]
    assert slots.index_of(jti) >= 0
    issuer = f"{BASE_URL}/oauth2/realms/root"
    assert answer.json == {
        "active": True, "scope": "read", "client_id": "svc", "token_type": "Bearer", "exp": now + 600, "iat": now,
        "nbf": now, "sub": "svc", "aud": ORDERS, "iss": issuer, "jti": jti, "realm": "/", "expires_in": 500,
    }  # fmt: skip


def test_a_realm_may_choose_it_for_all_its_clients_and_a_client_another(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms update / --token-format opaque")
    of_realm, own = stored_issuer.client("a", READER), stored_issuer.client("b", f"{READER} --token-format rfc9068")
    assert stored_issuer.token(of_realm).startswith("rmt_")
    assert stored_issuer.token(own).count(".") == 2


def test_208_its_text_is_stored_nowhere_and_logged_nowhere(
    stored_issuer: Issuer, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    caller = stored_issuer.client(options=OPAQUE)
    with caplog.at_level(logging.DEBUG):
        token = stored_issuer.token(caller)
        answer = stored_issuer.introspect(caller, token).json
        stored_issuer.post("/introspect", {"token": token, "client_id": token}, None)
    body = token.removeprefix("rmt_")
    for written in (everything_stored(stored_issuer), caplog.text, "".join(lines.text), "".join(lines.json)):
        assert body not in written
        assert body[:16] not in written
    issued = [line for line in lines.text if " token_issued " in line]
    assert len(issued) == 1
    assert f" jti={answer['jti']} " in issued[0]
    assert " kid=" not in issued[0]


@pytest.mark.parametrize(("seconds", "active"), [(599, True), (600, False), (601, False)])
def test_112_it_is_active_up_to_the_second_it_expires(stored_issuer: Issuer, seconds: int, active: bool) -> None:
    caller = stored_issuer.client(options=OPAQUE)
    token = stored_issuer.token(caller)
    stored_issuer.clock.advance(seconds)
    assert stored_issuer.introspect(caller, token).json["active"] is active


@pytest.mark.rfc("7662", "4")
def test_113_115_it_is_shown_to_who_may_see_any_token_and_in_its_realm_alone(stored_issuer: Issuer) -> None:
    stored_issuer.run("realms create /customers")
    caller = stored_issuer.client(options=f"{OPAQUE} --audience {ORDERS}")
    token = stored_issuer.token(caller, resource=ORDERS)
    api = stored_issuer.client("api", f"--resource-identifier {ORDERS}")
    for name in (api, auditor(stored_issuer), caller):
        assert stored_issuer.introspect(name, token).json["active"] is True
    assert_inactive(stored_issuer.introspect(stored_issuer.client("other"), token))
    assert_inactive(stored_issuer.introspect(auditor(stored_issuer, "/customers"), token))


def test_114_no_other_spelling_is_active_and_a_mistyped_one_is_not_looked_up(stored_issuer: Issuer) -> None:
    caller = stored_issuer.client(options=OPAQUE)
    token = stored_issuer.token(caller)
    wrong = "A" if token[10] != "A" else "B"
    for spelling in (
        token[:-1], token + "=", token + "A", token.upper(), " " + token, token.replace("rmt_", "rms_"), token[4:],
        token[:10] + wrong + token[11:], checksummed.written("rmt_", bytes(32)), "rmt_", "rmt_" + "ü" * 49,
    ):  # fmt: skip
        assert_inactive(stored_issuer.introspect(caller, spelling))
    assert stored_issuer.introspect(caller, token).json["active"] is True


def kills(issuer: Issuer, token_id: str, secret_id: str) -> dict[str, Callable[[], object]]:
    admin = issuer.runtime.administration
    return {
        "one token": lambda: admin_tokens.revoke(admin, "/x", token_id, ALICE),
        "tokens of its secret": lambda: admin_tokens.revoke_of_secret(admin, "/x", secret_id, ALICE),
        "tokens of its client": lambda: admin_tokens.revoke_of_client(admin, "/x", "svc", ALICE),
        "tokens of its realm": lambda: admin_tokens.revoke_all(admin, "/x", ALICE),
        "its secret": lambda: issuer.run(f"clients secrets revoke svc {secret_id} --realm /x --yes"),
        "its client disabled": lambda: issuer.run("clients disable svc --realm /x"),
        "its client deleted": lambda: issuer.run("clients delete svc --realm /x --yes"),
        "its realm disabled": lambda: issuer.run("realms disable /x"),
    }


KILLS = (
    "one token", "tokens of its secret", "tokens of its client", "tokens of its realm", "its secret",
    "its client disabled", "its client deleted", "its realm disabled",
)  # fmt: skip


@pytest.mark.parametrize("kill", KILLS)
def test_117_every_kill_reaches_it_at_once_and_nothing_revives_it(stored_issuer: Issuer, kill: str) -> None:
    stored_issuer.run("realms create /x")
    made = stored_issuer.run(f"clients create svc --realm /x {OPAQUE}")
    caller = Caller("svc", made["client_secret"], "/x")
    seer = auditor(stored_issuer, "/x")
    other = stored_issuer.client("other", OPAQUE, "/x")
    token, sibling, others = (stored_issuer.token(each) for each in (caller, caller, other))
    token_id = stored_issuer.introspect(seer, token).json["jti"]
    kills(stored_issuer, token_id, made["secret_id"])[kill]()
    assert_inactive(stored_issuer.introspect(seer, token))
    realm_wide = kill in ("tokens of its realm", "its realm disabled")
    assert stored_issuer.introspect(seer, sibling).json["active"] is (kill == "one token")
    assert stored_issuer.introspect(seer, others).json["active"] is not realm_wide
    for line in ("clients enable svc --realm /x", "realms enable /x", f"clients create svc --realm /x {OPAQUE}"):
        stored_issuer.command(line)
        stored_issuer.clock.advance(3)
        assert_inactive(stored_issuer.introspect(seer, token))


def test_a_revoked_signing_key_ends_no_token_that_it_did_not_sign(stored_issuer: Issuer) -> None:
    caller = stored_issuer.client(options=OPAQUE)
    token = stored_issuer.token(caller)
    kid = next(key["kid"] for key in stored_issuer.run("keys list") if key["state"] == "active")
    stored_issuer.run(f"keys revoke {kid} --reason leaked --yes")
    assert stored_issuer.introspect(caller, token).json["active"] is True


def test_it_is_found_by_every_node_the_moment_it_is_answered(stored_issuer: Issuer, second_node: Issuer) -> None:
    caller = stored_issuer.client(options=OPAQUE)
    for _ in range(3):
        assert second_node.introspect(caller, stored_issuer.token(caller)).json["active"] is True
        assert stored_issuer.introspect(caller, second_node.token(caller)).json["active"] is True


def test_187_a_row_that_somebody_spoilt_is_not_active_and_no_fault(stored_issuer: Issuer) -> None:
    caller = stored_issuer.client(options=OPAQUE)
    token = stored_issuer.token(caller)
    with stored_issuer.runtime.database.read() as connection:
        good = connection.scalar(select(opaque_tokens.c.claims))
    told = json.loads(good or "")
    for spoilt in (
        "", "null", "[]", "{", "{}", "\ufffd", json.dumps(told | {"exp": "soon"}), json.dumps(told | {"iss": "x"}),
        json.dumps(told | {"jti": "x"}), json.dumps(told | {"client_id": "auditor"}), json.dumps(told | {"scope": 5}),
    ):  # fmt: skip
        with stored_issuer.runtime.database.write() as connection:
            connection.execute(opaque_tokens.update().values(claims=spoilt))
        assert_inactive(stored_issuer.introspect(caller, token))
    with stored_issuer.runtime.database.write() as connection:
        connection.execute(opaque_tokens.update().values(claims=good))
    assert stored_issuer.introspect(caller, token).json["active"] is True


@contextmanager
def taken_away(issuer: Issuer, folder: Path) -> Iterator[None]:
    issuer.runtime.database.engine.dispose()
    (folder / "store.db").rename(folder / "away.db")
    yield
    (folder / "away.db").rename(folder / "store.db")


def test_190_without_the_store_it_is_503_at_once_though_a_signed_one_is_still_issued(
    make_issuer: Callable[..., Issuer], tmp_path: Path, lines: Lines
) -> None:
    issuer = make_issuer("one", f"sqlite:///{tmp_path / 'store.db'}").setup()
    caller, signing = issuer.client("a", OPAQUE), issuer.client("b", READER)
    token = issuer.token(caller)
    issuer.token(signing)
    with taken_away(issuer, tmp_path):
        assert issuer.token(signing)
        issued = len([line for line in lines.text if "token_issued" in line])
        for response in (issuer.token_response(caller), issuer.introspect(caller, token)):
            assert_refused(response, "temporarily_unavailable", also={"Retry-After": "1"})
        assert_inactive(issuer.introspect(caller, "rmt_nothing"))
        assert len([line for line in lines.text if "token_issued" in line]) == issued
    assert issuer.introspect(caller, token).json["active"] is True
    assert issuer.introspect(caller, issuer.token(caller)).json["active"] is True


def test_when_its_row_cannot_be_written_no_token_is_answered(stored_issuer: Issuer, lines: Lines) -> None:
    caller = stored_issuer.client(options=OPAQUE)
    assert stored_issuer.token(caller)
    with stored_issuer.runtime.database.write() as connection:
        connection.execute(text("ALTER TABLE opaque_tokens RENAME TO elsewhere"))
    refused = stored_issuer.token_response(caller)
    assert_refused(refused, "temporarily_unavailable", also={"Retry-After": "1"})
    with stored_issuer.runtime.database.write() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO opaque_tokens"))
    assert len([line for line in lines.text if "token_issued" in line]) == 1
    assert rows(stored_issuer) == 1


def fill(issuer: Issuer, like: OpaqueToken, count: int, expires_at: int) -> None:
    """As many more of the client's tokens of its range, as the store counts them."""
    some = opaque_counts.insert().values(client_pk=like.client_pk, range_begin=like.range_begin, until=expires_at)
    with issuer.runtime.database.write() as connection:
        connection.execute(some.values(tokens=count))


def test_a_client_has_so_many_live_ones_at_most_then_429_until_the_first_expires_or_is_cut_off(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    caller, other = stored_issuer.client(options=OPAQUE), stored_issuer.client("other", OPAQUE)
    seer = auditor(stored_issuer)
    token = stored_issuer.token(caller)
    with stored_issuer.runtime.database.read() as connection:
        like = opaque_store.find(connection, 1, opaque.digest(token))
    assert like is not None
    stored_issuer.clock.advance(10)
    fill(stored_issuer, like, MOST_LIVE - 2, stored_issuer.clock.now + 600)
    assert stored_issuer.token(caller)  # the last that there is room for, on either node
    for node in (second_node, stored_issuer, second_node, stored_issuer):
        refused = node.token_response(caller)
        assert_refused(refused, "temporarily_unavailable", status=429, also={"Retry-After": "590"})
    assert stored_issuer.token(other)
    assert stored_issuer.introspect(seer, token).json["active"] is True
    stored_issuer.clock.advance(590)
    assert_inactive(stored_issuer.introspect(seer, token))
    assert stored_issuer.token(caller)
    refused = second_node.token_response(caller)
    assert_refused(refused, "temporarily_unavailable", status=429, also={"Retry-After": "10"})
    # Whoever got the tokens that are cut off keeps nobody from new ones.
    admin_tokens.revoke_of_client(stored_issuer.runtime.administration, "/", "svc", ALICE)
    stored_issuer.clock.advance(2)
    assert stored_issuer.introspect(seer, second_node.token(caller)).json["active"] is True


def test_requests_that_come_at_once_to_several_nodes_do_not_overfill_it(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    caller = stored_issuer.client(options=OPAQUE)
    token = stored_issuer.token(caller)
    assert second_node.token(caller)
    with stored_issuer.runtime.database.read() as connection:
        like = opaque_store.find(connection, 1, opaque.digest(token))
    assert like is not None
    fill(stored_issuer, like, MOST_LIVE - 7, stored_issuer.clock.now + 500)

    def ask(number: int) -> int:
        node = (stored_issuer, second_node)[number % 2]
        with node.app.test_client() as http:
            form = {"grant_type": "client_credentials"}
            return http.post(node.address("/access_token"), data=form, headers=caller.basic).status_code

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(ask, range(18))) == [200] * 5 + [429] * 13
    assert rows(stored_issuer) == 7


@pytest.mark.parametrize("nth", range(1, 8))
def test_192_whichever_statement_fails_it_is_503_and_no_token_is_answered_that_is_not_stored(
    stored_issuer: Issuer, nth: int
) -> None:
    caller = stored_issuer.client(options=OPAQUE)
    token = stored_issuer.token(caller)
    engine = stored_issuer.runtime.database.engine
    for ask in (
        lambda: stored_issuer.token_response(caller),
        lambda: stored_issuer.introspect(caller, token),
    ):
        before = rows(stored_issuer)
        left = [nth]

        def fail(*_: object, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise OperationalError("", None, Exception("gone"))

        event.listen(engine, "before_cursor_execute", fail)
        try:
            response = ask()
        finally:
            event.remove(engine, "before_cursor_execute", fail)
        if left[0] > 0:
            assert response.status_code == 200  # it has no such statement
        else:
            assert_refused(response, "temporarily_unavailable", also={"Retry-After": "1"})
            assert rows(stored_issuer) == before
    assert stored_issuer.introspect(caller, token).json["active"] is True


def test_196_what_has_expired_is_pruned_so_many_at_a_time_and_nothing_that_is_live(stored_issuer: Issuer) -> None:
    caller = stored_issuer.client(options=OPAQUE)
    old = [stored_issuer.token(caller) for _ in range(3)]
    stored_issuer.clock.advance(1)
    young = stored_issuer.token(caller)

    def prune(limit: int) -> int:
        with stored_issuer.runtime.database.write() as connection:
            return opaque_store.prune_opaque(connection, stored_issuer.clock.now, limit)

    stored_issuer.clock.advance(598)
    assert (prune(10), rows(stored_issuer)) == (0, 4)
    stored_issuer.clock.advance(1)
    assert [prune(2) for _ in range(3)] == [2, 1, 0]
    assert rows(stored_issuer) == 1
    assert stored_issuer.introspect(caller, young).json["active"] is True
    assert_inactive(stored_issuer.introspect(caller, old[0]))
    stored_issuer.clock.advance(10)
    assert [prune(2) for _ in range(2)] == [1, 0]
    with stored_issuer.runtime.database.read() as connection:
        assert connection.execute(select(opaque_counts)).all() == []  # nor does what they were counted by stay


def test_the_library_accepts_it_in_its_mode_and_asks_about_no_mistyped_one(stored_issuer: Issuer) -> None:
    caller = stored_issuer.client(options=f"{OPAQUE} --audience {ORDERS}")
    api = stored_issuer.client("api", f"--resource-identifier {ORDERS}")
    asked: list[str] = []

    def transport(request: Request) -> Response:
        asked.append(request.url)
        form: Any = {"data": request.body, "content_type": "application/x-www-form-urlencoded"}
        found = stored_issuer.http.open(
            request.url.removeprefix(BASE_URL), method=request.method, headers=dict(request.headers), **form
        )
        return Response(found.status_code, {k.lower(): v for k, v in found.headers.items()}, found.data)

    server = ResourceServer(
        f"{BASE_URL}/oauth2/realms/root", ORDERS, introspection=Introspection("api", api.secret, mode="opaque"),
        transport=transport, clock=stored_issuer.clock.wall, monotonic=stored_issuer.clock.monotonic, background=False,
    )  # fmt: skip
    token = stored_issuer.token(caller, resource=ORDERS)
    accepted = server.validate(token, scope="read")
    assert (accepted.client_id, accepted.source, accepted.audience) == ("svc", "introspection", (ORDERS,))
    before = len(asked)
    with pytest.raises(InvalidToken) as refused:
        server.validate(token[:-1] + ("A" if token[-1] != "A" else "B"))
    assert (refused.value.reason, len(asked)) == ("malformed", before)
    stored_issuer.run("clients disable svc")
    stored_issuer.clock.advance(10)  # for so long an answer is used again
    with pytest.raises(InvalidToken):
        server.validate(token)
    server.close()
