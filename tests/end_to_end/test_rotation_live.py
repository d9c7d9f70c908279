"""flask keys rotate while processes serve: old and new tokens verify, and within a bound no process signs with the old key."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import jwt as pyjwt
import pytest

from tests.support.issuer import header
from tests.support.load import Load, ask
from tests.support.process import Deployment, until

SERVERS = [
    "flask run",
    "gunicorn --workers 2",
    "gunicorn --workers 4 --preload",
    "gunicorn --workers 2 --worker-class gthread",
    "gunicorn --workers 4 --worker-class gthread --preload",
    "gunicorn --workers 4 --worker-class sync",
    "gunicorn --workers 2 --worker-class sync --preload",
    "serve --workers 2",
]
MARGIN = 1.5
"""Seconds on top of a bound, for two busy cores."""


@contextmanager
def serving(deployment: Deployment, server: str) -> Iterator[None]:
    program, _, options = server.partition(" ")
    runs = {"flask": deployment.serving, "gunicorn": deployment.gunicorn, "serve": deployment.production}
    with runs[program](options):
        yield


@pytest.mark.parametrize("server", SERVERS)
def test_187_after_a_rotation_no_worker_signs_with_the_old_key_past_the_reload_interval_and_old_tokens_verify(
    tmp_path: Path, server: str
) -> None:
    deployment = Deployment(tmp_path)
    client = deployment.run("clients create svc --scope read --default-scope read")
    credentials = ("svc", client["client_secret"])
    issuer = deployment.issuer()

    def verified(text: str) -> str:
        # A verifier that fetches anew each time, as one that starts now would.
        key = pyjwt.PyJWKClient(f"{issuer}/connect/jwk_uri").get_signing_key_from_jwt(text)
        return str(pyjwt.decode(text, key, algorithms=["ES256"], issuer=issuer, audience=issuer)["jti"])

    with serving(deployment, server):
        verifier_of_before = pyjwt.PyJWKClient(f"{issuer}/connect/jwk_uri", lifespan=3600)
        held = {key.key_id: key for key in verifier_of_before.get_signing_keys()}
        with Load([issuer], credentials).running() as load:
            old = until(lambda: len(load.answers) > 20 and load.answers[-1].token)
            rotated = deployment.run("keys rotate")["rotated"][0]
            done = time.monotonic()
            assert header(old)["kid"] == rotated["retiring"]
            # Every process has switched within SNAPSHOT_REFRESH, 2 s; every one is kept warm by the load.
            late = until(lambda: len(found := load.since(done + 2 + MARGIN)) >= 50 and found)
        assert {answer.kid for answer in late} == {rotated["active"]}
        assert load.failed == []
        new = late[-1].token
        assert verified(old) != verified(new)
        # One that fetched before the rotation and never since knows the new key already: it was the standby.
        pyjwt.decode(new, held[rotated["active"]], algorithms=["ES256"], issuer=issuer, audience=issuer)
        # Within the gate the next one is refused, and says when.
        refused = deployment.command("keys rotate --json")
        assert refused.returncode == 3
        assert '"retry_at"' in refused.stdout


def test_187_after_activating_a_retiring_key_no_worker_signs_with_the_other_past_the_reload_interval(
    tmp_path: Path,
) -> None:
    deployment = Deployment(tmp_path, SNAPSHOT_REFRESH="1")
    client = deployment.run("clients create svc --scope read --default-scope read")
    with deployment.gunicorn("--workers 4"):
        rotated = deployment.run("keys rotate")["rotated"][0]
        with Load([deployment.issuer()], ("svc", client["client_secret"])).running() as load:
            until(lambda: rotated["active"] in {answer.kid for answer in load.answers})
            deployment.run(f"keys activate {rotated['retiring']}")
            done = time.monotonic()
            late = until(lambda: len(found := load.since(done + 1 + MARGIN)) >= 50 and found)
    assert {answer.kid for answer in late} == {rotated["retiring"]}
    assert load.failed == []


def test_187_processes_idle_for_longer_than_the_oldest_snapshot_answer_a_burst_at_once_with_the_new_key(
    tmp_path: Path,
) -> None:
    deployment = Deployment(tmp_path, SNAPSHOT_REFRESH="1")
    client = deployment.run("clients create svc --scope read --default-scope read")
    credentials = ("svc", client["client_secret"])
    with deployment.gunicorn("--workers 2"), ThreadPoolExecutor(40) as pool:
        before = list(pool.map(lambda _: ask(deployment.issuer(), credentials), range(40)))
        time.sleep(10.5)  # a real quiet time: longer than 10 x SNAPSHOT_REFRESH, in which nobody asks for anything
        rotated = deployment.run("keys rotate")["rotated"][0]
        done = time.monotonic()
        burst = list(pool.map(lambda _: ask(deployment.issuer(), credentials), range(40)))
        until(lambda: time.monotonic() - done > 1 + MARGIN)  # one SNAPSHOT_REFRESH
        later = list(pool.map(lambda _: ask(deployment.issuer(), credentials), range(40)))
    assert {answer.kid for answer in before} == {rotated["retiring"]}
    # A thread of each process has looked all the while: nobody waits, and one refresh later all sign with the new key.
    assert [answer.status for answer in burst] == [200] * 40
    assert {answer.kid for answer in burst} <= {rotated["active"], rotated["retiring"]}
    assert [answer.kid for answer in later] == [rotated["active"]] * 40
