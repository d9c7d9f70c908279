"""An address of keys that hangs, flooded with assertions, at a real server: nobody else waits for it."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import urllib3

from realmint.protocol import system_clock
from tests.support.assertions import FORMS, READER, Signer, form
from tests.support.operator import operator
from tests.support.process import Deployment, post, until
from tests.support.publisher import answering, hangs

FLOOD = 200
WAIT = 1.5
"""Seconds that who needs such keys waits for them."""


@contextmanager
def served(folder: Path, internal: str) -> Iterator[Deployment]:
    deployment = Deployment(folder, INTERNAL_HOSTS=internal, LOG_LEVEL="ERROR", AUTH_FAILURES_PER_MINUTE="0")
    with deployment.production("--workers 1"):
        until(lambda: urllib3.request("GET", deployment.issuer() + "/connect/jwk_uri").status == 200)
        yield deployment


def test_83_two_hundred_assertions_for_keys_that_hang_hold_up_nobody_elses_token(tmp_path: Path) -> None:
    with answering(hangs) as bare, served(tmp_path, bare.internal) as deployment, operator(deployment) as run:
        issuer = deployment.issuer()
        secret = run(f"clients create svc {READER}")["client_secret"]
        for name in ("stuck", "keyed"):
            run(f"clients create {name} --auth-method private_key_jwt {READER}")
        stuck, keyed = Signer("stuck", audience=issuer), Signer("keyed", audience=issuer)
        run(f"clients keys add stuck --jwks-uri {bare.jwks_uri}")
        (tmp_path / "key.json").write_text(json.dumps(keyed.public_jwk()))
        run(f"clients keys add keyed {tmp_path / 'key.json'}")

        def flood(signer: Signer) -> int:
            return post(
                issuer + "/access_token", FORMS["/access_token"] | form(signer.assertion(system_clock()))
            ).status

        def other() -> float:
            """How long a token by a secret and one by a key of its own take together."""
            begun = time.monotonic()
            assert post(issuer + "/access_token", FORMS["/access_token"], ("svc", secret)).status == 200
            assert flood(keyed) == 200
            return time.monotonic() - begun

        other()
        slowest: list[float] = []
        with ThreadPoolExecutor(50) as pool:
            asked = [pool.submit(flood, stuck) for _ in range(FLOOD)]
            until(lambda: bare.asked)
            while not all(each.done() for each in asked):
                slowest.append(other())
            answers = Counter(each.result() for each in asked)
        assert answers == {503: FLOOD}
        assert len(slowest) >= 3, "others were answered all the while"
        assert max(slowest) < WAIT, "and none of them waited as long as one that needs what hangs"
        assert len(bare.asked) <= 3
