"""Keys that a client publishes itself: facts/security.md cases 78, 83 and 84, against real servers on loopback."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.issuer.conftest import READER, Lines
from tests.support.assertions import FORMS, Signer, add_key, ask
from tests.support.client_keys import private_jwk
from tests.support.clock import FakeClock
from tests.support.issuer import Issuer
from tests.support.process import until
from tests.support.publisher import (
    Publisher,
    answering,
    bombs,
    drips,
    grows,
    grows_unsaid,
    hangs,
    publishing,
)
from tests.support.wire import assert_refused

LIFE = 301
"""Seconds after which keys are asked for anew, where their answer names no time."""
TRIED_AGAIN = 31
"""And after any failure."""


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as publisher:
        yield publisher


@pytest.fixture
def issuer(make_issuer: Callable[..., Issuer], publisher: Publisher) -> Issuer:
    issuer = make_issuer(INTERNAL_HOSTS=publisher.internal, AUTH_FAILURES_PER_MINUTE="0")
    issuer.runtime.boot()
    return registered(issuer, publisher.jwks_uri)


def registered(issuer: Issuer, jwks_uri: str, name: str = "svc") -> Issuer:
    issuer.run(f"clients create {name} --auth-method private_key_jwt {READER}")
    issuer.run(f"clients keys add {name} --jwks-uri {jwks_uri}")
    return issuer


def status(issuer: Issuer, signer: Signer, **header: Any) -> int:
    """Of a request with a fresh assertion; of those that nobody can decide the whole answer is looked at."""
    response = ask(issuer, signer.assertion(issuer.clock.now, header=header))
    if response.status_code == 503:
        assert_refused(response, "temporarily_unavailable", also={"Retry-After": response.headers["Retry-After"]})
        assert 1 <= int(response.headers["Retry-After"]) <= 60
    if response.status_code == 401:
        assert_refused(response, "invalid_client")
    return int(response.status_code)


def test_78_keys_are_fetched_when_somebody_needs_them_and_then_kept(issuer: Issuer, publisher: Publisher) -> None:
    signer = Signer("svc")
    publisher.publish(signer)
    for suffix in FORMS:
        for kid in ("k1", None):
            sent = signer.assertion(issuer.clock.now, header={"kid": kid})
            assert ask(issuer, sent, suffix).status_code == 200
            assert_refused(ask(issuer, sent, suffix), "invalid_client")
    assert publisher.paths == ["/keys"]


def test_78_a_new_key_is_found_when_its_first_assertion_comes(issuer: Issuer, publisher: Publisher) -> None:
    old, new = Signer("svc", "ES256", "old"), Signer("svc", "EdDSA", "new")
    publisher.publish(old)
    assert status(issuer, old) == 200
    publisher.publish(old, new)
    issuer.clock.advance(1)
    assert [status(issuer, each) for each in (new, old, new)] == [200] * 3
    assert publisher.paths == ["/keys"] * 2


def test_79_a_key_that_went_counts_until_the_set_is_asked_for_and_no_longer(
    issuer: Issuer, publisher: Publisher
) -> None:
    old, new = Signer("svc", "ES256", "old"), Signer("svc", "ES256", "new")
    publisher.publish(old)
    assert status(issuer, old) == 200
    publisher.publish(new)
    assert status(issuer, old) == 200, "as long as its answer may be kept"
    issuer.clock.advance(LIFE)
    assert [status(issuer, each) for each in (new, old)] == [200, 401]
    assert publisher.paths == ["/keys"] * 2, "a name that went is not looked for again"
    publisher.publish(old, new)
    issuer.clock.advance(LIFE)
    assert status(issuer, old) == 200


def test_78_names_that_nobody_knows_cause_few_fetches(issuer: Issuer, publisher: Publisher) -> None:
    signer = Signer("svc")
    publisher.publish(signer)
    assert status(issuer, signer) == 200
    for number in range(50):
        assert status(issuer, signer, kid=f"unknown-{number}") == 401
    assert len(publisher.asked) <= 1 + 2
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda number: status(issuer, signer, kid=f"more-{number}"), range(64))) == {401}
    assert len(publisher.asked) <= 1 + 2
    assert status(issuer, signer) == 200


def test_78_an_unknown_client_and_a_wrong_assertion_cause_no_fetch(issuer: Issuer, publisher: Publisher) -> None:
    publisher.publish(Signer("svc"))
    assert status(issuer, Signer("nobody")) == 401
    for wrong in ({"aud": "https://other.example"}, {"exp": issuer.clock.now - 31}, {"jti": None}):
        assert_refused(ask(issuer, Signer("svc").assertion(issuer.clock.now, **wrong)), "invalid_client")
    assert_refused(ask(issuer, "a.b.c", client_id="svc"), "invalid_client")
    assert publisher.asked == []


def test_a_registered_key_needs_no_fetch_and_goes_on_while_the_address_fails(
    issuer: Issuer, publisher: Publisher
) -> None:
    mine = Signer("svc", kid="mine")
    add_key(issuer, mine)
    issuer.clock.advance(3)
    publisher.says["/keys"] = lambda: (500, {}, b"")
    assert [status(issuer, mine) for _ in range(3)] == [200] * 3
    assert publisher.asked == []
    assert status(issuer, Signer("svc", kid="theirs")) == 503
    assert status(issuer, Signer("svc", kid="mine")) == 503, "there may be another of that name"


def lies() -> dict[str, tuple[int, dict[str, str], bytes]]:
    good = json.dumps({"keys": [Signer("svc").public_jwk()]}).encode()
    weak = Signer("svc").public_jwk()
    return {
        "status_500": (500, {}, good),
        "status_404": (404, {}, good),
        "status_204": (204, {}, b""),
        "status_304_unasked": (304, {}, b""),
        "case_83_redirect_301": (301, {"Location": "/keys"}, b""),
        "case_83_redirect_302": (302, {"Location": "http://127.0.0.1:9/keys"}, b""),
        "case_83_redirect_307": (307, {"Location": "https://svc.example/keys"}, b""),
        "case_83_redirect_with_keys": (303, {"Location": "file:///etc/passwd"}, good),
        "html": (200, {"Content-Type": "text/html"}, b"<html>"),
        "nothing": (200, {}, b""),
        "list": (200, {}, b"[]"),
        "no_keys": (200, {}, b'{"keys":{}}'),
        "empty_set": (200, {}, b'{"keys":[]}'),
        "not_utf_8": (200, {}, b'{"keys":["\xff"]}'),
        "duplicate_member": (200, {}, good[:-1] + b',"keys":[]}'),
        "nested": (200, {}, b'{"keys":' + b"[" * 50_000),
        "no_gzip": (200, {"Content-Encoding": "gzip"}, good),
        "case_84_private_keys_alone": (200, {}, json.dumps({"keys": [private_jwk(Signer("svc").native, kid="k1")]}).encode()),
        "case_84_use_enc_alone": (200, {}, json.dumps({"keys": [weak | {"use": "enc"}]}).encode()),
        "case_84_off_curve_alone": (200, {}, json.dumps({"keys": [weak | {"y": weak["x"]}]}).encode()),
        "case_84_symmetric_alone": (200, {}, b'{"keys":[{"kty":"oct","k":"AAAA","kid":"k1","alg":"HS256"}]}'),
    }  # fmt: skip


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Issuer, Publisher]]:
    """For clients with addresses of their own."""
    with publishing() as publisher:
        folder, settings = tmp_path_factory.mktemp("desk"), {"AUTH_FAILURES_PER_MINUTE": "0"}
        issuer = Issuer(folder, FakeClock(), INTERNAL_HOSTS=publisher.internal, **settings)
        issuer.runtime.boot()
        yield issuer, publisher
        issuer.runtime.close()


@pytest.mark.parametrize("name", lies())
def test_83_84_what_is_no_set_of_keys_is_503_and_asked_for_again_later(
    desk: tuple[Issuer, Publisher], lines: Lines, name: str
) -> None:
    issuer, publisher = desk
    client_id, address = name.replace("_", "-"), f"/keys/{name}"
    registered(issuer, publisher.issuer + address, client_id)
    signer, before = Signer(client_id), len(publisher.asked)
    lie = lies()[name]
    publisher.says[address] = lambda: lie
    got = {status(issuer, signer) for _ in range(20)}
    assert got == {503}
    assert publisher.paths[before:] == [address], "no redirect is followed, and nobody asks again at once"
    assert len([line for line in lines.json if '"outside_' in line]) <= 2
    publisher.publish(signer)
    publisher.says[address] = publisher.key_set
    issuer.clock.advance(TRIED_AGAIN)
    assert status(issuer, signer) == 200


def test_a_set_that_was_good_is_used_on_while_the_address_fails(issuer: Issuer, publisher: Publisher) -> None:
    signer = Signer("svc")
    publisher.publish(signer)
    assert status(issuer, signer) == 200
    publisher.says["/keys"] = lambda: (503, {}, b"")
    for _ in range(5):
        issuer.clock.advance(LIFE)
        assert status(issuer, signer) == 200
        assert status(issuer, signer, kid="new") == 503, "it may be there by now"
    issuer.clock.advance(4 * 3600)
    assert status(issuer, signer) == 503


def test_84_what_cannot_be_used_is_left_out_and_the_rest_counts(issuer: Issuer, publisher: Publisher) -> None:
    good, twice, private = Signer("svc", kid="good"), Signer("svc", kid="twice"), Signer("svc", kid="private")
    enc = Signer("svc", kid="enc")
    publisher.publish(good, twice)
    publisher.keys += [Signer("svc", kid="twice").public_jwk(), private_jwk(private.native, kid="private")]
    publisher.keys += [enc.public_jwk(use="enc"), {"kty": "oct", "k": "AAAA", "kid": "oct"}, {}]
    assert [status(issuer, each) for each in (good, twice, private, enc)] == [200, 401, 401, 401]
    assert status(issuer, good, kid=None) == 200


@pytest.mark.parametrize("raw", [hangs, drips, grows, grows_unsaid, bombs])
def test_83_an_answer_that_never_ends_is_given_up_and_costs_little(
    make_issuer: Callable[..., Issuer], raw: Any
) -> None:
    with answering(raw) as bare:
        issuer = make_issuer(INTERNAL_HOSTS=bare.internal)
        issuer.runtime.boot()
        registered(issuer, bare.jwks_uri)
        begun = time.monotonic()
        assert status(issuer, Signer("svc")) == 503
        assert time.monotonic() - begun < 6, "a wait, and not for an end that does not come"
        if raw is not drips:
            assert status(issuer, Signer("svc")) == 503
        assert len(bare.asked) == 1


def test_83_who_needs_an_address_that_hangs_holds_up_nobody_else(
    make_issuer: Callable[..., Issuer], clock: FakeClock, publisher: Publisher
) -> None:
    """Of forty at once a few wait, and the others are told at once that nobody can tell."""
    with answering(hangs) as bare:
        issuer = make_issuer(INTERNAL_HOSTS=f"{bare.internal},{publisher.internal}", AUTH_FAILURES_PER_MINUTE="0")
        issuer.runtime.boot()
        registered(registered(issuer, bare.jwks_uri, "stuck"), publisher.jwks_uri)
        issuer.runtime.served_by(8)
        good, stuck = Signer("svc"), Signer("stuck")
        publisher.publish(good)
        with ThreadPoolExecutor(40) as pool:
            asked = [pool.submit(status, issuer, stuck) for _ in range(40)]
            assert [status(issuer, good) for _ in range(5)] == [200] * 5
            # Half of those that may wait at all, which are half of the threads.
            until(lambda: sum(not each.done() for each in asked) <= 8 // 4)
            assert {each.result() for each in asked} == {503}
        assert len(bare.asked) == 1


def test_200_an_address_is_asked_once_for_a_crowd(issuer: Issuer, publisher: Publisher) -> None:
    signer, gate = Signer("svc"), threading.Event()
    publisher.publish(signer)
    body = json.dumps({"keys": publisher.keys}).encode()

    def slow() -> tuple[int, dict[str, str], bytes]:
        gate.wait(10)
        return 200, {}, body

    publisher.says["/keys"] = slow
    issuer.runtime.served_by(64)
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(status, issuer, signer) for _ in range(12)]
        gate.set()
        assert {each.result() for each in asked} == {200}
    assert publisher.paths == ["/keys"]
