"""Issuers with views of their own on one store, what they issue, and how a change of it is told to the model."""

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from issuer import opaque
from issuer.admin import restore
from issuer.admin.change import Administration
from issuer.storage import changes, tables
from issuer.storage.changes import Moment
from issuer.storage.tokens import TokenState
from keys.audit import Actor
from tests.support.clock import START
from tests.support.issuer import Caller, Issuer, claims
from tests.support.slots_model import Model, Past, Process, SecretThere, Token, Wrong

ACTOR = Actor("machine", "op", "random")
PATHS = ("/x", "/y")
MOST_BACK = 3600
"""Seconds that a clock goes back at most: a row of a revoked token stays for as long after its expiry."""
MOST_STALE = 1800
"""Seconds after which each process has polled: one that hears nothing issues nothing long before that."""

State = Callable[[Connection, int, str, int, str | None, str], TokenState | None]
"""What is asked of the store: realm_id, jti, index, kid and client_id of the token."""


def one_at_a_time(_: "Nodes", act: Callable[[], object]) -> None:
    act()


def restored(administration: Administration) -> None:
    restore.after_restore(administration, (), ACTOR)


@dataclass(frozen=True)
class Rules:
    """What decides, so that a test can break it: whether a token lives, and what a restore does.

    after_kill: in its transaction's wake, what is undone of it. change: makes an administrator's change happen.
    """

    state: State | None = None
    after_kill: Callable[[Connection], None] | None = None
    restore: Callable[[Administration], None] = restored
    change: Callable[["Nodes", Callable[[], object]], None] = one_at_a_time


class Wall:
    """One wall clock for all; each process's other clock stands still, so that none looks unless it is told to."""

    def __init__(self) -> None:
        self.now = START

    def wall(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return 0.0


@dataclass(frozen=True)
class Backup:
    file: Path
    past: Past
    generation: int


class Node(Process):
    """A process: an issuer, and what the model knows of it.

    generation: of the last change that it heard of. stopped: it knows that history went back, and not yet of the rest.
    """

    def __init__(self, issuer: Issuer) -> None:
        super().__init__()
        self.issuer = issuer
        self.generation = 0
        self.stopped = False
        self.heard_at = START

    def look(self) -> bool:
        """Whether it may go on: no older backup is in the place of what it knew."""
        self.issuer.runtime.registry._lookout.look()
        self.stopped = self.issuer.runtime.registry.measures().restore_pending
        return not self.stopped

    @property
    def has_looked(self) -> bool:
        """Whether it has heard of something since it was last told to."""
        moment = self.issuer.runtime.registry._cache.moment
        pending = self.issuer.runtime.registry.measures().restore_pending
        return pending is not self.stopped or moment is None or moment.generation != self.generation

    def poll(self, world: "Nodes") -> None:
        if not self.look():
            world.restore_again()
            assert self.look(), "nothing is pending"
        self.generation = world.moment().generation
        self.heard_at = world.clock.now
        self.hears(world.model.changes, world.model.events)


class Nodes:
    def __init__(self, template: Path, rules: Rules, processes: int = 3) -> None:
        shm = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="realmint-slots-", dir=shm if shm.is_dir() else None))
        self.store = self.folder / "store.db"
        shutil.copy(template, self.store)
        self.clock = Wall()
        self.rules = rules
        self.model = Model()
        self.processes = [Node(self._issuer(f"node{number}")) for number in range(processes)]
        self.operator = self._issuer("operator")
        self.admin = self.operator.runtime.administration
        self.backups: dict[int, Backup] = {}
        self._told: Moment | None = self.moment()
        self._restored_at = [0]
        self.everybody_polls()

    def close(self) -> None:
        for issuer in (self.operator, *(process.issuer for process in self.processes)):
            issuer.runtime.close()
        shutil.rmtree(self.folder)

    def _issuer(self, name: str) -> Issuer:
        settings = {"AUTH_FAILURES_PER_MINUTE": "0", "LOG_LEVEL": "ERROR"}
        return Issuer(self.folder / name, self.clock, f"sqlite:///{self.store}", **settings)  # type: ignore[arg-type]

    def everybody_polls(self) -> None:
        for process in self.processes:
            process.poll(self)

    def moment(self) -> Moment:
        with self.operator.runtime.database.read() as connection:
            return changes.now_at(connection)

    def step(self, seconds: int) -> None:
        for process in self.processes:
            if self.clock.now + seconds > process.heard_at + MOST_STALE:
                process.poll(self)
        self.model.latest = max(self.model.latest, self.clock.now)
        self.clock.now = max(self.clock.now + seconds, self.model.latest - MOST_BACK)
        self.model.latest = max(self.model.latest, self.clock.now)

    def _change(self, act: Callable[[], object], about: tuple[str, str | None] | None, *killed: object) -> None:
        """Somebody changes something, and everybody who asks is told of what it is `about`, and of dead rows beside."""
        self.rules.change(self, act)
        with self.operator.runtime.database.read() as connection:
            self._told, rows = changes.since(connection, self._told)
            paths = {row.id: row.path for row in connection.execute(select(tables.realms.c.id, tables.realms.c.path))}
        told = [(paths.get(realm_id or 0), name) for realm_id, name in rows] if rows is not None else [(None, None)]
        self.model.happened([*told, *([about] if about else [])], *killed)
        if killed and self.rules.after_kill is not None:
            with self.operator.runtime.database.change() as connection:
                self.rules.after_kill(connection)

    def _remade(self, *paths: str) -> None:
        self.model.remade |= dict.fromkeys(paths, self.model.events)

    # What was there before

    def back_up(self, number: int) -> None:
        """As an operator does it: SQLite's own copy, which may be taken while processes work."""
        file = self.folder / f"backup{number}.db"
        with closing(sqlite3.connect(self.store)) as source, closing(sqlite3.connect(file)) as copy:
            source.backup(copy)
        self.backups[number] = Backup(file, self.model.remember(), self.moment().generation)

    def put_back(self, backup: Backup) -> None:
        """The copy takes the place of the database, whose log goes with it."""
        fresh = self.folder / "fresh.db"
        shutil.copyfile(backup.file, fresh)
        for suffix in ("-wal", "-shm"):
            self.store.with_name(self.store.name + suffix).unlink(missing_ok=True)
        fresh.rename(self.store)
        self.model.go_back_to(backup.past)

    def after_restore(self) -> None:
        self._restored_at.append(self.clock.now)
        self.rules.restore(self.admin)
        self._told = self.moment()
        self.model.all_killed()
        self._remade(*PATHS)

    def restore_again(self) -> None:
        """A process finds that history went back, though somebody has seen to it: its clock had not moved on."""
        if self._restored_at[-1] > max(self._restored_at[:-1]):
            raise Wrong("a process will not go on after a restore")
        self.after_restore()

    # Tokens

    def secrets(self, path: str | None = None) -> Sequence[SecretThere]:
        there = [realm for realm in self.model.realms.values() if path in (None, realm.path)]
        return [secret for realm in there for client in realm.clients.values() for secret in client.secrets]

    def issue(self, process: Node, secret: SecretThere) -> Token | None:
        """A token, if the process gives one; it must, where it has heard of everything and nothing speaks against it."""
        client = secret.client
        response = process.issuer.token_response(Caller(client.name, secret.text, client.realm.path))
        read_at, read_by = process.reads(client.realm.path, client.name, self.model.events)
        usable = self.model.usable(secret, self.clock.now)
        if process.polled_at == self.model.events and (response.status_code == 200) is not usable:
            raise Wrong(f"{response.status_code} for {secret}, which is {'' if usable else 'not '}usable")
        if response.status_code != 200:
            return None
        text = response.json["access_token"]
        said = self.stored(text) if opaque.is_opaque(text) else claims(text)
        token = Token(text, secret, said["jti"], said["iat"], said["exp"], read_at, read_by)
        self.model.tokens.append(token)
        return token

    def stored(self, text: str) -> dict[str, object]:
        """What an opaque token says."""
        row = select(tables.opaque_tokens.c.claims).where(tables.opaque_tokens.c.digest == opaque.digest(text))
        with self.operator.runtime.database.read() as connection:
            found = json.loads(connection.scalar(row) or "null")
        assert isinstance(found, dict), "an opaque token is stored before it is answered"
        return found


def template(folder: Path) -> Path:
    """An empty store, to be copied for each run."""
    issuer = Issuer(folder / "instance", Wall(), f"sqlite:///{folder / 'store.db'}")  # type: ignore[arg-type]
    issuer.run("db upgrade")
    issuer.run("realms create /")
    issuer.runtime.close()
    return folder / "store.db"
