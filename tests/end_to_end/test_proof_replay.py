"""A DPoP proof is taken once by real processes on each engine, and a nonce by every one of them, over a restart too."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest
import urllib3

from realmint.testing import Prover
from tests.support.assertions import READER
from tests.support.issuer import KEK
from tests.support.operator import operator
from tests.support.process import Deployment

AT_ONCE = 50


@pytest.fixture
def deployment(tmp_path: Path, database_url: str) -> Deployment:
    return Deployment(tmp_path, DATABASE_URL=database_url, KEK=KEK, LOG_LEVEL="ERROR", SNAPSHOT_REFRESH="1")


@pytest.fixture
def secret(deployment: Deployment) -> str:
    with operator(deployment) as run:
        run("db upgrade")
        run("realms create / --dpop-nonce")
        return str(run(f"clients create svc {READER}")["client_secret"])


@pytest.mark.rfc("9449", "11.1")
def test_105_106_of_fifty_at_once_over_four_processes_one_is_let_in_and_its_nonce_outlives_them(
    deployment: Deployment, secret: str
) -> None:
    endpoint, prover = deployment.issuer() + "/access_token", Prover()
    body = urlencode({"grant_type": "client_credentials", "client_id": "svc", "client_secret": secret})

    def ask(proof: str) -> urllib3.BaseHTTPResponse:
        """Over a connection of its own, so that any process may take it."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Connection": "close", "DPoP": proof}
        with urllib3.PoolManager(retries=False, timeout=20) as pool:
            return pool.request("POST", endpoint, body=body, headers=headers)

    with deployment.production("--workers 4"), ThreadPoolExecutor(AT_ONCE) as pool:
        refused = ask(prover.proof("POST", endpoint))
        assert (refused.status, refused.json()["error"]) == (400, "use_dpop_nonce")
        nonce = refused.headers["DPoP-Nonce"]
        used = [prover.proof("POST", endpoint, nonce=nonce) for _ in range(3)]
        for proof in used:
            answers = list(pool.map(ask, [proof] * AT_ONCE))
            assert Counter(each.status for each in answers) == {200: 1, 400: AT_ONCE - 1}
            assert {each.json()["error"] for each in answers if each.status == 400} == {"invalid_dpop_proof"}
    with deployment.production(
        "--workers 2"
    ):  # which share nothing with those but the store and the key-encryption key
        assert [ask(proof).status for proof in used] == [400] * len(used)
        assert ask(prover.proof("POST", endpoint, nonce=nonce)).status == 200
