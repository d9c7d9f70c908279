"""Status lists over HTTP, read as the draft says (Token Status List, draft 21): design 3.1, interface section 4."""

import base64
import gzip
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from issuer.admin import clients as admin_clients
from issuer.admin import realms as admin_realms
from issuer.admin import tokens as admin_tokens
from issuer.registry.status_lists import StatusLists
from issuer.slots import LIST_SIZE
from issuer.storage.changes import now_at, since
from keys.audit import Actor
from realmint.protocol.status_list import unpack
from tests.issuer.conftest import READER
from tests.support.issuer import BASE_URL, Caller, Issuer, claims, header
from tests.support.status_reader import bit, is_cut_off, read_list, set_bits
from tests.support.wire import headers

ACTOR = Actor("tests", "operation-1", "a test")
QUANTUM = 300
LISTED = {
    "Content-Type": "application/statuslist+jwt", "Cache-Control": "public, max-age=1, must-revalidate",
    "Access-Control-Allow-Origin": "*", "Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff",
}  # fmt: skip


def fetch(issuer: Issuer, address: str) -> bytes:
    response = issuer.http.get(address.removeprefix(BASE_URL))
    assert response.status_code == 200, response.text
    return bytes(response.data)


def get(issuer: Issuer, number: int | str = 0, realm: str = "/", **sent: str) -> Any:
    return issuer.http.get(issuer.address(f"/status/{number}", realm), headers=sent)


def listed(issuer: Issuer, number: int = 0, realm: str = "/") -> dict[str, Any]:
    """The claims of a list that a reader of the draft accepts, and its bits."""
    uri = BASE_URL + issuer.address(f"/status/{number}", realm)
    jwks = json.loads(fetch(issuer, issuer.address("/connect/jwk_uri", realm)))
    return read_list(fetch(issuer, uri), jwks, uri)


def cut_off(issuer: Issuer, token: str, realm: str = "/") -> bool:
    return is_cut_off(token, lambda address: fetch(issuer, address), issuer.address("/connect/jwk_uri", realm))


def aggregated(issuer: Issuer, realm: str = "/") -> list[int]:
    found = issuer.http.get(issuer.address("/status", realm))
    assert found.status_code == 200
    start = BASE_URL + issuer.address("/status/", realm)
    assert all(address.startswith(start) for address in found.json["status_lists"])
    return [int(address.removeprefix(start)) for address in found.json["status_lists"]]


def where(token: str) -> int:
    """The index of a token, over all lists."""
    told = claims(token)["status"]["status_list"]
    assert set(told) == {"idx", "uri"}
    return int(told["uri"].rpartition("/")[2]) * LIST_SIZE + int(told["idx"])


def poll(issuer: Issuer) -> None:
    """Time passes until each process has looked at the store once more, at its next request."""
    issuer.clock.advance(2)


def revoke(issuer: Issuer, token: str, realm: str = "/") -> None:
    admin_tokens.revoke(issuer.runtime.administration, realm, claims(token)["jti"], ACTOR)


def revoke_all(issuer: Issuer, realm: str = "/") -> None:
    admin_tokens.revoke_all(issuer.runtime.administration, realm, ACTOR)


def test_a_token_names_a_list_and_a_bit_in_it_that_is_not_set(stored_issuer: Issuer) -> None:
    svc = stored_issuer.client(options=READER)
    token = stored_issuer.token(svc)
    told = claims(token)["status"]["status_list"]
    assert told["uri"] == f"{BASE_URL}/oauth2/realms/root/status/0"
    found = listed(stored_issuer)
    assert len(found["array"]) * 8 == LIST_SIZE
    assert bit(found["array"], told["idx"]) == 0
    assert not set_bits(found["array"])
    assert not cut_off(stored_issuer, token)


def test_the_answer_is_whole(issuer: Issuer) -> None:
    issuer.client(options=READER)
    response = get(issuer)
    found = headers(response)
    tag = found.pop("ETag")
    assert tag.startswith('W/"')
    assert found.pop("Date")
    assert (response.status_code, found) == (200, LISTED)
    (active, standby) = (key["kid"] for key in issuer.http.get(issuer.address("/connect/jwk_uri")).json["keys"])
    assert header(response.text) == {"alg": "ES256", "kid": active, "typ": "statuslist+jwt"}
    told = claims(response.text)
    assert set(told) == {"sub", "iat", "exp", "ttl", "status_list", "seq", "kids"}
    assert told["sub"] == f"{BASE_URL}/oauth2/realms/root/status/0"
    assert (told["exp"] - told["iat"], told["ttl"], told["status_list"]["bits"]) == (600, 10, 1)
    assert issuer.clock.now - QUANTUM < told["iat"] <= issuer.clock.now
    assert told["kids"] == [active, standby]
    head = issuer.http.head(issuer.address("/status/0"))
    assert (head.status_code, head.data, headers(head)["ETag"]) == (200, b"", tag)


def test_the_aggregation_names_every_list_and_the_metadata_names_it(issuer: Issuer) -> None:
    issuer.client(options=READER)
    metadata = issuer.http.get(issuer.address("/.well-known/oauth-authorization-server")).json
    response = issuer.http.get(metadata["status_list_aggregation_endpoint"].removeprefix(BASE_URL))
    assert response.json == {"status_lists": [f"{BASE_URL}/oauth2/realms/root/status/0"]}
    found = headers(response)
    assert found.pop("ETag")
    assert found.pop("Date")
    assert found == {name: value for name, value in LISTED.items() if name != "Vary"} | {
        "Content-Type": "application/json"
    }


@pytest.mark.parametrize("form", ["/oauth2/realms/root/realms/customers", "/oauth2/customers"])
def test_every_address_form_answers_the_same_list_under_its_canonical_name(issuer: Issuer, form: str) -> None:
    issuer.run("realms create /customers")
    issuer.client(options=READER, realm="/customers")
    told = claims(issuer.http.get(f"{form}/status/0").text)
    assert told["sub"] == f"{BASE_URL}/oauth2/realms/root/realms/customers/status/0"
    assert issuer.http.get(f"{form}/status").json == {"status_lists": [told["sub"]]}


def test_one_client_is_cut_off_with_all_its_live_tokens_and_no_other(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    nodes = (stored_issuer, second_node)
    victim, other = (stored_issuer.client(name, READER) for name in ("victim", "other"))
    first = stored_issuer.run("clients secrets list victim")[0]["secret_id"]
    second = stored_issuer.run("clients secrets add victim")["client_secret"]
    for node in nodes:
        listed(node)
        node.token(victim)
    poll(stored_issuer)
    callers = [victim, Caller("victim", second)]
    hit = [node.token(caller) for node in nodes for caller in callers for _ in range(20)]
    spared = [node.token(other) for node in nodes for _ in range(20)]
    # One that drained goes on, until its client ends.
    stored_issuer.run(f"clients secrets revoke victim {first} --keep-tokens --yes")
    poll(stored_issuer)
    assert not any(cut_off(node, token) for node in nodes for token in [*hit, *spared])
    stored_issuer.run("clients disable victim")
    poll(stored_issuer)
    for node in nodes:
        array = listed(node)["array"]
        assert all(bit(array, where(token)) for token in hit)
        assert not any(bit(array, where(token)) for token in spared)
        assert len(set_bits(array)) == 2 * 256  # what its two secrets drew from
    stored_issuer.run("clients enable victim")
    poll(stored_issuer)
    fresh = second_node.token(Caller("victim", second))
    assert not cut_off(stored_issuer, fresh)
    assert all(cut_off(node, token) for node in nodes for token in hit)


def test_one_token_is_cut_off_and_its_siblings_go_on(stored_issuer: Issuer, second_node: Issuer) -> None:
    svc = stored_issuer.client(options=READER)
    tokens = {where(token): token for token in (stored_issuer.token(svc) for _ in range(20))}
    nodes = (stored_issuer, second_node)
    before = [listed(node)["seq"] for node in nodes]
    victim = tokens[min(tokens)]
    revoke(stored_issuer, victim)
    assert not cut_off(second_node, victim)  # which has not heard
    poll(stored_issuer)
    after = [listed(node) for node in nodes]
    assert [set_bits(found["array"]) for found in after] == [{where(victim)}] * 2
    assert [found["seq"] for found in after] == [max(before) + 1] * 2


def test_a_process_that_has_heard_of_a_change_never_serves_the_list_of_before(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    """Whichever request it heard with."""
    svc, other = (stored_issuer.client(name, READER) for name in ("svc", "other"))
    old = stored_issuer.token(svc)
    assert not cut_off(second_node, old)
    stored_issuer.run("clients disable svc")
    assert not cut_off(second_node, old)
    poll(stored_issuer)
    second_node.token(other)  # hears of it
    assert cut_off(second_node, old)


def test_only_the_lists_that_a_change_touches_are_signed_anew(stored_issuer: Issuer) -> None:
    svc, other = (stored_issuer.client(name, READER) for name in ("svc", "other"))
    revoke_all(stored_issuer)
    poll(stored_issuer)
    assert [where(stored_issuer.token(caller)) // LIST_SIZE for caller in (svc, other)] == [1, 1]
    stored_issuer.run("realms create /elsewhere")
    poll(stored_issuer)
    before = {number: get(stored_issuer, number).data for number in (0, 1)}
    stored_issuer.client("third", READER, realm="/elsewhere")
    stored_issuer.run("clients update other --name Other")  # a range of it lies in list 1; nothing of it changes there
    poll(stored_issuer)
    assert {number: get(stored_issuer, number).data for number in (0, 1)} == before
    stored_issuer.run("clients disable svc")
    poll(stored_issuer)
    assert get(stored_issuer, 0).data == before[0]
    assert get(stored_issuer, 1).data != before[1]


def test_equal_tags_mean_equal_claims_on_whichever_node_and_whenever(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    svc = stored_issuer.client(options=READER)
    seen: dict[str, set[str]] = {}
    for step in range(30):
        for node in (stored_issuer, second_node)[: 1 + step % 2]:
            response = get(node)
            told = json.dumps({**claims(response.text), "status_list": set_bits_of(response.text)}, sort_keys=True)
            seen.setdefault(response.headers["ETag"], set()).add(told)
        if step in (7, 15):
            revoke(stored_issuer, stored_issuer.token(svc))
        if step == 20:
            stored_issuer.run("keys rotate")
        stored_issuer.clock.advance(37)
    assert len(seen) > 4
    assert all(len(claims_under_it) == 1 for claims_under_it in seen.values())


def set_bits_of(text: str) -> list[int]:
    packed = claims(text)["status_list"]["lst"]
    return sorted(set_bits(zlib.decompress(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))))


def test_nothing_is_sent_again_to_who_has_it(issuer: Issuer) -> None:
    svc = issuer.client(options=READER)
    first = get(issuer)
    tag = first.headers["ETag"]
    for sent in (tag, tag.removeprefix("W/"), f'"x", {tag}', "*"):
        response = get(issuer, **{"If-None-Match": sent})
        assert (response.status_code, response.data) == (304, b"")
        kept = headers(response)
        assert {name: kept[name] for name in ("ETag", "Cache-Control", "Vary", "Access-Control-Allow-Origin")} == {
            **{name: LISTED[name] for name in ("Cache-Control", "Vary", "Access-Control-Allow-Origin")}, "ETag": tag,
        }  # fmt: skip
    assert get(issuer, **{"If-None-Match": '"x"'}).data == first.data
    revoke(issuer, issuer.token(svc))
    poll(issuer)
    assert get(issuer, **{"If-None-Match": tag}).status_code == 200
    issuer.clock.advance(QUANTUM)
    newest = get(issuer).headers["ETag"]
    issuer.clock.advance(QUANTUM)
    assert get(issuer, **{"If-None-Match": newest}).status_code == 200


@pytest.mark.parametrize(
    ("asked", "zipped"),
    [("gzip", True), ("deflate, GZIP;q=0.5, br", True), ("*", True), ("br, *;q=0.1", True), ("gzip;q=1.000", True),
     ("identity", False), ("", False), ("gzip;q=0", False), ("gzip; q=0.000, *", False), ("*;q=0", False), ("gzipped", False)],
)  # fmt: skip
@pytest.mark.rfc("9110", "12.5.3")
def test_who_asks_for_gzip_gets_it(issuer: Issuer, asked: str, zipped: bool) -> None:
    issuer.client(options=READER)
    plain, response = get(issuer), get(issuer, **{"Accept-Encoding": asked})
    assert response.headers.get("Content-Encoding") == ("gzip" if zipped else None)
    assert (gzip.decompress(response.data) if zipped else response.data) == plain.data
    assert response.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    assert response.headers["ETag"] == plain.headers["ETag"]
    assert int(response.headers["Content-Length"]) == len(response.data)


@pytest.mark.parametrize(
    "number", ["1", "00", "01", "-1", "+0", "0.0", "1e3", "0x0", "\u0660", "268435456", "9" * 40, "a", "0;", " 0", ".", "..", "0/0"],
)  # fmt: skip
def test_a_list_that_there_is_not_is_404_and_kept_by_no_cache(issuer: Issuer, number: str) -> None:
    issuer.client(options=READER)
    response = get(issuer, number)
    assert (response.status_code, response.json["error"]) == (404, "not_found")
    if number.isascii() and number.isdigit():
        assert response.headers["Cache-Control"] == "no-store"


def test_130_only_an_unknown_realm_has_no_aggregation(issuer: Issuer) -> None:
    issuer.run("realms create /empty")
    for suffix in ("/status", "/status/0"):
        assert issuer.http.get(issuer.address(suffix, "/nobody")).status_code == 404
        assert issuer.http.post(issuer.address(suffix)).status_code == 405
    assert aggregated(issuer, "/empty") == []
    assert get(issuer, 0, "/empty").status_code == 404


def test_a_list_that_another_node_began_a_moment_ago_is_looked_for(stored_issuer: Issuer, second_node: Issuer) -> None:
    svc = stored_issuer.client(options=READER)
    assert get(second_node, 0).status_code == 200
    stored_issuer.token(svc)
    revoke_all(stored_issuer)
    poll(stored_issuer)
    token = stored_issuer.token(svc)
    assert where(token) // LIST_SIZE == 1
    second_node.token(svc)  # has looked
    revoke_all(stored_issuer)
    assert get(second_node, 2).status_code == 200  # though it is not time to look
    assert cut_off(second_node, token)


def test_who_makes_up_numbers_of_lists_causes_two_looks_a_second(stored_issuer: Issuer, second_node: Issuer) -> None:
    stored_issuer.client(options=READER)
    assert get(second_node, 7).status_code == 404  # which took a look
    revoke_all(stored_issuer)
    assert [get(second_node, number).status_code for number in (1, 1, 7, 1)] == [404] * 4
    stored_issuer.clock.advance(0.49)
    assert get(second_node, 1).status_code == 404
    stored_issuer.clock.advance(0.01)
    assert get(second_node, 1).status_code == 200


def test_all_tokens_of_a_realm_are_cut_off_by_its_floor(stored_issuer: Issuer, second_node: Issuer) -> None:
    nodes = (stored_issuer, second_node)
    svc = stored_issuer.client(options=READER)
    old = [node.token(svc) for node in nodes]
    assert not any(cut_off(node, token) for node in nodes for token in old)
    revoke_all(stored_issuer)
    stale = second_node.token(svc)  # drawn below the floor, by a node that has not heard
    poll(stored_issuer)
    fresh = [node.token(svc) for node in nodes]
    assert all(cut_off(node, token) for node in nodes for token in [*old, stale])
    assert not any(cut_off(node, token) for node in nodes for token in fresh)
    assert [aggregated(node) for node in nodes] == [[0, 1]] * 2


def test_a_disabled_realm_serves_its_lists_with_every_bit_set(stored_issuer: Issuer, second_node: Issuer) -> None:
    svc = stored_issuer.client(options=READER)
    token = stored_issuer.token(svc)
    for node in (stored_issuer, second_node):
        assert not cut_off(node, token)
    stored_issuer.run("realms disable /")
    poll(stored_issuer)
    for node in (stored_issuer, second_node):
        for number in aggregated(node):
            assert listed(node, number)["array"] == b"\xff" * (LIST_SIZE // 8)
        assert cut_off(node, token)
    stored_issuer.run("realms enable /")
    poll(stored_issuer)
    fresh = second_node.token(svc)
    for node in (stored_issuer, second_node):
        assert cut_off(node, token)
        assert not cut_off(node, fresh)


def test_a_list_whose_last_token_has_died_is_gone(issuer: Issuer) -> None:
    svc = issuer.client(options=READER)
    issuer.token(svc)
    assert aggregated(issuer) == [0]
    revoke_all(issuer)
    # The realm's longest lifetime, 10 refreshes for a process that has not heard, verifiers' leeway, two clocks' errors.
    last = 3600 + 10 * 2 + 60 + 2 * 60
    issuer.clock.advance(last - 1)
    assert aggregated(issuer) == [0, 1]
    assert get(issuer, 0).status_code == 200
    issuer.clock.advance(1 + QUANTUM)  # it is looked for as often as lists are signed
    assert aggregated(issuer) == [1]
    assert get(issuer, 0).status_code == 404
    assert get(issuer, 1).status_code == 200


def test_a_rotation_is_told_at_once_and_signed_with_the_key_that_is_active(stored_issuer: Issuer) -> None:
    """`kids` names what is published now: a reader that holds other keys asks for them."""
    stored_issuer.client(options=READER)
    before = listed(stored_issuer)
    stored_issuer.run("keys rotate")
    poll(stored_issuer)
    after, jwks = listed(stored_issuer), stored_issuer.http.get(stored_issuer.address("/connect/jwk_uri")).json
    assert after["kids"] == [key["kid"] for key in jwks["keys"]] != before["kids"]
    assert header(get(stored_issuer).text)["kid"] == jwks["keys"][0]["kid"]


def test_the_first_algorithm_of_the_realm_signs_whatever_a_client_asks_for(issuer: Issuer) -> None:
    issuer.run("realms create /two --alg EdDSA --alg ES256")
    svc = issuer.client(options=f"{READER} --signing-alg ES256", realm="/two")
    token = issuer.token(svc)
    assert header(token)["alg"] == "ES256"
    assert header(get(issuer, 0, "/two").text)["alg"] == "EdDSA"
    assert not cut_off(issuer, token, "/two")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def cut(store: Path, make_issuer: Callable[..., Issuer]) -> Issuer:
    """An issuer with a client, on a file that can be taken away."""
    made = make_issuer("cut", f"sqlite:///{store}").setup()
    made.client(options=READER)
    return made


def test_190_without_the_store_lists_are_served_for_three_refreshes_and_then_not(cut: Issuer, store: Path) -> None:
    first = get(cut)
    assert first.status_code == 200
    cut.runtime.database.engine.dispose()
    store.rename(store.with_suffix(".away"))
    for seconds, status in ((2, 200), (3.9, 200), (0.1, 503), (60, 503)):
        cut.clock.advance(seconds)
        response = get(cut)
        assert response.status_code == status
        assert response.status_code != 200 or response.data == first.data
        assert cut.http.get(cut.address("/status")).status_code == status
    assert (response.json["error"], response.headers["Retry-After"]) == ("temporarily_unavailable", "1")
    assert response.headers["Cache-Control"] == "no-store"
    store.with_suffix(".away").rename(store)
    cut.clock.advance(1)
    assert get(cut).status_code == 200


def test_190_a_list_that_nobody_knows_is_503_while_nobody_can_be_asked(cut: Issuer, store: Path) -> None:
    assert [get(cut, number).status_code for number in (0, 5)] == [200, 404]
    cut.runtime.database.engine.dispose()
    store.rename(store.with_suffix(".away"))
    cut.clock.advance(2)
    assert [get(cut, number).status_code for number in (0, 5)] == [200, 503]


def test_190_the_times_of_a_list_count_from_the_last_good_look(cut: Issuer, store: Path) -> None:
    """What is cut off does not make a list last longer by signing it: its quantum is that of what it knows."""
    cut.clock.advance(-cut.clock.now % QUANTUM + QUANTUM - 3)  # three seconds before the quantum turns
    first = claims(get(cut).text)
    cut.runtime.database.engine.dispose()
    store.rename(store.with_suffix(".away"))
    cut.clock.advance(5)
    assert claims(get(cut).text) == first
    store.with_suffix(".away").rename(store)
    cut.clock.advance(1)
    assert claims(get(cut).text)["exp"] == first["exp"] + QUANTUM


def test_190_a_list_that_changed_and_cannot_be_read_is_not_served_as_it_was(
    cut: Issuer, store: Path, make_issuer: Callable[..., Issuer]
) -> None:
    other = make_issuer("other", f"sqlite:///{store}")
    assert get(cut).status_code == 200
    other.run("clients disable svc")
    cut.clock.advance(2)
    assert cut.http.get(cut.address("/connect/jwk_uri")).status_code == 200  # hears of it
    cut.runtime.database.engine.dispose()
    store.rename(store.with_suffix(".away"))
    assert get(cut).status_code == 503
    store.with_suffix(".away").rename(store)
    assert set_bits_of(get(cut).text) == list(range(256))


def test_130_a_deleted_realm_serves_what_its_tokens_are_checked_with_until_the_last_has_died(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    stored_issuer.run("realms create /x")
    svc = stored_issuer.client(options=READER, realm="/x")
    token = stored_issuer.token(svc)
    nodes = (stored_issuer, second_node)
    jwks = stored_issuer.http.get(stored_issuer.address("/connect/jwk_uri", "/x"))
    assert not cut_off(second_node, token, "/x")
    stored_issuer.run("realms delete /x --yes")
    poll(stored_issuer)
    for node in nodes:
        assert node.http.get(node.address("/connect/jwk_uri", "/x")).data == jwks.data
        assert aggregated(node, "/x") == [0]
        assert listed(node, 0, "/x")["array"] == b"\xff" * (LIST_SIZE // 8)
        assert cut_off(node, token, "/x")
        assert node.token_response(svc).status_code == 404
        assert node.introspect(svc, token).status_code == 404
    admin = stored_issuer.runtime.administration
    stored_issuer.clock.advance(3600 + 200 - 3)
    assert admin_realms.erase_keys(admin, ACTOR) == []
    stored_issuer.clock.advance(QUANTUM)
    assert admin_realms.erase_keys(admin, ACTOR) == ["/x"]
    assert admin_realms.erase_keys(admin, ACTOR) == []
    poll(stored_issuer)
    for node in nodes:
        for suffix in ("/connect/jwk_uri", "/status", "/status/0"):
            assert node.http.get(node.address(suffix, "/x")).status_code == 404


def test_204_the_next_realm_of_a_path_signs_the_lists_of_the_one_before(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    stored_issuer.run("realms create /x")
    old = stored_issuer.token(stored_issuer.client(options=READER, realm="/x"))
    assert not cut_off(second_node, old, "/x")
    stored_issuer.run("realms delete /x --yes")
    poll(stored_issuer)
    assert cut_off(second_node, old, "/x")
    stored_issuer.run("realms create /x")
    svc = stored_issuer.client(options=READER, realm="/x")
    poll(stored_issuer)
    new = second_node.token(svc)
    for node in (stored_issuer, second_node):
        assert cut_off(node, old, "/x")
        assert not cut_off(node, new, "/x")
        assert aggregated(node, "/x") == [where(old) // LIST_SIZE, where(new) // LIST_SIZE]
        assert node.introspect(svc, old).json == {"active": False}
        assert node.introspect(svc, new).json["active"] is True


def test_never_the_list_of_before_though_many_ask_while_one_hears_and_another_kills(
    stored_issuer: Issuer, second_node: Issuer
) -> None:
    """Whatever this process had heard of when a request came is in the answer: revoked tokens and ended ranges."""
    callers = [stored_issuer.client(f"svc{number}", READER) for number in range(12)]
    kills = [(caller, stored_issuer.token(caller)) for caller in callers]
    assert get(second_node).status_code == 200
    registry = second_node.runtime.registry
    killed: list[tuple[int, int]] = []
    over = threading.Event()
    wrong: list[object] = []

    def kill() -> None:
        for number, (caller, token) in enumerate(kills):
            if number % 2:
                revoke(stored_issuer, token)
            else:
                admin_clients.disable(stored_issuer.runtime.administration, "/", caller.client_id, ACTOR)
            with stored_issuer.runtime.database.read() as connection:
                killed.append((now_at(connection).generation, where(token)))
            registry._lookout.look()

    def read() -> None:
        http = second_node.app.test_client()
        while not over.is_set():
            heard = registry._cache.moment
            before = list(killed)
            array = unpack(claims(http.get(second_node.address("/status/0")).text)["status_list"]["lst"])
            assert heard is not None
            wrong.extend(index for at, index in before if at <= heard.generation and not bit(array, index))

    def safely(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            wrong.append(error)

    readers = [threading.Thread(target=safely, args=(read,)) for _ in range(3)]
    for reader in readers:
        reader.start()
    safely(kill)
    over.set()
    for reader in readers:
        reader.join(30)
    assert wrong == []
    assert len(killed) == len(kills)
    array = listed(second_node)["array"]
    assert all(bit(array, index) for _, index in killed)


def test_a_list_that_was_read_before_a_change_that_was_heard_of_meanwhile_is_read_again(issuer: Issuer) -> None:
    """The reader is slow: what it read was so, and is not any more when it comes to be signed."""
    issuer.client(options=READER)
    runtime = issuer.runtime
    view = runtime.registry.realm("/")
    assert view is not None
    with runtime.database.read() as connection:
        before = now_at(connection)
    reads: list[int] = []

    class Slow:
        @contextmanager
        def read(self) -> Iterator[Connection]:
            with runtime.database.read() as connection:
                yield connection
            reads.append(1)
            if len(reads) == 1:
                admin_clients.disable(runtime.administration, "/", "svc", ACTOR)
                with runtime.database.read() as connection:
                    moment, changed = since(connection, before)
                    lists.heard(moment.generation, lists.touched(connection, changed), ())

    lists = StatusLists(Slow(), runtime.settings.policy, 10)  # type: ignore[arg-type]
    signed = lists.signed(view, 0, issuer.clock.now)
    assert set_bits_of(signed.token.decode()) == list(range(256))
    assert len(reads) == 2
