"""A small world for the key lifecycle: one store, some nodes, verifiers that refetch rarely, and clocks that differ.

Everything but time and the network is real: nodes are issuers with their own snapshots, operators type commands,
tokens are signed and verified.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import event

from realmint.protocol import jws
from tests.support.clock import START
from tests.support.issuer import Caller, Issuer, claims

DILIGENCE = ("over_age", "prune_overdue", "clock_ahead")
"""What doctor says of operators who did nothing for long; no invariant is hurt."""
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


class TokenLost(AssertionError):
    """A token that should verify was refused."""


@dataclass(frozen=True)
class Truth:
    """How the world really is, in seconds, whatever the issuer was told: C, F, E and K of the timing table."""

    cache: int = 100
    fetch: int = 5
    clock_error: int = 30
    leeway: int = 30
    refresh: int = 2

    def settings(self, **otherwise: str) -> dict[str, str]:
        """What the issuer is told; the truth unless a test says otherwise."""
        told = {
            "SNAPSHOT_REFRESH": str(self.refresh), "JWKS_MAX_AGE": "10", "VERIFIER_CACHE_MAX": str(self.cache),
            "CLOCK_ERROR": str(self.clock_error), "VERIFIER_LEEWAY": str(self.leeway), "KEY_ROTATION_INTERVAL": "1000",
            "AUTH_FAILURES_PER_MINUTE": "0", "LOG_LEVEL": "ERROR",
        }  # fmt: skip
        return told | otherwise


@dataclass
class Time:
    """True time, and a clock that may be off."""

    world: "World"
    offset: int = 0

    def wall(self) -> int:
        return self.world.now + self.offset

    def monotonic(self) -> float:
        return float(self.world.now)


@dataclass
class Node:
    """An issuer process, cut off from the store while its link to it is gone."""

    issuer: Issuer
    link: Path
    cut_at: int | None = None
    healed_at: int = -1


@dataclass
class Verifier:
    """Holds a copy of the JWKS for as long as C, and never asks for an unknown kid."""

    offset: int
    keys: dict[str, jws.VerificationKey] = field(default_factory=dict)
    done_at: int = -(10**9)


@dataclass(frozen=True)
class Token:
    text: str = field(repr=False)
    kid: str
    issued_at: int
    exp: int


class World:
    """One run. `told`: settings in which the issuer is deceived about the truth."""

    def __init__(self, template: Path, truth: Truth, told: dict[str, str], nodes: int = 3) -> None:
        self.now = START
        self.truth = truth
        self.told = told
        self.folder = Path(
            tempfile.mkdtemp(prefix="realmint-world-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        )
        shutil.copy(template, self.store)
        self.store_clock = Time(self)
        self.operator = self._issuer("operator", self.store, self.store_clock)
        self.caller = Caller("svc", template.with_suffix(".secret").read_text())
        # As far apart from the store's clock as CLOCK_ERROR allows.
        offsets = (0, truth.clock_error, -truth.clock_error)
        self.clocks = [Time(self, offset) for offset in offsets[:nodes]]
        self.nodes = [self._node(number) for number in range(nodes)]
        self.verifiers = [Verifier(offset) for offset in offsets]
        self.tokens: list[Token] = []
        self.verified: set[tuple[str, str]] = set()
        self.materials: dict[str, Any] = {}
        self.revoked: set[str] = set()
        self.gone: set[str] = set()
        self.not_known_before: dict[str, int] = {}
        """Keys that were forced to sign, and the instant from which every verifier holds them."""

    @property
    def store(self) -> Path:
        return self.folder / "store.db"

    def close(self) -> None:
        for issuer in (self.operator, *(node.issuer for node in self.nodes)):
            issuer.runtime.close()
        shutil.rmtree(self.folder)

    def _issuer(self, name: str, database: Path, clock: Time) -> Issuer:
        return Issuer(self.folder / name, clock, f"sqlite:///{database}", **self.told)  # type: ignore[arg-type]

    def _node(self, number: int) -> Node:
        link = self.folder / f"node{number}.db"
        if not link.exists():
            link.symlink_to(self.store)
        return Node(self._issuer(f"node{number}", link, self.clocks[number]), link)

    # What operators do

    def command(self, line: str, *, expect: tuple[int, ...] = (0,)) -> Any:
        """A command by an operator; its exit code must be one of `expect`."""
        result = self.operator.command(f"{line} --json")
        assert result.exit_code in expect, (line, result.exit_code, result.output)
        answer = json.loads(result.stdout)
        if result.exit_code == 0:
            self.learn(answer)
        return answer

    def look_after(self) -> None:
        """Prunes, and after a very long silence says first that the clock is right."""
        if "error" in self.command("keys prune", expect=(0, 3)):
            self.command("keys prune --force --reason 'nobody was here'")

    def learn(self, answer: Any) -> None:
        """What a command said that it did; several of them with --all."""
        rows = answer if isinstance(answer, list) else [answer]
        for told, step in [(row, step) for row in rows for step in row.get("steps", ())]:
            if step["to"] == "revoked":
                self.revoked.add(step["kid"])
            if step["to"] in ("revoked", "retired"):
                self.gone.add(step["kid"])
            if step["to"] == "active" != step["from"]:
                self.not_known_before.pop(step["kid"], None)
                if told["forced"]:
                    self.not_known_before[step["kid"]] = self.gate(step["kid"])

    def listed(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.operator.run("keys list")
        return listed

    def key(self, number: int, state: str | None = None) -> dict[str, Any]:
        """One of the keys (in a state), by a number that may be too large; empty when there is none."""
        found = [key for key in self.listed() if state in (None, key["state"])]
        return found[number % len(found)] if found else {}

    def gate(self, kid: str) -> int:
        """When every verifier truly holds a key: not what the issuer believes."""
        shown = self.operator.run(f"keys show {kid}")
        absent = shown["last_absent_at"]
        served = 0 if absent is None else shown["published_at"] + 10 * self.truth.refresh
        return int(served + self.truth.cache + self.truth.fetch if served else 0)

    @contextmanager
    def store_clock_off(self, seconds: int) -> Iterator[None]:
        self.store_clock.offset = seconds
        try:
            yield
        finally:
            self.store_clock.offset = 0

    @contextmanager
    def breaking_at(self, statement: int) -> Iterator[None]:
        """The operator's process dies at its n-th statement that changes something."""
        seen = 0

        def count(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
            nonlocal seen
            if text.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
                seen += 1
                if seen == statement:
                    raise KeyboardInterrupt

        engine = self.operator.runtime.database.engine
        event.listen(engine, "before_cursor_execute", count)
        try:
            yield
        finally:
            event.remove(engine, "before_cursor_execute", count)

    # What nodes do

    def issue(self, number: int) -> bool:
        """A token by a node; False where it may not sign any more, being cut off for too long."""
        node = self.nodes[number]
        answer = node.issuer.token_response(self.caller)
        if answer.status_code == 503:
            assert self._out_of_touch(node), "a node that reaches its store refused to sign"
            return False
        assert answer.status_code == 200, answer.text
        text = answer.json["access_token"]
        unverified = jws.peek(text)
        kid = str(unverified.kid)
        # I3, I4: what signs is what the same node publishes, under the same name.
        jws.verify(unverified, self._served(node)[kid])
        may_lag = self._out_of_touch(node) or node.issuer.runtime.registry.age() < self.truth.refresh
        assert kid not in self.gone or may_lag, f"{kid} is gone and signs"
        self.tokens.append(Token(text, kid, self.now, claims(text)["exp"]))
        return True

    def _out_of_touch(self, node: Node) -> bool:
        """Whether it cannot read the store, or could not just now: after a failed poll the next is a second later."""
        return node.cut_at is not None or node.healed_at == self.now

    def cut(self, number: int) -> None:
        node = self.nodes[number]
        if node.cut_at is None:
            node.link.unlink()
            node.cut_at = self.now

    def heal(self, number: int) -> None:
        node = self.nodes[number]
        if node.cut_at is not None:
            node.link.symlink_to(self.store)
            node.cut_at, node.healed_at = None, self.now

    def restart(self, number: int) -> None:
        self.heal(number)
        self.nodes[number].issuer.runtime.close()
        self.nodes[number] = self._node(number)

    def _served(self, node: Node) -> dict[str, jws.VerificationKey]:
        answer = node.issuer.http.get(node.issuer.address("/connect/jwk_uri"))
        assert answer.status_code == 200, answer.text
        keys = answer.json["keys"]
        assert keys, "I6: an empty JWKS"
        for jwk in keys:
            assert not PRIVATE & jwk.keys(), "I6: a private member"
            assert self.materials.setdefault(jwk["kid"], jwk) == jwk, "I5: a kid with other material"
        return {jwk["kid"]: jws.verification_key(jwk) for jwk in keys}

    # What verifiers do

    def fetch(self, verifier: Verifier) -> None:
        """From a node that is in touch, or was a short while ago; the slowest fetch there is.

        Where no node is, C does not hold: what such a verifier knows is nobody's promise until it fetches again.
        """
        usable = [node for node in self.nodes if node.issuer.runtime.registry.age() < 10 * self.truth.refresh
                  or node.cut_at is None]  # fmt: skip
        if not usable:
            return
        # The one whose knowledge is oldest.
        node = max(usable, key=lambda node: (node.cut_at is not None, node.issuer.runtime.registry.age()))
        verifier.keys = self._served(node)
        verifier.done_at = self.now + self.truth.fetch

    def check(self) -> None:
        """I1: every live token of a key that was not revoked verifies, whoever looks at it."""
        for verifier in self.verifiers:
            if self.now >= verifier.done_at + self.truth.cache:
                self.fetch(verifier)
        self.tokens = [token for token in self.tokens if self.now <= token.exp + 2 * self.truth.leeway]
        for token in self.tokens:
            if token.kid in self.revoked or self.now < self.not_known_before.get(token.kid, 0):
                continue
            for verifier in self.verifiers:
                outdated = self.now >= verifier.done_at + self.truth.cache
                if outdated or self.now + verifier.offset >= token.exp + self.truth.leeway:
                    continue
                key = verifier.keys.get(token.kid)
                if key is None:
                    raise TokenLost(f"{token} at {self.now} is refused by {verifier.offset}")
                if (token.text, key.thumbprint) not in self.verified:
                    jws.verify(jws.peek(token.text), key)
                    self.verified.add((token.text, key.thumbprint))

    def sound(self) -> None:
        """I2, I5, I7 to I10 in the store, as doctor sees them; what depends on diligence is left to operators."""
        result = self.operator.command("keys doctor --json")
        findings = [each for each in json.loads(result.stdout) if each["check"] not in DILIGENCE]
        assert findings == [], findings
        kids = {key["kid"] for key in self.listed()}
        assert not kids & self.gone, "I5: a dead key came back"


def template(folder: Path, truth: Truth) -> Path:
    """A store with the root realm and a client, to be copied for each run."""

    class Still:
        now = START

        def wall(self) -> int:
            return START

        def monotonic(self) -> float:
            return 0.0

    database = folder / "template.db"
    issuer = Issuer(folder / "instance", Still(), f"sqlite:///{database}", **truth.settings())  # type: ignore[arg-type]
    issuer.run("db upgrade")
    issuer.run("realms create / --access-token-lifetime 60 --max-access-token-lifetime 60")
    caller = issuer.client(options="--scope read --default-scope read")
    issuer.runtime.close()
    database.with_suffix(".secret").write_text(caller.secret)
    return database
