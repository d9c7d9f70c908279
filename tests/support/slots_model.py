"""Who was killed, in which order: what the random machine of tests/issuer/test_slots_machine.py believes.

It knows events and nothing of ranges, floors or generations: a token is dead when something killed it, its secret, its
client, its realm, or all that there was, after the process that issued it read the client.
"""

import copy
from dataclasses import dataclass, field

from issuer.slots import index_of

LEEWAY = 60
"""Seconds by which an API's clock may be late."""
ALL = "every token that there was"
"""What is killed where an older backup came back."""

Change = tuple[int, str | None, str | None]
"""At which event a process that hears of it drops what: a client by path and name, a realm, or everything."""


class Wrong(AssertionError):
    """A token lives that should be dead, or is dead that nobody killed."""


@dataclass(eq=False)
class RealmThere:
    path: str
    auditor: str = field(repr=False)
    enabled: bool = True
    clients: dict[str, "ClientThere"] = field(default_factory=dict, repr=False)


@dataclass(eq=False)
class ClientThere:
    name: str
    realm: RealmThere
    enabled: bool = True
    secrets: list["SecretThere"] = field(default_factory=list, repr=False)


@dataclass(eq=False)
class SecretThere:
    secret_id: str
    text: str = field(repr=False)
    client: ClientThere
    expires_at: int | None = None
    revoked: bool = False


@dataclass(eq=False)
class Token:
    """read_at, read_by: its process read the client after the one event, and after the other at the latest.

    listed: whether its realm, or one made anew in its place, has lists.
    """

    text: str = field(repr=False)
    secret: SecretThere
    jti: str
    iat: int
    exp: int
    read_at: int
    read_by: int
    listed: bool = True

    @property
    def index(self) -> int:
        return index_of(self.jti)

    @property
    def client(self) -> ClientThere:
        return self.secret.client

    @property
    def realm(self) -> RealmThere:
        return self.client.realm

    @property
    def lineage(self) -> tuple[object, ...]:
        return (self.secret, self.client, self.realm, ALL)


@dataclass
class Process:
    """What a process may know: everything up to the event `polled_at`, and each client as of when it read it.

    unsure: clients that it read when the store was another than it had heard of, and may read again at any time.
    """

    polled_at: int = 0
    read_at: dict[tuple[str, str], int] = field(default_factory=dict)
    unsure: set[tuple[str, str]] = field(default_factory=set)

    def reads(self, path: str, name: str, event: int) -> tuple[int, int]:
        """After which event it read the client, and after which at the latest."""
        at = self.read_at.setdefault((path, name), event)
        return at, event if (path, name) in self.unsure else at

    def hears(self, changes: list[Change], event: int) -> None:
        for at, path, name in changes:
            if at > self.polled_at:
                dropped = {key for key in self.read_at if path in (None, key[0]) and name in (None, key[1])}
                self.unsure -= dropped
                self.read_at = {key: n for key, n in self.read_at.items() if key not in dropped}
        self.polled_at = event


@dataclass
class Past:
    """What was there when a backup was taken, at an event."""

    at: int
    realms: dict[str, RealmThere]


class Model:
    """The realms, clients and secrets that there are, and everything that happened to them."""

    def __init__(self) -> None:
        self.events = 0
        self.realms: dict[str, RealmThere] = {}
        self.tokens: list[Token] = []
        self.changes: list[Change] = []
        self.remade: dict[str, int] = {}
        """When a realm was last made, unmade or given new keys: a process that has not heard cannot know a token's."""
        self.latest = 0
        """The highest time that any clock told: what had expired then may be gone, though a clock goes back."""
        self._kills: list[tuple[int, object]] = []
        self._back_at = 0

    def happened(self, changes: list[tuple[str | None, str | None]], *killed: object) -> None:
        self.events += 1
        self._kills += [(self.events, target) for target in killed]
        self.changes += [(self.events, path, name) for path, name in changes]

    def remember(self) -> Past:
        return Past(self.events, copy.deepcopy(self.realms))

    def go_back_to(self, past: Past) -> None:
        """The realms are what they were then. Secrets of then work again; tokens are for who restored to kill."""
        self.events += 1
        self.realms = copy.deepcopy(past.realms)
        self._back_at = past.at

    def all_killed(self) -> None:
        """Somebody has seen to it. Lists that were begun after a restore which is lost now too may be gone."""
        lost = [at for at, target in self._kills if target is ALL and at > self._back_at]
        for token in self.tokens:
            if token.realm.path not in self.realms or (lost and token.read_by >= lost[0]):
                token.listed = False
        self.happened([(None, None)], ALL)

    def is_there(self, client: ClientThere) -> bool:
        realm = self.realms.get(client.realm.path)
        return realm is client.realm and realm.clients.get(client.name) is client

    def usable(self, secret: SecretThere, now: int) -> bool:
        """Whether a token can be had with it."""
        client = secret.client
        there = self.is_there(client) and client.realm.enabled and client.enabled and not secret.revoked
        return there and (secret.expires_at is None or now < secret.expires_at)

    def killed(self, token: Token, by: int | None = None) -> bool:
        """Whether it was for certain, up to an event."""
        return self._was_killed(token, token.read_by, self.events if by is None else by)

    def perhaps_killed(self, token: Token) -> bool:
        return self._was_killed(token, token.read_at, self.events)

    def _was_killed(self, token: Token, read: int, by: int) -> bool:
        return any(
            target is token or (at > read and any(target is each for each in token.lineage))
            for at, target in self._kills
            if at <= by
        )

    def must_be_dead(self, token: Token, now: int) -> bool:
        """At introspection."""
        in_time = token.iat - LEEWAY <= now < token.exp
        return not in_time or not token.realm.enabled or self.killed(token)

    def must_live(self, token: Token, now: int) -> bool:
        """At introspection. Nobody promises that what expired by any clock comes back when that goes back."""
        return not self.must_be_dead(token, now) and self.latest < token.exp and not self.perhaps_killed(token)
