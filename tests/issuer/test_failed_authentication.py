"""Failed authentication under load: work by shape only, counted over a node, and nobody locked out (#28-#47, #201)."""

import base64
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from issuer.secret_checks.failures import FailureLimit
from issuer.secret_checks.remembered import Remembered
from issuer.secret_checks.verifier import SecretVerifier
from issuer.secrets import Kind, Secret, TooManyAttempts, digest, generate
from tests.support.assertions import Signer, form
from tests.support.issuer import Caller, Issuer

READER = "--scope read --default-scope read"
SALT = b"s" * 16


def imported(issuer: Issuer, client_id: str, secret: str) -> Caller:
    issuer.run(f"clients create {client_id} {READER} --secret-stdin", secret)
    issuer.clock.advance(3)
    return Caller(client_id, secret)


def test_29_the_same_work_is_done_for_a_known_and_an_unknown_client(issuer: Issuer) -> None:
    known = issuer.client(options=READER)
    imported(issuer, "legacy", "forgerock")
    verifier = issuer.runtime.verifier
    work = {}
    for name in (known.client_id, "legacy", "nobody"):
        for kind, secret in (("ours", generate()), ("human", "wrong-secret"), ("damaged", known.secret[:-1] + "!")):
            before = (verifier.digest_runs, verifier.argon2_runs)
            assert issuer.token_response(Caller(name, secret)).status_code == 401
            work[name, kind] = (verifier.digest_runs - before[0], verifier.argon2_runs - before[1])
    for kind, expected in (("ours", (1, 0)), ("human", (0, 1)), ("damaged", (0, 1))):
        assert {work[name, kind] for name in (known.client_id, "legacy", "nobody")} == {expected}


def as_it_stands(issuer: Issuer, client_id: str, secret: str) -> Any:
    """A token request of a client that does not form-encode what it puts into Basic."""
    header = "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    return issuer.post("/access_token", {"grant_type": "client_credentials"}, {"Authorization": header})


def test_29_36_what_can_be_read_in_two_ways_costs_the_same_known_or_not(issuer: Issuer) -> None:
    known = issuer.client(options=READER)
    imported(issuer, "legacy", "forge+rock")
    verifier = issuer.runtime.verifier
    work = {}
    for name in (known.client_id, "legacy", "nobody"):
        for kind, secret in (
            ("two", "wrong+secret"),
            ("one", "wrong%"),
            ("ours", quote(generate()).replace("_", "%5F")),
        ):
            before = (verifier.digest_runs, verifier.argon2_runs)
            assert as_it_stands(issuer, name, secret).status_code == 401
            work[name, kind] = (verifier.digest_runs - before[0], verifier.argon2_runs - before[1])
    # What decodes to the shape of ours is ours: a flood of it buys no slow hash.
    for kind, expected in (("two", (0, 2)), ("one", (0, 1)), ("ours", (1, 0))):
        assert {work[name, kind] for name in (known.client_id, "legacy", "nobody")} == {expected}, kind


def test_36_a_secret_sent_as_it_stands_costs_slow_hashes_once_and_then_none(issuer: Issuer) -> None:
    imported(issuer, "legacy", "forge+rock%41")
    verifier = issuer.runtime.verifier
    for _ in range(5):
        assert as_it_stands(issuer, "legacy", "forge+rock%41").status_code == 200
    assert verifier.argon2_runs == 2  # form-decoded first, which is what RFC 6749 says
    for _ in range(5):
        assert issuer.token_response(Caller("legacy", "forge+rock%41")).status_code == 200
    assert verifier.argon2_runs == 2


@pytest.mark.parametrize("at", [-1, 0, 1])
def test_36_46_a_failure_in_both_readings_is_one_failure(make_issuer: Callable[..., Issuer], at: int) -> None:
    issuer = make_issuer(AUTH_FAILURES_PER_MINUTE="3")
    imported(issuer, "legacy", "forge+rock")
    assert as_it_stands(issuer, "legacy", "forge+rock").status_code == 200
    for number in range(3 + at):
        assert as_it_stands(issuer, "legacy", f"wrong+{number}").status_code in {401, 429}
    before = issuer.runtime.verifier.argon2_runs
    assert as_it_stands(issuer, "legacy", "wrong+secret").status_code == (401 if at < 0 else 429)
    assert issuer.runtime.verifier.argon2_runs == before + 2
    for number in range(8):  # over the limit an address has its own, and then costs nothing more
        assert as_it_stands(issuer, "legacy", f"wronger+{number}").status_code in {401, 429}
    before = issuer.runtime.verifier.argon2_runs
    assert as_it_stands(issuer, "legacy", "wrong+again").status_code == 429
    assert issuer.runtime.verifier.argon2_runs == before
    assert as_it_stands(issuer, "legacy", "forge+rock").status_code == 200


def test_a_realm_without_imported_secrets_never_runs_a_slow_hash(issuer: Issuer) -> None:
    caller = issuer.client(options=READER)
    assert as_it_stands(issuer, "svc", "guess+guess%41").status_code == 401
    for secret in ("guess", "x" * 1000, "rms_short", caller.secret + "x"):
        assert issuer.token_response(Caller("svc", secret)).status_code == 401
    assert issuer.runtime.verifier.argon2_runs == 0


def test_an_imported_secret_costs_one_slow_hash_and_then_none_until_it_changes(issuer: Issuer) -> None:
    caller = imported(issuer, "legacy", "forgerock")
    for _ in range(5):
        assert issuer.token_response(caller).status_code == 200
    assert issuer.runtime.verifier.argon2_runs == 1
    (secret,) = issuer.run("clients secrets list legacy")
    issuer.run(f"clients secrets revoke legacy {secret['secret_id']} --yes")
    issuer.clock.advance(2)
    assert issuer.token_response(caller).status_code == 401


def test_several_imported_secrets_of_a_client_still_cost_one_slow_hash(issuer: Issuer) -> None:
    imported(issuer, "legacy", "forgerock")
    issuer.run("clients secrets add legacy --secret-stdin", "second-secret")
    issuer.clock.advance(2)
    before = issuer.runtime.verifier.argon2_runs
    assert issuer.token_response(Caller("legacy", "second-secret")).status_code == 200
    assert issuer.token_response(Caller("legacy", "forgerock")).status_code == 200
    assert issuer.runtime.verifier.argon2_runs == before + 2


@pytest.mark.parametrize("at", [-1, 0, 1])
def test_46_failures_over_the_limit_are_429_and_the_right_secret_still_passes(
    make_issuer: Callable[..., Issuer], at: int
) -> None:
    issuer = make_issuer(AUTH_FAILURES_PER_MINUTE="5")
    caller, other = issuer.client(options=READER), issuer.client("other", READER)
    for _ in range(5 + at):
        assert issuer.token_response(Caller("svc", generate())).status_code in {401, 429}
    refused = issuer.token_response(Caller("svc", generate()))
    assert refused.status_code == (401 if at < 0 else 429)
    if refused.status_code == 429:
        assert refused.json["error"] == "temporarily_unavailable"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert issuer.token_response(caller).status_code == 200
    assert issuer.token_response(Caller("other", generate())).status_code == 401
    assert issuer.token_response(other).status_code == 200
    issuer.clock.advance(60)
    assert issuer.token_response(Caller("svc", generate())).status_code == 401


GUESSER, ELSEWHERE = "192.0.2.1", "198.51.100.7"


def status_from(issuer: Issuer, address: str, client_id: str, secret: str) -> int:
    """What a token request from `address` is answered."""
    response = issuer.http.post(
        issuer.address("/access_token"),
        data={"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret},
        environ_overrides={"REMOTE_ADDR": address},
    )
    if response.status_code == 429:
        assert 1 <= int(response.headers["Retry-After"]) <= 60
    return response.status_code


def test_46_over_the_limit_an_address_gets_as_many_slow_checks_again_and_what_was_verified_keeps_working(
    make_issuer: Callable[..., Issuer],
) -> None:
    issuer = make_issuer(AUTH_FAILURES_PER_MINUTE="3")
    caller = imported(issuer, "legacy", "forgerock")
    verifier = issuer.runtime.verifier
    assert status_from(issuer, ELSEWHERE, "legacy", caller.secret) == 200
    for name in ("legacy", "nobody"):
        before = verifier.argon2_runs
        answers = [status_from(issuer, GUESSER, name, f"wrong-guess-{n}") for n in range(9)]
        assert answers == [401] * 3 + [429] * 6
        assert verifier.argon2_runs == before + 6
    assert status_from(issuer, GUESSER, "legacy", caller.secret) == 200
    # Somewhere else one of those who know it may mistype it too.
    assert [status_from(issuer, ELSEWHERE, "legacy", f"mistyped-{n}") for n in range(4)] == [429] * 4
    assert verifier.argon2_runs == before + 6 + 3


@pytest.mark.parametrize("guesses", [3, 6, 60])
def test_46_guesses_on_one_worker_lock_nobody_out_of_another_that_never_verified_the_right_secret(
    make_issuer: Callable[..., Issuer], guesses: int
) -> None:
    guessed_at, *others = (make_issuer(AUTH_FAILURES_PER_MINUTE="3") for _ in range(3))
    caller = imported(guessed_at, "legacy", "forgerock")
    for n in range(guesses):
        assert status_from(guessed_at, GUESSER, "legacy", f"wrong-guess-{n}") in {401, 429}
    for other in others:
        assert status_from(other, GUESSER, "legacy", "wrong-guess") in {401, 429}
        assert status_from(other, ELSEWHERE, "legacy", caller.secret) == 200
        assert other.runtime.verifier.argon2_runs <= 2
        assert status_from(other, GUESSER, "legacy", caller.secret) == 200


def test_46_no_name_in_an_assertion_is_counted_as_another_client_at_its_address(
    make_issuer: Callable[..., Issuer],
) -> None:
    issuer = make_issuer(AUTH_FAILURES_PER_MINUTE="3")
    caller = imported(issuer, "legacy", "forgerock")
    for n in range(6):
        assert status_from(issuer, GUESSER, "legacy", f"wrong-guess-{n}") in {401, 429}
    for name in (f"legacy\0{ELSEWHERE}", f"legacy\0@{ELSEWHERE}", f"@{ELSEWHERE}\0legacy"):
        said = form(Signer(name).assertion(issuer.clock.wall()), grant_type="client_credentials")
        for _ in range(4):
            assert issuer.post("/access_token", said).status_code in {401, 429}
    assert status_from(issuer, ELSEWHERE, "legacy", caller.secret) == 200


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:ffff::1", True),
        ("2001:db8::1", "2001:db8:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
    ],
)
def test_46_who_has_a_network_is_one_caller(
    make_issuer: Callable[..., Issuer], one: str, other: str, same: bool
) -> None:
    issuer = make_issuer(AUTH_FAILURES_PER_MINUTE="1")
    caller = imported(issuer, "legacy", "forgerock")
    assert [status_from(issuer, one, "legacy", f"wrong-guess-{n}") for n in range(2)] == [401, 429]
    assert status_from(issuer, other, "legacy", caller.secret) == (429 if same else 200)


def test_46_processes_of_a_node_count_together_and_unknown_names_are_counted_too(
    make_issuer: Callable[..., Issuer],
) -> None:
    one = make_issuer(AUTH_FAILURES_PER_MINUTE="4")
    two = make_issuer(AUTH_FAILURES_PER_MINUTE="4")
    answers = [node.token_response(Caller("nobody", generate())).status_code for node in (one, two) * 4]
    assert answers == [401] * 4 + [429] * 4


def test_zero_turns_the_limit_off(make_issuer: Callable[..., Issuer], tmp_path: Path) -> None:
    issuer = make_issuer(AUTH_FAILURES_PER_MINUTE="0")
    assert {issuer.token_response(Caller("svc", generate())).status_code for _ in range(100)} == {401}
    assert not (tmp_path / "instance" / "failures").exists()


def test_counters_are_flat_in_memory_and_exact_under_threads(tmp_path: Path) -> None:
    limits = [FailureLimit(tmp_path / "failures", 10_000) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda limit=limit: [limit.note(1, "svc", 600) for _ in range(500)])
        for limit in limits
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    exact = FailureLimit(tmp_path / "failures", 4000)
    exact.note(1, "another", 600)
    assert exact.wait(1, "svc", 600) == 60
    one_more = FailureLimit(tmp_path / "failures", 4001)
    one_more.note(1, "another", 600)
    assert one_more.wait(1, "svc", 600) == 0
    size = (tmp_path / "failures").stat().st_size
    for n in range(10_000):
        exact.note(1, f"made-up-{n}", 600)
    assert (tmp_path / "failures").stat().st_size == size < 600_000
    for limit in (*limits, exact, one_more):
        limit.close()


def test_201_slow_hashes_run_one_at_a_time_and_a_full_queue_refuses() -> None:
    verifier = SecretVerifier(room=2)
    stored = [Secret("sec1", Kind.IMPORTED, 1, 0, None, None, digest("forgerock", Kind.IMPORTED, SALT))]
    outcomes: list[str] = []
    start = threading.Barrier(12)

    def attempt(n: int) -> None:
        start.wait()
        try:
            verifier.verify(f"guess-{n}", stored, SALT, slow_allowed=True, now=1)
            outcomes.append("checked")
        except TooManyAttempts as refused:
            outcomes.append(refused.reason)

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("checked") == verifier.argon2_runs >= 2
    assert outcomes.count("slow_checks_waiting") == 12 - verifier.argon2_runs > 0


def verifying(verifier: SecretVerifier, presented: str, stored: Secret, now: int = 1) -> Secret | None:
    return verifier.verify(presented, [stored], SALT, slow_allowed=True, now=now)


def test_46_200_what_a_forked_child_verified_its_siblings_and_its_parent_know() -> None:
    verifier = SecretVerifier()
    stored = [
        Secret(f"sec{n}", Kind.IMPORTED, 1, 0, None, None, digest(f"forgerock {n}", Kind.IMPORTED, SALT))
        for n in range(3)
    ]
    for n, secret in enumerate(stored):
        pid = os.fork()
        if pid == 0:
            known = [verifying(verifier, f"forgerock {m}", earlier) is earlier for m, earlier in enumerate(stored[:n])]
            same = verifier.argon2_runs == 0 and all(known)
            os._exit(0 if same and verifying(verifier, f"forgerock {n}", secret) is secret else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [verifying(verifier, f"forgerock {n}", secret) for n, secret in enumerate(stored)] == stored
    assert verifier.argon2_runs == 0
    # Each is known for itself alone, until it ends or its row is another.
    assert verifying(verifier, "forgerock 0", stored[1]) is None
    assert verifying(verifier, "forgerock 0", replace(stored[0], expires_at=1)) is None
    assert verifier.argon2_runs == 2
    for changed in ({"version": 2}, {"digest": stored[1].digest}, {"secret_id": "another"}):
        before = verifier.argon2_runs
        verifying(verifier, "forgerock 0", replace(stored[0], **changed))
        assert verifier.argon2_runs == before + 1


def test_200_a_child_forked_while_slow_checks_wait_makes_its_own() -> None:
    verifier = SecretVerifier()
    stored = Secret("sec1", Kind.IMPORTED, 1, 0, None, None, digest("forgerock", Kind.IMPORTED, SALT))
    threads = [threading.Thread(target=verifying, args=(verifier, f"guess {n}", stored)) for n in range(3)]
    for thread in threads:
        thread.start()
    with verifier._lane._guard:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if verifying(verifier, "forgerock", stored) is stored else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for thread in threads:
        thread.join()


def test_a_digest_that_was_half_written_is_the_digest_of_nothing() -> None:
    remembered = Remembered()
    remembered.add(b"sec1", b"forgerock")
    assert remembered.holds(b"sec1", b"forgerock")
    assert not remembered.holds(b"sec2", b"forgerock")
    assert not remembered.holds(b"sec1f", b"orgerock")
    (at,) = [at for at in range(len(remembered._memory)) if remembered._memory[at]][:1]
    remembered._memory[at : at + 1] = bytes([remembered._memory[at] ^ 1])
    assert not remembered.holds(b"sec1", b"forgerock")


def test_what_is_remembered_is_bounded_and_goes_on_working() -> None:
    remembered = Remembered()
    for n in range(200_000):
        remembered.add(b"sec%d" % n, b"forgerock")
    assert remembered.holds(b"sec199999", b"forgerock")
    kept = sum(remembered.holds(b"sec%d" % n, b"forgerock") for n in range(0, 200_000, 100))
    assert 0 < kept < 1000


def test_44_an_empty_or_revoked_digest_matches_nothing() -> None:
    verifier = SecretVerifier()
    for kind in Kind:
        stored = [Secret("sec1", kind, 1, 0, None, None, b"")]
        for presented in ("", generate(), "forgerock"):
            assert verifier.verify(presented, stored, SALT, slow_allowed=True, now=1) is None


def test_43_two_secrets_that_agree_in_their_first_72_bytes_differ() -> None:
    verifier = SecretVerifier()
    stored = [Secret("sec1", Kind.IMPORTED, 1, 0, None, None, digest("a" * 72 + "b", Kind.IMPORTED, SALT))]
    assert verifier.verify("a" * 72 + "c", stored, SALT, slow_allowed=True, now=1) is None
    assert verifier.verify("a" * 72 + "b", stored, SALT, slow_allowed=True, now=1) is stored[0]


def test_46_a_process_that_cannot_share_its_counters_counts_for_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    limit = FailureLimit(tmp_path / "file" / "failures", 3)  # nothing can be made below a file
    for _ in range(3):
        assert limit.wait(1, "svc", 600) == 0
        limit.note(1, "svc", 600)
    assert limit.wait(1, "svc", 600) == 60
    limit.close()
