"""Ranges of status slots: allotted with each credential, ended with what they belong to, and read at introspection."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import delete, event, select

from issuer import slots
from issuer.admin import clients, realms, secrets
from issuer.admin import tokens as token_admin
from issuer.admin.refused import ChangeRefused, SecretNotFound
from issuer.slots import LIST_SIZE
from issuer.storage import ranges, revoked
from issuer.storage import realms as realm_store
from issuer.storage.changes import now_at
from issuer.storage.tables import revoked_tokens, status_numbering, status_ranges
from keys.audit import Actor
from tests.issuer.conftest import READER, Lines
from tests.support.issuer import Caller, Issuer, claims
from tests.support.wire import assert_refused

ALICE = Actor("alice", "op1", "ticket 7")
INACTIVE = {"active": False}


def rows(issuer: Issuer) -> list[Any]:
    with issuer.runtime.database.read() as connection:
        return list(
            connection.execute(select(status_ranges).order_by(status_ranges.c.realm_id, status_ranges.c.offset))
        )


def generation(issuer: Issuer) -> int:
    with issuer.runtime.database.read() as connection:
        return now_at(connection).generation


def index(token: str) -> int:
    return slots.index_of(claims(token)["jti"])


def active(issuer: Issuer, caller: Caller, token: str) -> bool:
    answer = issuer.introspect(caller, token)
    assert answer.status_code == 200
    assert answer.json["active"] is True or answer.json == INACTIVE
    return bool(answer.json["active"])


def poll(issuer: Issuer) -> None:
    issuer.runtime.registry._lookout.look()


def revoke(issuer: Issuer, token: str, realm: str = "/") -> token_admin.Revocation:
    return token_admin.revoke(
        issuer.runtime.administration, realm, claims(token)["jti"], ALICE, exp=claims(token)["exp"]
    )


@pytest.fixture
def auditor(stored_issuer: Issuer) -> Caller:
    return stored_issuer.client("auditor", "--scope am-introspect-all-tokens")


def test_a_credential_gets_a_range_in_the_transaction_that_makes_it(stored_issuer: Issuer) -> None:
    stored_issuer.run(f"clients create svc {READER} --dry-run")
    assert rows(stored_issuer) == []
    stored_issuer.client(options=READER)
    stored_issuer.run("clients secrets add svc")
    stored_issuer.client("other", READER)
    found = rows(stored_issuer)
    assert [(row.offset, row.length, row.set_count) for row in found] == [(0, 256, 0), (256, 256, 0), (512, 256, 0)]
    assert [row.max_lifetime for row in found] == [3600] * 3
    assert len({row.credential_id for row in found}) == 3
    assert found[0].client_pk == found[1].client_pk != found[2].client_pk


def test_a_token_carries_an_index_of_the_secret_that_asked_for_it(stored_issuer: Issuer) -> None:
    first = stored_issuer.client(options=READER)
    second = Caller("svc", stored_issuer.run("clients secrets add svc")["client_secret"])
    stored_issuer.clock.advance(3)
    for caller, begin in ((first, 0), (second, 256)):
        drawn = [claims(stored_issuer.token(caller)) for _ in range(40)]
        assert all(begin <= slots.index_of(token["jti"]) < begin + 256 for token in drawn)
        assert len({token["jti"] for token in drawn}) == 40
        for token in drawn:
            uri = f"{token['iss']}/status/0"
            assert token["status"] == {"status_list": {"idx": slots.index_of(token["jti"]), "uri": uri}}


@pytest.mark.parametrize("written", ["rfc9068", "jwt", "am"])
def test_every_signed_format_says_where_its_status_is_told(issuer: Issuer, written: str) -> None:
    token = claims(issuer.token(issuer.client(options=f"{READER} --token-format {written}")))
    assert token["status"]["status_list"]["idx"] == slots.index_of(token["jti"])


@pytest.mark.parametrize("what", ["clients disable svc", "realms disable /"])
def test_117_what_a_process_issues_that_has_not_heard_never_comes_back(
    stored_issuer: Issuer, second_node: Issuer, auditor: Caller, what: str
) -> None:
    caller = stored_issuer.client(options=READER)
    before = second_node.token(caller)
    stored_issuer.run(what)
    unheard = [second_node.token(caller) for _ in range(20)]
    assert not any(active(stored_issuer, auditor, token) for token in (before, *unheard))
    stored_issuer.run(what.replace("disable", "enable"))
    assert not any(
        active(node, auditor, token) for token in (before, *unheard) for node in (stored_issuer, second_node)
    )
    for node in (stored_issuer, second_node):
        poll(node)
        assert active(stored_issuer, auditor, node.token(caller))
    assert not any(active(stored_issuer, auditor, token) for token in (before, *unheard))


def test_117_what_is_issued_in_a_realm_that_is_off_by_who_has_not_heard_never_comes_back(
    stored_issuer: Issuer, second_node: Issuer, auditor: Caller
) -> None:
    known, unknown = stored_issuer.client(options=READER), stored_issuer.client("other", READER)
    second_node.token(known)
    stored_issuer.run("realms disable /")
    unheard = second_node.token(unknown)  # whom it reads now, from a realm that it believes to be on
    assert not active(stored_issuer, auditor, unheard)
    stored_issuer.run("realms enable /")
    assert not active(stored_issuer, auditor, unheard)
    poll(second_node)
    assert active(stored_issuer, auditor, second_node.token(unknown))


@pytest.mark.parametrize(
    ("end", "again"),
    [("clients delete svc --yes", ""), ("realms delete /x --yes", "realms create /x")],
    ids=["client", "realm"],
)
def test_204_who_is_made_anew_inherits_no_token(
    stored_issuer: Issuer, second_node: Issuer, end: str, again: str
) -> None:
    stored_issuer.run("realms create /x")
    caller = stored_issuer.client(options=READER, realm="/x")
    tokens = [second_node.token(caller)]
    stored_issuer.run(end + ("" if again else " --realm /x"))
    tokens += [second_node.token(caller) for _ in range(20)]
    if again:
        stored_issuer.run(again)
    anew = stored_issuer.client(options=READER, realm="/x")
    poll(stored_issuer)
    poll(second_node)
    fresh = stored_issuer.token(anew)
    assert active(stored_issuer, anew, fresh)
    assert not any(active(stored_issuer, anew, token) for token in tokens)
    assert index(fresh) > max(map(index, tokens))


def test_117_a_revoked_secret_takes_its_own_tokens_along_and_no_other(stored_issuer: Issuer, auditor: Caller) -> None:
    first = stored_issuer.client(options=READER)
    made = stored_issuer.run("clients secrets add svc")
    poll(stored_issuer)
    kept, leaked = stored_issuer.token(first), stored_issuer.token(Caller("svc", made["client_secret"]))
    stored_issuer.run(f"clients secrets revoke svc {made['secret_id']} --yes")
    assert (active(stored_issuer, auditor, kept), active(stored_issuer, auditor, leaked)) == (True, False)


def test_a_secret_that_is_revoked_with_its_tokens_kept_is_not_forgotten(stored_issuer: Issuer, auditor: Caller) -> None:
    first = stored_issuer.client(options=READER)
    made = stored_issuer.run("clients secrets add svc")
    poll(stored_issuer)
    second = Caller("svc", made["client_secret"])
    kept = stored_issuer.token(second)
    stored_issuer.run(f"clients secrets revoke svc {made['secret_id']} --keep-tokens --yes")
    poll(stored_issuer)
    assert_refused(stored_issuer.token_response(second), "invalid_client")
    assert active(stored_issuer, auditor, kept)
    stored_issuer.run("clients disable svc")
    stored_issuer.run("clients enable svc")
    poll(stored_issuer)
    assert not active(stored_issuer, auditor, kept)
    assert active(stored_issuer, auditor, stored_issuer.token(first))


def test_120_one_token_dies_alone_at_once_on_every_process_and_nobody_drops_what_it_holds(
    stored_issuer: Issuer, second_node: Issuer, auditor: Caller
) -> None:
    caller = stored_issuer.client(options=READER)
    token, *others = [second_node.token(caller) for _ in range(5)]
    registry = second_node.runtime.registry
    view = registry.held("/")
    assert view is not None
    client = registry._cache.client(view.realm.id, "svc")
    first = revoke(stored_issuer, token)
    assert first.changed
    for node in (stored_issuer, second_node):
        assert not active(node, auditor, token)
        assert all(active(node, auditor, other) for other in others)
    poll(second_node)
    assert registry.held("/") is view
    assert registry._cache.client(view.realm.id, "svc") is client
    assert view.set_indexes == {index(token)}
    assert all(index(second_node.token(caller)) != index(token) for _ in range(300))
    before = generation(stored_issuer)
    assert not revoke(stored_issuer, token).changed
    assert generation(stored_issuer) == before


def test_a_process_that_starts_knows_what_was_revoked_before(stored_issuer: Issuer, second_node: Issuer) -> None:
    caller = stored_issuer.client(options=READER)
    token = stored_issuer.token(caller)
    revoke(stored_issuer, token)
    second_node.token(caller)
    view = second_node.runtime.registry.held("/")
    assert view is not None
    assert view.set_indexes == {index(token)}


def test_a_range_drains_when_one_in_64_is_set_and_its_credential_goes_on_with_a_longer_one(
    stored_issuer: Issuer, second_node: Issuer, auditor: Caller
) -> None:
    caller = stored_issuer.client(options=READER)
    tokens = {index(token): token for token in (second_node.token(caller) for _ in range(60))}
    kept, *done = list(tokens.values())[:6]
    for token in done[:3]:
        revoke(stored_issuer, token)
    poll(second_node)
    assert all(index(second_node.token(caller)) < 512 for _ in range(20))
    revoke(stored_issuer, done[3])
    drained, grown = rows(stored_issuer)[1:]
    assert (drained.set_count, drained.drained_at, drained.ended_at) == (4, stored_issuer.clock.now, None)
    assert (grown.offset, grown.length, grown.credential_id) == (512, 8192, drained.credential_id)
    unheard = second_node.token(caller)
    poll(second_node)
    assert all(512 <= index(second_node.token(caller)) < 512 + 8192 for _ in range(20))
    assert all(active(stored_issuer, auditor, token) for token in (kept, unheard))
    revoke(stored_issuer, done[4])
    assert len(rows(stored_issuer)) == 3
    stored_issuer.run("clients disable svc")
    assert not any(active(stored_issuer, auditor, token) for token in (kept, unheard, *tokens.values()))


def test_a_bit_that_two_tokens_share_counts_once(stored_issuer: Issuer) -> None:
    stored_issuer.client(options=READER)
    admin = stored_issuer.runtime.administration
    for _ in range(10):
        assert token_admin.revoke(admin, "/", slots.token_id(7), ALICE).changed
    (row,) = rows(stored_issuer)
    assert (row.set_count, row.drained_at) == (1, None)
    with stored_issuer.runtime.database.read() as connection:
        assert set(connection.scalars(select(revoked_tokens.c.exp))) == {stored_issuer.clock.now + 3600}


def test_a_credential_that_revokes_everything_gets_whole_lists_and_leaves_the_small_ones_together(
    stored_issuer: Issuer,
) -> None:
    stored_issuer.client(options=READER)
    stored_issuer.client("other", READER)
    root = realm_store.find
    with stored_issuer.runtime.database.change() as connection:
        realm = root(connection, "/")
        assert realm is not None
        for _ in range(4):
            busy = connection.execute(select(status_ranges).where(status_ranges.c.client_pk == 1, ranges.OPEN)).one()
            connection.execute(
                status_ranges.update()
                .where(status_ranges.c.offset == busy.offset)
                .values(set_count=busy.length // 64 - 1)
            )
            revoked.revoke(connection, realm, slots.token_id(busy.offset), 5)
        ranges.allot(connection, realm, 99, "sec99")
    found = [(row.offset, row.length) for row in rows(stored_issuer)]
    small = [(0, 256), (256, 256), (512, 8192), (8704, 262144), (270848, 256)]
    assert found == [*small, (LIST_SIZE, LIST_SIZE), (2 * LIST_SIZE, LIST_SIZE)]


def test_126_a_raised_floor_kills_every_token_and_gives_every_range_fresh_indexes(
    stored_issuer: Issuer, second_node: Issuer, auditor: Caller
) -> None:
    caller = stored_issuer.client(options=READER)
    old = second_node.token(caller)
    before = rows(stored_issuer)
    told = token_admin.revoke_all(stored_issuer.runtime.administration, "/", ALICE)
    assert (told.changed, told.hearing.lists, told.hearing.too_early) == (True, 14, 2)
    unheard = second_node.token(caller)
    assert rows(stored_issuer) == before
    poll(second_node)
    fresh = second_node.token(caller)
    assert [active(stored_issuer, auditor, token) for token in (old, unheard, fresh)] == [False, False, True]
    assert slots.list_of(index(fresh)) == 1
    assert claims(fresh)["status"]["status_list"]["uri"].endswith("/status/1")
    with stored_issuer.runtime.database.read() as connection:
        (floor,) = ranges.floors(connection, "/")
    assert (floor.first_list, floor.end_list, floor.raised_at) == (0, 1, stored_issuer.clock.now)
    assert floor.max_lifetime == 3600


def test_numbers_of_lists_count_on_over_every_realm_that_stands_at_a_path(stored_issuer: Issuer) -> None:
    seen = []
    for _ in range(3):
        stored_issuer.run("realms create /x")
        caller = stored_issuer.client(options=READER, realm="/x")
        poll(stored_issuer)
        seen.append(slots.list_of(index(stored_issuer.token(caller))))
        stored_issuer.run("realms disable /x")
        stored_issuer.run("realms enable /x")
        poll(stored_issuer)
        seen.append(slots.list_of(index(stored_issuer.token(caller))))
        stored_issuer.run("realms delete /x --yes")
        poll(stored_issuer)
    assert seen == sorted(set(seen))
    assert rows(stored_issuer)[0].offset == 0


@pytest.mark.parametrize("target", ["secret", "client"])
def test_a_class_of_tokens_dies_and_what_goes_on_living_is_allotted_fresh_ranges(
    stored_issuer: Issuer, auditor: Caller, target: str
) -> None:
    first, admin = stored_issuer.client(options=READER), stored_issuer.runtime.administration
    made = secrets.add(admin, "/", "svc", ALICE)
    poll(stored_issuer)
    second = Caller("svc", made.secret or "")
    one, two = stored_issuer.token(first), stored_issuer.token(second)
    if target == "secret":
        token_admin.revoke_of_secret(admin, "/", made.stored.secret_id, ALICE)
    else:
        token_admin.revoke_of_client(admin, "/", "svc", ALICE)
    assert [active(stored_issuer, auditor, token) for token in (one, two)] == [target == "secret", False]
    poll(stored_issuer)
    assert all(active(stored_issuer, auditor, stored_issuer.token(caller)) for caller in (first, second))


def test_a_class_reaches_secrets_that_are_expired_or_revoked_and_revives_none(
    stored_issuer: Issuer, auditor: Caller
) -> None:
    admin = stored_issuer.runtime.administration
    stored_issuer.client(options=READER)
    made = secrets.add(admin, "/", "svc", ALICE, expires_in=10)
    poll(stored_issuer)
    caller = Caller("svc", made.secret or "")
    token = stored_issuer.token(caller)
    stored_issuer.clock.advance(11)
    assert active(stored_issuer, auditor, token)
    token_admin.revoke_of_client(admin, "/", "svc", ALICE)
    assert not active(stored_issuer, auditor, token)
    secrets.revoke(admin, "/", "svc", made.stored.secret_id, ALICE, keep_tokens=True)
    token_admin.revoke_of_secret(admin, "/", made.stored.secret_id, ALICE)
    with stored_issuer.runtime.database.read() as connection:
        mine = status_ranges.c.credential_id == made.stored.secret_id
        assert connection.scalars(select(status_ranges.c.offset).where(mine, ranges.OPEN)).all() == []


def test_a_disabled_client_gets_no_fresh_range_before_it_is_enabled(stored_issuer: Issuer) -> None:
    admin = stored_issuer.runtime.administration
    caller = stored_issuer.client(options=READER)
    stored_issuer.run("clients disable svc")
    token_admin.revoke_of_client(admin, "/", "svc", ALICE)
    assert [row.ended_at for row in rows(stored_issuer)] == [stored_issuer.clock.now]
    stored_issuer.run("clients enable svc")
    poll(stored_issuer)
    assert index(stored_issuer.token(caller)) >= 256


def test_what_cannot_be_revoked_is_said_and_changes_nothing(stored_issuer: Issuer) -> None:
    admin = stored_issuer.runtime.administration
    stored_issuer.client(options=READER)
    before = generation(stored_issuer)
    with pytest.raises(ChangeRefused):
        token_admin.revoke(admin, "/", "no jti", ALICE)
    with pytest.raises(SecretNotFound):
        token_admin.revoke_of_secret(admin, "/", "sec1", ALICE)
    for never_drawn in (256, LIST_SIZE, slots.MAX_INDEX):
        assert not token_admin.revoke(admin, "/", slots.token_id(never_drawn), ALICE).changed
    assert generation(stored_issuer) == before


def test_209_who_revoked_what_is_audited_and_logged_once(stored_issuer: Issuer, lines: Lines) -> None:
    caller, admin = stored_issuer.client(options=READER), stored_issuer.runtime.administration
    token = stored_issuer.token(caller)
    lines.text.clear()
    revoke(stored_issuer, token)
    revoke(stored_issuer, token)
    token_admin.revoke_of_client(admin, "/", "svc", ALICE)
    token_admin.revoke_all(admin, "/", ALICE, rehearse=True)
    token_admin.revoke_all(admin, "/", ALICE)
    said = [line for line in lines.text if " changed what=" in line]
    jti = claims(token)["jti"]
    assert [line.partition(" changed ")[2] for line in said] == [
        f"what=token_revoked realm=/ client_id=svc jti={jti}",
        "what=client_tokens_revoked realm=/ client_id=svc",
        "what=realm_tokens_revoked realm=/",
    ]
    found = [row["event"] for row in stored_issuer.run("db audit")]
    assert found[-3:] == ["token_revoked", "client_tokens_revoked", "realm_tokens_revoked"]


def test_a_credential_without_a_range_gets_the_answer_of_every_failure(stored_issuer: Issuer, lines: Lines) -> None:
    caller = stored_issuer.client(options=READER)
    with stored_issuer.runtime.database.change() as connection:
        connection.execute(delete(status_ranges))
    refused = stored_issuer.token_response(caller)
    assert_refused(refused, "invalid_client")
    assert refused.data == stored_issuer.token_response(Caller("svc", "wrong")).data
    assert " reason=credential_without_range" in "".join(lines.text)


def test_introspection_asks_the_store_once(stored_issuer: Issuer) -> None:
    caller = stored_issuer.client(options=READER)
    token = stored_issuer.token(caller)
    statements: list[str] = []
    listening = (
        stored_issuer.runtime.database.engine, "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: statements.append(statement),
    )  # fmt: skip
    event.listen(*listening)
    assert active(stored_issuer, caller, token)
    event.remove(*listening)
    assert len([statement for statement in statements if "SELECT" in statement]) == 1


def test_a_realm_that_allows_longer_tokens_tells_its_ranges_first(stored_issuer: Issuer) -> None:
    stored_issuer.client(options=READER)
    stored_issuer.run("realms update / --max-access-token-lifetime 7200")
    stored_issuer.run("realms update / --max-access-token-lifetime 600")
    (row,) = rows(stored_issuer)
    assert row.max_lifetime == 7200
    with stored_issuer.runtime.database.read() as connection:
        assert connection.scalar(select(status_numbering.c.max_lifetime)) == 7200


def test_a_list_lives_until_the_last_of_its_ranges_is_dead(stored_issuer: Issuer) -> None:
    admin = stored_issuer.runtime.administration
    stored_issuer.client(options=READER)
    now = stored_issuer.clock.now
    with stored_issuer.runtime.database.change() as connection:
        realm = realm_store.find(connection, "/")
        assert realm is not None
        ranges.allot(connection, realm, 99, "sec99", LIST_SIZE)
        ranges.drain(connection, 99, "sec99", now)
        for age, lists in ((3599, [0, 1]), (3600, [0]), (10**9, [0])):
            assert ranges.living_lists(connection, realm.id, realm.status_floor, now + age) == lists
        assert [row.offset for row in ranges.in_list(connection, realm, 0)] == [0]
        (whole,) = ranges.in_list(connection, realm, 1)
        assert (whole.length, whole.ends) == (LIST_SIZE, (now, None, None))
    clients.delete(admin, "/", "svc", ALICE, seen=clients.find(admin, "/", "svc")[1])
    with stored_issuer.runtime.database.read() as connection:
        assert ranges.living_lists(connection, realm.id, realm.status_floor, now + 3600) == []


def test_clients_that_are_made_at_the_same_time_share_no_index(stored_issuer: Issuer) -> None:
    admin = stored_issuer.runtime.administration

    def create(number: int) -> None:
        clients.create(admin, "/", f"c{number}", {"scopes": ["read"]}, ALICE)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, range(40)))
    assert [row.offset for row in rows(stored_issuer)] == [256 * number for number in range(40)]


def test_a_realm_is_disabled_by_as_many_rows_whatever_number_of_clients(stored_issuer: Issuer) -> None:
    for number in range(10):
        stored_issuer.client(f"c{number}", READER)
    before = rows(stored_issuer)
    realms.disable(stored_issuer.runtime.administration, "/", ALICE)
    assert rows(stored_issuer) == before
