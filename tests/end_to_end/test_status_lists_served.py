"""Status lists from real servers, read as the draft says: every worker hears of a revocation, whatever it is run under."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.support.process import Deployment, post, until
from tests.support.status_reader import bit, is_cut_off, read_list, set_bits

SERVERS: dict[str, Callable[[Deployment], AbstractContextManager[Any]]] = {
    "flask run": Deployment.serving,
    "gunicorn": lambda deployment: deployment.gunicorn("--workers 3"),
    "gunicorn, preloaded": lambda deployment: deployment.gunicorn("--workers 3 --preload"),
    "gunicorn, threads": lambda deployment: deployment.gunicorn("--workers 2 --threads 4"),
}


def fetch(address: str) -> bytes:
    """On a connection of its own, so that whichever worker is free answers; from the next one where one may not."""

    def answer() -> urllib3.BaseHTTPResponse | None:
        found = urllib3.request("GET", address, headers={"Connection": "close"}, retries=False, timeout=5)
        assert found.status in (200, 503), found.data
        return found if found.status == 200 else None

    return until(answer, 10).data


@pytest.mark.parametrize("server", SERVERS)
def test_a_client_that_is_cut_off_is_so_at_every_worker_and_nobody_else_is(server: str, tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, SNAPSHOT_REFRESH="1", LOG_LEVEL="ERROR")
    secrets = {
        name: deployment.run(f"clients create {name} --scope read --default-scope read")["client_secret"]
        for name in ("victim", "other")
    }
    jwks_uri, uri = f"{deployment.issuer()}/connect/jwk_uri", f"{deployment.issuer()}/status/0"

    def tokens(name: str) -> list[str]:
        form = {"grant_type": "client_credentials"}
        answers = [post(f"{deployment.issuer()}/access_token", form, (name, secrets[name])) for _ in range(12)]
        return [str(answer.json()["access_token"]) for answer in answers]

    def cut_off(texts: list[str]) -> list[bool]:
        return [is_cut_off(text, fetch, jwks_uri) for text in texts]

    with SERVERS[server](deployment):
        hit, spared = tokens("victim"), tokens("other")
        assert not any(cut_off([*hit, *spared]))
        deployment.run("clients disable victim")
        committed = time.monotonic()
        # No worker serves a list for more than three times SNAPSHOT_REFRESH after its last look, busy or not.
        while time.monotonic() - committed < 3:
            cut_off(hit)
        assert all(cut_off(hit))
        assert not any(cut_off(spared))
        found = read_list(fetch(uri), json.loads(fetch(jwks_uri)), uri)
        assert len(set_bits(found["array"])) == 256
        assert bit(found["array"], 256) == 0
