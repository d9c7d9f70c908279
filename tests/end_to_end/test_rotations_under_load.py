"""Two nodes under load, rotation after rotation as soon as the gate allows, then a leak: no verifier refuses a token.

The soak of keys.md section 6 test 3: every token is checked by every kind of verifier when it is issued, and a sample
of them again and again until it expires, while old keys are pruned away.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.support import postgres
from tests.support.issuer import KEK, claims
from tests.support.load import Answer, Load, ask
from tests.support.process import Deployment, post, until
from tests.support.verifiers import Verifier, WithJoserfc, refetching

REFRESH, CACHE, LEEWAY, LIFETIME = 1, 4, 1, 10
GATE = 10 * REFRESH + CACHE + 5
EXPOSURE = REFRESH + CACHE + 5
MARGIN = 1.5
"""Seconds on top of a bound, for two busy cores."""
SETTINGS = {
    "SNAPSHOT_REFRESH": str(REFRESH), "JWKS_MAX_AGE": "1", "VERIFIER_CACHE_MAX": str(CACHE), "CLOCK_ERROR": "1",
    "VERIFIER_LEEWAY": str(LEEWAY), "KEK": KEK, "LOG_LEVEL": "WARNING",
}  # fmt: skip
SAMPLE = 25


@dataclass
class Checks:
    """Every verdict on every token. A refusal that comes after the end of a token is none."""

    verifiers: Sequence[Verifier]
    done: Counter[str] = field(default_factory=Counter)
    again: int = 0
    refused: list[tuple[str, str, Exception]] = field(default_factory=list)
    """kid, verifier and why."""
    _kept: list[str] = field(default_factory=list)
    _counted: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def issued(self, answer: Answer) -> None:
        """Checks a token the moment it is there, and keeps one in SAMPLE for later."""
        if not answer.token:
            return
        self.check(answer.token, answer.kid)
        self._counted += 1
        if self._counted % SAMPLE == 0:
            self._kept.append(answer.token)

    def check(self, token: str, kid: str) -> None:
        for verifier in self.verifiers:
            try:
                verifier.check(token)
            except Exception as error:
                if time.time() < claims(token)["exp"] + LEEWAY:
                    self.refused.append((kid, verifier.NAME, error))
            else:
                self.done[verifier.NAME] += 1

    @contextmanager
    def rechecking(self) -> Iterator[None]:
        """Checks what was kept every second, up to its end and the leeway that a verifier has beyond it."""
        thread = threading.Thread(target=self._recheck)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(30)

    def _recheck(self) -> None:
        while not self._stop.wait(1):
            self._kept = [token for token in self._kept if time.time() < claims(token)["exp"] + LEEWAY]
            for token in tuple(self._kept):
                self.check(token, Answer(0, 0, "", 200, "", token).kid)
                self.again += 1

    def refusals_but_of(self, *kids: str) -> list[tuple[str, str, Exception]]:
        return [refusal for refusal in self.refused if refusal[0] not in kids]


class Cluster:
    """Two nodes of two processes each on one PostgreSQL, and the commands of an operator."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.one = Deployment(folder / "one", DATABASE_URL=database_url, **SETTINGS)
        self.two = Deployment(folder / "two", DATABASE_URL=database_url, **SETTINGS, BASE_URL=self.one.base_url)
        self.issuer = self.one.issuer()
        self.nodes = [f"http://127.0.0.1:{node.port}/oauth2/realms/root" for node in (self.one, self.two)]
        self.one.run("db upgrade")
        self.one.run(f"realms create / --access-token-lifetime {LIFETIME} --max-access-token-lifetime {LIFETIME}")
        made = self.one.run("clients create svc --scope read --default-scope read")
        self.credentials = ("svc", made["client_secret"])
        self.pruned: set[str] = set()

    @contextmanager
    def serving(self) -> Iterator[None]:
        with self.one.gunicorn("--workers 2"), self.two.gunicorn("--workers 2 --preload"):
            yield

    def rotate(self, just_before: Callable[[], None]) -> str:
        """The key that signs after the next rotation, as soon as the gate allows; keys are pruned while it does not."""
        while True:
            just_before()
            result = self.one.command("keys rotate --json")
            told = json.loads(result.stdout)
            if result.returncode == 0:
                return str(told["rotated"][0]["active"])
            assert result.returncode == 3, result.stdout + result.stderr
            assert 0 < told["retry_after"] <= GATE
            self.prune_for(told["retry_after"])

    def prune_for(self, seconds: float) -> None:
        """Exactly so long, with a prune every few seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if left > 3:
                self.prune()
            time.sleep(min(3, max(0, end - time.monotonic())))

    def prune(self) -> set[str]:
        """Takes away what may go; all that went so far."""
        self.pruned |= {step["kid"] for step in self.two.run("keys prune")["steps"]}
        return self.pruned

    def kids(self, node: str) -> set[str]:
        """What one process of a node publishes, over a connection of its own."""
        answer = urllib3.request("GET", f"{node}/connect/jwk_uri", headers={"Connection": "close"}, retries=False)
        assert answer.status == 200, answer.data
        return {key["kid"] for key in answer.json()["keys"]}

    def active(self, node: str, token: str) -> bool:
        answer = post(f"{node}/introspect", {"token": token}, self.credentials)
        assert answer.status == 200, answer.data
        return bool(answer.json()["active"])


@contextmanager
def watching_keys(cluster: Cluster) -> Iterator[list[tuple[float, str, set[str]]]]:
    """When which node published what, asked all the time: instant of asking, node, kids."""
    seen: list[tuple[float, str, set[str]]] = []
    stop = threading.Event()

    def watch(node: str) -> None:
        while not stop.wait(0.02):
            asked = time.monotonic()
            seen.append((asked, node, cluster.kids(node)))

    threads = [threading.Thread(target=watch, args=(node,)) for node in cluster.nodes]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


@pytest.mark.parametrize("rotations", [2, pytest.param(20, marks=pytest.mark.soak)])
def test_184_187_rotations_under_load_and_then_a_leak_cost_no_verifier_a_token(
    tmp_path: Path,
    postgres_server: postgres.Server,
    rotations: int,
    capsys: pytest.CaptureFixture[str],
    record_property: Any,
) -> None:
    cluster = Cluster(tmp_path, postgres_server.url(postgres_server.create_database()))
    with cluster.serving():
        jwks = [f"{node}/connect/jwk_uri" for node in cluster.nodes]
        stubborn = WithJoserfc(jwks, cluster.issuer, CACHE, LEEWAY, stubborn=True)
        checks = Checks([*refetching(jwks, cluster.issuer, CACHE, LEEWAY), stubborn])
        load = Load(cluster.nodes, cluster.credentials, checks.issued)
        with load.running(), checks.rechecking():
            until(lambda: len(load.answers) > 50)
            # Fetched just before a rotation, the stubborn one's copy misses the standby that this makes for longest.
            promoted = [cluster.rotate(stubborn.fetch) for _ in range(rotations)]
            if rotations > 2:
                # The standby may sign by now, and takes the place of the revoked key; in the short run it is too
                # young, and the newest retiring key does.
                cluster.prune_for(GATE)
            figures = leak(cluster, load, checks, promoted[-1])
            until(cluster.prune, 20)
        assert load.failed == []
        assert checks.refusals_but_of(promoted[-1]) == []
        # Every key signed in its time, and those whose tokens have died are gone.
        signed = {answer.kid for answer in load.answers}
        assert signed >= set(promoted)
        assert cluster.pruned
        until(
            lambda: all(cluster.pruned.isdisjoint(cluster.kids(node)) for node in cluster.nodes * 6), REFRESH + MARGIN
        )
        assert cluster.two.run("keys doctor") == []
        a_key_that_signs_before_its_gate_is_refused_by_who_does_not_refetch(cluster)
    figures |= {
        "rotations": rotations,
        "tokens": len(load.answers),
        "failed token requests": len(load.failed),
        "verifications": dict(checks.done),
        "of them later again (tokens x verifiers)": checks.again * len(checks.verifiers),
        "refusals": len(checks.refusals_but_of(promoted[-1])),
        "pruned": len(cluster.pruned),
    }
    record_property("figures", figures)
    with capsys.disabled():
        print(f"\n{json.dumps(figures, indent=2)}")


def leak(cluster: Cluster, load: Load, checks: Checks, kid: str) -> dict[str, Any]:
    """#184: the active key is revoked. What came of it, in seconds after the command returned (below 0: before)."""
    of_it = until(
        lambda: len(found := [answer.token for answer in load.answers[-40:] if answer.kid == kid]) > 20 and found
    )
    assert all(cluster.active(node, of_it[-1]) for node in cluster.nodes)
    with watching_keys(cluster) as published:
        until(lambda: {node for _, node, kids in published if kid in kids} == set(cluster.nodes))
        assert checks.refused == []  # of any key, this one too: from here on it is refused rightly
        typed = time.monotonic()
        revoked = cluster.one.run(f"keys revoke {kid} --reason drill --yes")
        done = time.monotonic()
        assert not any(cluster.active(node, token) for token in of_it for node in cluster.nodes)
        others = until(lambda: of_other_keys(load, kid))
        assert all(cluster.active(node, token) for token in others for node in cluster.nodes)
        until(lambda: len(load.since(done + REFRESH + MARGIN)) > 100)
    successor = revoked["active"][0]
    assert revoked["revoked"] == [kid]
    stopped = max([answer.started - done for answer in load.answers if answer.kid == kid])
    dropped = max([asked - done for asked, _, kids in published if kid in kids])
    assert stopped <= REFRESH + MARGIN
    assert dropped <= REFRESH + MARGIN
    assert {answer.kid for answer in load.since(done + REFRESH + MARGIN)} == {successor}
    # The bound that the command prints, for verifiers that hold a copy; the token itself lives longer.
    newest = [answer.token for answer in load.answers if answer.kid == kid][-1]
    until(
        lambda: not any(accepts(verifier, newest) for verifier in checks.verifiers), done + EXPOSURE - time.monotonic()
    )
    refused = time.monotonic() - done
    assert time.time() < claims(newest)["exp"]
    return {
        "seconds that the command took": round(done - typed, 2),
        "seconds until nothing was signed with the revoked key": round(stopped, 2),
        "seconds until no JWKS held it": round(dropped, 2),
        "seconds until no verifier accepted it": round(refused, 2),
        "successor": "the standby" if revoked["note"] is None else revoked["note"],
    }


def of_other_keys(load: Load, kid: str) -> list[str]:
    """Five tokens that another key than this one signed, before it was revoked or since, and that live on for a while."""
    found = [answer.token for answer in load.answers[-3000:] if answer.token and answer.kid != kid]
    living = [token for token in found if claims(token)["exp"] > time.time() + 5]
    return living[-5:] if len(living) >= 5 else []


def accepts(verifier: Verifier, token: str) -> bool:
    try:
        verifier.check(token)
    except Exception:
        return False
    return True


def a_key_that_signs_before_its_gate_is_refused_by_who_does_not_refetch(cluster: Cluster) -> None:
    """The proof that the run could have failed: past the gate twice, and the stubborn one refuses."""
    stubborn = WithJoserfc([f"{cluster.nodes[0]}/connect/jwk_uri"], cluster.issuer, 3600, LEEWAY, stubborn=True)
    checks = Checks([stubborn])
    checks.issued(ask(cluster.nodes[0], cluster.credentials))
    assert checks.refused == []
    for _ in range(2):
        newest = cluster.one.run("keys rotate --force --reason drill")["rotated"][0]["active"]
    answer = until(lambda: (found := ask(cluster.nodes[0], cluster.credentials)).kid == newest and found)
    checks.issued(answer)
    assert [(kid, name) for kid, name, _ in checks.refused] == [(newest, "stubborn")]
