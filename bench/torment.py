"""One API that goes on while its real issuer is killed, stopped, started, rotates and disables; for bench.library."""

import base64
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from realmint import HTTPTransport, KeyPolicy, ResourceServer, TokenError
from realmint.messages import Request, Response
from tests.support.process import Deployment, post

AUDIENCE = "https://orders.example"


class Counting:
    """A transport that counts."""

    def __init__(self) -> None:
        self.sent = 0
        self._transport = HTTPTransport()

    def __call__(self, request: Request) -> Response:
        self.sent += 1
        return self._transport(request)


@dataclass
class Issuer:
    """A real one, with a client for the API in each algorithm."""

    deployment: Deployment
    secrets: dict[str, str] = field(default_factory=dict)

    def prepare(self, realm: str, alg: str) -> None:
        if realm != "/":
            self.deployment.run_apart(f"realms create {realm} --alg {alg}")
        may = f"--scope orders:read --audience {AUDIENCE} --default-audience {AUDIENCE}"
        self.secrets[realm] = self.deployment.run_apart(f"clients create svc --realm {realm} {may}")["client_secret"]

    def name(self, realm: str = "/") -> str:
        return self.deployment.issuer(realm)

    def token(self, realm: str = "/") -> str:
        form = {"grant_type": "client_credentials", "scope": "orders:read"}
        answer = post(f"{self.name(realm)}/access_token", form, ("svc", self.secrets[realm]))
        return str(answer.json()["access_token"])


@dataclass
class Phase:
    """What a good token met while something went on."""

    name: str
    times: list[float]
    refused: int
    first_refused: float | None
    fetches: int
    more: str = ""


class Torment:
    """One API under load, phase by phase."""

    def __init__(self, issuer: Issuer, seconds: float) -> None:
        self.issuer = issuer
        self.seconds = seconds
        self.transport = Counting()
        # Keys are fetched anew all the time, so that every phase meets a refresh.
        policy = KeyPolicy(ttl=1, min_ttl=1, max_ttl=1)
        self.api = ResourceServer(issuer.name(), AUDIENCE, keys=policy, transport=self.transport)
        self.token = issuer.token()
        self.api.validate(self.token)
        self.phases: list[Phase] = []

    def phase(self, name: str, more: str = "") -> Phase:
        """A good token, again and again, as a server would: a little every millisecond."""
        sent, times, refused, first_refused = self.transport.sent, [], 0, None
        began = time.perf_counter()
        while time.perf_counter() < began + self.seconds:
            started = time.perf_counter()
            try:
                self.api.validate(self.token)
            except TokenError:
                refused += 1
                first_refused = first_refused or time.perf_counter() - began
            times.append(time.perf_counter() - started)
            time.sleep(0.0005)  # calls come one after another and not in a stream, as at a server
        self.phases.append(Phase(name, times, refused, first_refused, self.transport.sent - sent, more))
        return self.phases[-1]

    @contextmanager
    def flood(self) -> Iterator[list[int]]:
        """10,000 tokens with made-up key names over 8 threads."""
        head, body, signature = self.token.split(".")
        header = json.loads(base64.urlsafe_b64decode(head + "=="))
        statuses: list[int] = []

        def some(first: int) -> None:
            for number in range(first, first + 1250):
                made_up = json.dumps({**header, "kid": f"made-up-{number}"}).encode()
                text = base64.urlsafe_b64encode(made_up).rstrip(b"=").decode()
                try:
                    self.api.validate(f"{text}.{body}.{signature}")
                except TokenError as error:
                    statuses.append(error.status)

        threads = [threading.Thread(target=some, args=(first,)) for first in range(0, 10_000, 1250)]
        for thread in threads:
            thread.start()
        yield statuses
        for thread in threads:
            thread.join()


def torment(issuer: Issuer, start: Callable[[], Any], seconds: float) -> list[Phase]:
    """T3, T4, T5, T7."""
    with start() as server:
        run = Torment(issuer, seconds)
        run.phase("all is well")
        os.killpg(server.pid, signal.SIGSTOP)
        run.phase("the issuer hangs")
        os.killpg(server.pid, signal.SIGCONT)
        with run.flood() as statuses:
            phase = run.phase("a flood of 10,000 made-up key names")
        phase.more = f"refused {len(statuses)}: {sorted(set(statuses))}"
        issuer.deployment.run_apart("keys rotate --force --reason bench")
        run.phase("keys rotate")
        child_says = beside_a_child(run)
        run.phases[-1].more = f"the child: {child_says}"
        os.killpg(server.pid, signal.SIGKILL)
    run.phase("the issuer is killed")
    with start():
        run.phase("it is back")
        issuer.deployment.run_apart("clients disable svc")
        run.seconds = max(seconds, 14)  # as long as it may take
        phase = run.phase("its client is disabled")
        phase.more = (
            f"refused {phase.first_refused:.1f} s after the command" if phase.first_refused else "never refused"
        )
    run.api.close()
    return run.phases


def beside_a_child(run: Torment) -> str:
    """A phase in this process while a forked child has one of its own; what came of that."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        found = run.phase("the child's")
        os.write(write, f"{len(found.times)} calls, {found.refused} refused".encode())
        os._exit(0)
    os.close(write)
    run.phase("a forked child validates too")
    said = os.read(read, 100).decode() or "died"
    os.waitpid(child, 0)
    return said


def print_phases(phases: list[Phase]) -> None:
    print(f"\n{'a good token while':36}{'calls':>7}{'p50 µs':>8}{'p99 µs':>8}{'max ms':>8}{'refused':>9}{'fetches':>9}")
    for phase in phases:
        times = sorted(phase.times)
        p50, p99 = (times[int(len(times) * part)] * 1e6 for part in (0.5, 0.99))
        row = f"{phase.name:36}{len(times):7}{p50:8.0f}{p99:8.0f}{times[-1] * 1e3:8.1f}{phase.refused:9}"
        print(f"{row}{phase.fetches:9}  {phase.more}".rstrip())
