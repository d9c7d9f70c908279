"""What operators can read off of the checks of secrets."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from issuer.secret_checks.failures import FailureLimit
from issuer.secret_checks.measures import SecretCheckMeasures, measures
from issuer.secret_checks.slow_lane import SlowLane
from issuer.secret_checks.verifier import SecretVerifier
from issuer.secrets import Kind, Secret, TooManyAttempts, digest
from tests.support.issuer import Caller, Issuer
from tests.support.process import until

READER = "--scope read --default-scope read"


def test_an_operator_can_read_how_many_slow_checks_wait() -> None:
    lane, go = SlowLane(room=3), threading.Event()
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(lane.run, origin, lambda: go.wait(10)) for origin in "abc"]
        until(lambda: lane.waiting() == 2)
        go.set()
        assert [check.result(10) for check in asked] == [True] * 3
    assert lane.waiting() == 0


def test_an_operator_can_read_what_was_refused(tmp_path: Path) -> None:
    verifier, limit = SecretVerifier(room=1), FailureLimit(tmp_path / "failures", 3)
    salt = b"s" * 16
    stored = [Secret("sec1", Kind.IMPORTED, 1, 0, None, None, digest("forgerock", Kind.IMPORTED, salt))]
    start = threading.Barrier(6)

    def attempt(n: int) -> str:
        start.wait()
        try:
            verifier.verify(f"guess {n}", stored, salt, slow_allowed=True, now=1)
        except TooManyAttempts as refused:
            return refused.reason
        return "checked"

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(attempt, range(6)))
    refused = limit.refusal(7)
    assert (refused.reason, refused.retry_after) == ("failures_over_limit", 7)
    slow_refused = outcomes.count("slow_checks_waiting")
    assert measures(verifier, limit) == SecretCheckMeasures(0, 6 - slow_refused, 0, slow_refused, 1)
    limit.close()


def test_over_the_limit_is_counted_where_it_is_answered(make_issuer: Callable[..., Issuer]) -> None:
    issuer = make_issuer("limited", None, AUTH_FAILURES_PER_MINUTE="3")
    caller = issuer.client(options=READER)
    wrong = Caller(caller.client_id, "rms_wrong")
    statuses = [issuer.token_response(wrong).status_code for _ in range(5)]
    assert statuses == [401] * 3 + [429] * 2
    assert measures(issuer.runtime.verifier, issuer.runtime.failures).over_limit == 2
