"""Issuers with views of their own on one store, and what administrators do to it, each told to the model."""

from contextlib import suppress
from pathlib import Path

from issuer.admin import clients, keys, prune, realms, secrets
from issuer.admin import tokens as token_admin
from keys.plan import GateNotMet, RotationRefused
from tests.support.slots_model import ClientThere, RealmThere, SecretThere, Token
from tests.support.slots_nodes import ACTOR, PATHS, Nodes, Rules

READ = {"scopes": ["read"], "default_scopes": ["read"]}
FORMAT_OF = {"a": "rfc9068", "b": "opaque"}
AUDIT = {"scopes": ["am-introspect-all-tokens"]}
AUDITOR = "auditor"


class SlotsWorld(Nodes):
    """Two realms with a client each."""

    def __init__(self, template: Path, rules: Rules) -> None:
        super().__init__(template, rules)
        for path, name in zip(PATHS, FORMAT_OF, strict=True):
            self.create_realm(path, name)

    # Realms and clients

    def create_realm(self, path: str, name: str = "a") -> None:
        if path not in self.model.realms:
            self._change(lambda: realms.create(self.admin, path, {}, ACTOR), (path, None))
            made = clients.create(self.admin, path, AUDITOR, AUDIT, ACTOR)
            self.model.realms[path] = RealmThere(path, made.secret or "")
            self._remade(path)
            self.create_client(path, name)

    def delete_realm(self, path: str) -> None:
        if (realm := self.model.realms.get(path)) is not None:
            seen = realms.find(self.admin, path)
            self._change(lambda: realms.delete(self.admin, path, ACTOR, seen=seen), (path, None), realm)
            del self.model.realms[path]
            self._remade(path)

    def switch_realm(self, path: str) -> None:
        if (realm := self.model.realms.get(path)) is not None:
            switch = realms.disable if realm.enabled else realms.enable
            # Coming back too: a process that had not heard may have read a client while the realm was off.
            self._change(lambda: switch(self.admin, path, ACTOR), (path, None), realm)
            realm.enabled = not realm.enabled

    def create_client(self, path: str, name: str) -> None:
        realm = self.model.realms.get(path)
        if realm is not None and name not in realm.clients:
            client = ClientThere(name, realm)

            def create() -> None:
                given = READ | {"token_format": FORMAT_OF[name]}
                made = clients.create(self.admin, path, name, given, ACTOR)
                client.secrets.append(SecretThere(made.stored.secret_id, made.secret or "", client))

            self._change(create, (path, name))
            realm.clients[name] = client

    def delete_client(self, client: ClientThere) -> None:
        path, name = client.realm.path, client.name
        seen = clients.find(self.admin, path, name)[1]
        self._change(lambda: clients.delete(self.admin, path, name, ACTOR, seen=seen), (path, name), client)
        del client.realm.clients[name]

    def switch_client(self, client: ClientThere) -> None:
        path, name = client.realm.path, client.name
        switch, killed = (clients.disable, [client]) if client.enabled else (clients.enable, [])
        self._change(lambda: switch(self.admin, path, name, ACTOR), (path, name), *killed)
        client.enabled = not client.enabled

    def add_secret(self, client: ClientThere, expires_in: int | None, overlap: int | None) -> None:
        path, name = client.realm.path, client.name

        def add() -> None:
            made = secrets.add(self.admin, path, name, ACTOR, expires_in=expires_in, overlap=overlap)
            if overlap is not None:
                end = self.clock.now + overlap
                for other in client.secrets:
                    other.expires_at = min(other.expires_at or end, end)
            secret = SecretThere(made.stored.secret_id, made.secret or "", client, made.stored.expires_at)
            client.secrets.append(secret)

        self._change(add, (path, name))

    def revoke_secret(self, secret: SecretThere, keep_tokens: bool) -> None:
        path, name = secret.client.realm.path, secret.client.name

        def revoke() -> None:
            secrets.revoke(self.admin, path, name, secret.secret_id, ACTOR, keep_tokens=keep_tokens)

        self._change(revoke, (path, name), *([] if keep_tokens else [secret]))
        secret.revoked = True

    # Tokens and keys

    def revoke_token(self, token: Token) -> None:
        path = token.realm.path
        if token.realm is self.model.realms.get(path):
            self._change(lambda: token_admin.revoke(self.admin, path, token.jti, ACTOR, exp=token.exp), None, token)

    def revoke_tokens_of(self, what: RealmThere | ClientThere | SecretThere) -> None:
        if isinstance(what, RealmThere):
            path = what.path
            self._change(lambda: token_admin.revoke_all(self.admin, path, ACTOR), (path, None), what)
            return
        client = what if isinstance(what, ClientThere) else what.client
        path, name = client.realm.path, client.name

        def revoke() -> None:
            if isinstance(what, ClientThere):
                token_admin.revoke_of_client(self.admin, path, name, ACTOR)
            elif isinstance(what, SecretThere):
                token_admin.revoke_of_secret(self.admin, path, what.secret_id, ACTOR)

        self._change(revoke, (path, name), what)

    def rotate(self, path: str) -> None:
        def rotate() -> None:
            with suppress(RotationRefused):
                keys.rotate(self.admin, path, ACTOR, force=True)

        if path in self.model.realms:
            self._change(rotate, (path, None))
            self._remade(path)

    def prune(self) -> None:
        def take() -> None:
            with suppress(GateNotMet):  # where the clock went back, or leapt
                prune.prune(self.admin, ACTOR, lambda _: None)

        self._change(take, None)
