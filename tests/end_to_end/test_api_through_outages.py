"""An API whose issuer is really stopped, slowed, made to talk nonsense, killed and started again.

Good tokens go on, nothing is 401 that should be 503, and all comes back by itself. The APIs are as their authors would
make them, but that what they hold ages within seconds.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from realmint import Introspection, KeyPolicy, ResourceServer, StatusPolicy, TokenError
from tests.support.forge import Forge
from tests.support.issuer import KEK
from tests.support.operator import operator
from tests.support.process import Deployment, post, until
from tests.support.relay import Relay, relay

HASTY = StatusPolicy(ttl=1, min_ttl=1, max_ttl=1)
KINDS = {
    "as it comes": {},
    "stale after a second": {"keys": KeyPolicy(ttl=1, min_ttl=1, max_ttl=1, max_back_off=2), "status": HASTY},
    "dead after three": {
        "keys": KeyPolicy(ttl=1, min_ttl=1, max_ttl=1, max_back_off=2, stale_limit=3),
        "status": HASTY,
    },
}
NONSENSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
AT_ONCE = 0.5
"""Seconds, on a busy machine, for what takes microseconds."""


def said(api: ResourceServer, token: str) -> str:
    """Nothing where the token is let in, else status and reason."""
    try:
        api.validate(token)
    except TokenError as error:
        return f"{error.status} {error.reason}"
    return ""


@dataclass
class Caller:
    """Sends one good token again and again from a thread of its own."""

    api: ResourceServer
    token: str
    answers: list[tuple[float, float, str]] = field(default_factory=list)
    """When each call began, how long it took, and what was said."""

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            began = time.monotonic()
            answer = said(self.api, self.token)
            self.answers.append((began, time.monotonic() - began, answer))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(20)

    def slow(self, since: float) -> list[float]:
        return [took for began, took, _ in self.answers if began >= since and took > AT_ONCE]

    def said(self, since: float) -> set[str]:
        return {answer for began, _, answer in self.answers if began >= since}


class World:
    """An issuer, the second way to it, and an API of each kind on either way, with a caller."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.issuer = Deployment(folder, KEK=KEK, LOG_LEVEL="ERROR")
        run = stack.enter_context(operator(self.issuer))
        run("db upgrade")
        run("realms create / --if-missing")
        secret = run("clients create svc --scope read --default-scope read")["client_secret"]
        self.asker = run(f"clients create api --resource-identifier {self.issuer.issuer()}")["client_secret"]
        self.run = run
        self._serving = ExitStack()
        stack.callback(self.kill)
        self.start()
        answer = post(f"{self.issuer.issuer()}/access_token", {"grant_type": "client_credentials"}, ("svc", secret))
        self.token = str(answer.json()["access_token"])
        self.relay: Relay = stack.enter_context(relay(("127.0.0.1", self.issuer.port)))
        self.callers = {}
        for way, at in (("straight", None), ("relayed", f"http://127.0.0.1:{self.relay.port}")):
            for kind, options in KINDS.items():
                api = ResourceServer(self.issuer.issuer(), self.issuer.issuer(), reach_at=at, **options)
                stack.callback(api.close)
                caller = self.callers[f"{kind}, {way}"] = Caller(api, self.token)
                stack.callback(caller.stop)
        until(self.all_well)

    def start(self) -> None:
        self.server = self._serving.enter_context(self.issuer.gunicorn("--workers 2"))

    def signal(self, number: int) -> None:
        os.killpg(self.server.pid, number)

    def kill(self) -> None:
        if self.server.poll() is None:
            self.signal(signal.SIGKILL)
            self.server.wait(10)
        self._serving.close()

    def all_well(self) -> bool:
        return all(each.answers and not each.answers[-1][2] for each in self.callers.values())

    def stranger(self) -> str:
        """A token of a key that nobody knows, and which may have come into use a moment ago."""
        now = int(time.time())
        forge = Forge(issuer=self.issuer.issuer())
        return forge.token(iat=now, nbf=now, exp=now + 600, aud=self.issuer.issuer())

    def check(self, since: float, name: str, *, waits: int, dead: bool) -> None:
        """What a caller was told since then: good tokens went on, `waits` calls at most took their share of one wait."""
        caller = self.callers[name]
        told = caller.said(since)
        assert told <= ({"", "503 keys_unreachable"} if dead and name.startswith("dead") else {""}), name
        if not name.startswith("dead"):  # of whose tokens nobody can tell until the issuer answers
            slow = caller.slow(since)
            assert len(slow) <= waits, (name, slow)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


def in_child(work: "World") -> str:
    """What a forked child says of the good token with each of the APIs, within ten seconds."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        answers = [said(caller.api, work.token) for name, caller in work.callers.items() if "dead" not in name]
        os.write(write, ";".join(answers).encode() + b".")
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answered = pipe.read().decode()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return answered


def outage(world: World, *, waits: int) -> None:
    """Four seconds of it, until the keys of some are stale and of others dead; then what was said is checked."""
    since = time.monotonic()
    stranger = world.stranger()
    names = [name for name in world.callers if name.endswith("straight")]
    refused = {name: said(world.callers[name].api, stranger) for name in names}
    until(lambda: world.callers["dead after three, straight"].answers[-1][2], 15)
    refused_later = {name: said(world.callers[name].api, stranger) for name in names}
    assert {*refused.values(), *refused_later.values()} == {"503 keys_unreachable"}
    for name in names:
        world.check(since, name, waits=waits, dead=True)
    assert world.callers["stale after a second, straight"].api.health()["keys"]["state"] == "stale"
    assert world.callers["dead after three, straight"].api.health()["keys"]["state"] == "dead"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_166_172_174_200_good_tokens_go_on_while_the_issuer_is_stopped_killed_and_started_again(world: World) -> None:
    asking = ResourceServer(
        world.issuer.issuer(), world.issuer.issuer(), introspection=Introspection("api", world.asker, mode="live")
    )
    assert said(asking, world.token) == ""
    # It takes connections, and answers none: whoever calls while keys or a list are past their ttl waits once for each.
    world.signal(signal.SIGSTOP)
    outage(world, waits=2)
    assert said(asking, world.token) == "503 introspection_unreachable"
    assert in_child(world) == ";;;."
    world.signal(signal.SIGCONT)
    until(world.all_well)
    # Nobody takes connections: that is known at once, and nobody waits.
    world.kill()
    outage(world, waits=0)
    cold = ResourceServer(world.issuer.issuer(), world.issuer.issuer())
    assert said(cold, world.token) == "503 keys_unreachable"
    assert said(asking, world.token).startswith("503 introspection")
    assert in_child(world) == ";;;."
    world.start()
    until(world.all_well)
    until(lambda: not said(cold, world.token))
    until(lambda: not said(asking, world.token), 35)
    for api in (cold, asking):
        api.close()


@pytest.mark.soak
def test_165_166_167_good_tokens_go_on_while_answers_are_late_or_nonsense_and_a_revoked_key_is_heard_of(
    world: World,
) -> None:
    names = [name for name in world.callers if name.endswith("relayed")]
    for delay, says in ((0.6, None), (0.0, NONSENSE)):
        since = time.monotonic()
        world.relay.delay, world.relay.says = delay, says
        stale = world.callers["stale after a second, relayed"]
        seen = len(stale.answers)
        until(lambda: stale.answers[-1][0] > since + 4 and len(stale.answers) > seen, 20)  # noqa: B023
        for name in names:
            # Each look takes longer than is left of a list's second, and whoever calls then waits for it.
            world.check(since, name, waits=0 if says else 99, dead=True)
    world.relay.delay, world.relay.says = 0.0, None
    until(world.all_well)
    kid = next(key["kid"] for key in world.run("keys list") if key["state"] == "active")
    world.run(f"keys revoke {kid} --yes --reason leaked")
    until(lambda: all(each.answers[-1][2] == "401 key_unknown" for each in world.callers.values()), 25)
    assert all(each.said(0) <= {"", "503 keys_unreachable", "401 key_unknown"} for each in world.callers.values())
