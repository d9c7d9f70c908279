"""The random machine over tests/support/slots_world.py: administrators, processes and time, in any order."""

from collections.abc import Iterable
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support import slots_checks
from tests.support.slots_model import ClientThere, SecretThere, Token
from tests.support.slots_nodes import PATHS, Node, Rules
from tests.support.slots_world import SlotsWorld

PROCESSES = st.integers(0, 2)
ANY = st.integers(0, 1 << 16)
PATH = st.sampled_from(PATHS)
NAME = st.sampled_from(["a", "b"])


class Killing(RuleBasedStateMachine):
    """Administrators, processes and time, in any order."""

    template: Path
    deciding: Rules

    @initialize()
    def start(self) -> None:
        self.world = SlotsWorld(self.template, self.deciding)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.world.everybody_polls()
                for number, token in enumerate(self.tokens):
                    slots_checks.check(self.world, self.process(number % 3), token)
                slots_checks.check_bits(self.world)
                for process in self.world.processes:
                    slots_checks.check_lists(self.world, process)
            finally:
                self.world.close()

    @property
    def tokens(self) -> list[Token]:
        return self.world.model.tokens

    def secret(self, number: int) -> SecretThere | None:
        found = self.world.secrets()
        return found[number % len(found)] if found else None

    def clients(self, path: str | None = None) -> list[ClientThere]:
        there = [realm for realm in self.world.model.realms.values() if path in (None, realm.path)]
        return [client for realm in there for client in realm.clients.values()]

    def client(self, number: int) -> ClientThere | None:
        found = self.clients()
        return found[number % len(found)] if found else None

    def process(self, number: int) -> Node:
        return self.world.processes[number]

    def last_tokens_of(self, secrets: Iterable[SecretThere], number: int) -> None:
        """Just before something ends: there is something to kill, drawn by a process that may hear of it late."""
        for secret in secrets:
            self.world.issue(self.process(number % 3), secret)

    # Processes

    @rule(number=PROCESSES, which=ANY)
    def issue_and_introspect(self, number: int, which: int) -> None:
        if (secret := self.secret(which)) is not None:
            token = self.world.issue(self.process(number), secret)
            if token is not None:
                slots_checks.check(self.world, self.process((number + which) % 3), token)

    @rule(which=ANY)
    def everybody_issues(self, which: int) -> None:
        if (secret := self.secret(which)) is not None:
            for process in self.world.processes:
                self.world.issue(process, secret)

    @rule(number=PROCESSES, which=ANY)
    def introspect(self, number: int, which: int) -> None:
        if self.tokens:
            slots_checks.check(self.world, self.process(number), self.tokens[which % len(self.tokens)])

    @rule(number=PROCESSES)
    def read_lists(self, number: int) -> None:
        slots_checks.check_lists(self.world, self.process(number))

    @rule(number=PROCESSES)
    def poll(self, number: int) -> None:
        self.process(number).poll(self.world)

    @rule()
    def everybody_polls(self) -> None:
        self.world.everybody_polls()

    @rule(seconds=st.sampled_from([1, 30, 120, 300, 4000, -1, -30, -300, -3600]))
    def the_clock_steps(self, seconds: int) -> None:
        self.world.step(seconds)

    # Administrators

    @rule(which=ANY)
    def revoke_a_token(self, which: int) -> None:
        if self.tokens:
            self.world.revoke_token(self.tokens[which % len(self.tokens)])

    @rule(number=PROCESSES, which=ANY, cut_off=st.booleans())
    def a_busy_client_is_done_with_its_tokens(self, number: int, which: int, cut_off: bool) -> None:
        """So many that its range drains, and it goes on with a longer one; some it keeps, unless it is cut off."""
        if (secret := self.secret(which)) is not None:
            made = [self.world.issue(self.process(number), secret) for _ in range(7)]
            for token in made[:5]:
                if token is not None:
                    self.world.revoke_token(token)
            if cut_off:
                self.world.revoke_tokens_of(secret)

    @rule(what=st.sampled_from(["secret", "client", "realm"]), which=ANY)
    def revoke_all_tokens_of(self, what: str, which: int) -> None:
        secret = self.secret(which)
        if secret is not None:
            self.last_tokens_of([secret], which)
            chosen = {"secret": secret, "client": secret.client, "realm": secret.client.realm}
            self.world.revoke_tokens_of(chosen[what])

    @rule(which=ANY)
    def switch_a_client(self, which: int) -> None:
        if (client := self.client(which)) is not None:
            self.last_tokens_of(client.secrets, which)
            self.world.switch_client(client)

    @rule(which=ANY, again=st.booleans())
    def delete_a_client(self, which: int, again: bool) -> None:
        if (client := self.client(which)) is not None:
            self.last_tokens_of(client.secrets, which)
            self.world.delete_client(client)
            if again:
                self.world.create_client(client.realm.path, client.name)

    @rule(path=PATH, name=NAME)
    def create_a_client(self, path: str, name: str) -> None:
        self.world.create_client(path, name)

    @rule(which=ANY, expires_in=st.sampled_from([None, None, 60]), overlap=st.sampled_from([None, None, 60]))
    def add_a_secret(self, which: int, expires_in: int | None, overlap: int | None) -> None:
        if (client := self.client(which)) is not None:
            self.world.add_secret(client, expires_in, overlap)

    @rule(which=ANY, keep_tokens=st.booleans())
    def revoke_a_secret(self, which: int, keep_tokens: bool) -> None:
        secret = self.secret(which)
        if secret is not None and not secret.revoked:
            self.last_tokens_of([secret], which)
            self.world.revoke_secret(secret, keep_tokens)

    @rule(path=PATH, which=ANY)
    def switch_a_realm(self, path: str, which: int) -> None:
        self.last_tokens_of([secret for client in self.clients(path) for secret in client.secrets[:1]], which)
        self.world.switch_realm(path)

    @rule(path=PATH)
    def a_realm_is_off_while_those_issue_who_have_not_heard(self, path: str) -> None:
        """They hold the realm as it was, and read its clients when it is off."""
        for client in self.clients(path):
            self.world.add_secret(client, None, None)
        for process in self.world.processes:
            process.poll(self.world)
            process.issuer.runtime.registry.realm(path)
        self.world.switch_realm(path)
        for client in self.clients(path):
            for number in range(3):
                self.last_tokens_of(client.secrets[:1], number)
        self.world.switch_realm(path)

    @rule(path=PATH, again=st.booleans(), which=ANY)
    def delete_a_realm(self, path: str, again: bool, which: int) -> None:
        self.last_tokens_of([secret for client in self.clients(path) for secret in client.secrets[:1]], which)
        self.world.delete_realm(path)
        if again:
            self.world.create_realm(path)

    @rule(path=PATH)
    def create_a_realm(self, path: str) -> None:
        self.world.create_realm(path)

    @rule(path=PATH)
    def rotate_keys(self, path: str) -> None:
        self.world.rotate(path)

    @rule()
    def prune(self) -> None:
        self.world.prune()

    @rule(number=st.integers(0, 1))
    def back_up(self, number: int) -> None:
        self.world.back_up(number)

    @rule(number=st.integers(0, 1), looking=st.sets(PROCESSES), which=ANY)
    def an_older_backup_comes_back(self, number: int, looking: set[int], which: int) -> None:
        """Once more, too: nothing says which backup an operator takes."""
        if (backup := self.world.backups.get(number)) is not None:
            self.last_tokens_of(self.world.secrets()[:2], which)
            slots_checks.older_backup(self.world, backup, looking)

    @rule(which=ANY)
    def what_the_backup_knows_is_killed_before_it_comes_back_twice(self, which: int) -> None:
        self.world.back_up(0)
        for _ in range(2):
            if (client := self.client(which)) is not None:
                self.world.everybody_polls()
                self.last_tokens_of(client.secrets, which)
                self.world.switch_client(client)
            slots_checks.older_backup(self.world, self.world.backups[0], {which % 3})
