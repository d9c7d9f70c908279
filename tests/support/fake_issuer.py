"""An issuer without a socket: a transport that counts, and that can be down, slow or full of rubbish."""

import json
import threading
from collections.abc import Callable
from typing import Any

from realmint.protocol.status_list import written
from realmint.transport import Request, Response, TransportError
from tests.support.forge import START, Forge, merged

ISSUER = "https://issuer.example/oauth2/realms/root"
JWKS_URI = f"{ISSUER}/connect/jwk_uri"
INTROSPECT = f"{ISSUER}/introspect"
STATUS_LIST = f"{ISSUER}/status/0"
METADATA = "https://issuer.example/.well-known/oauth-authorization-server/oauth2/realms/root"


class FakeIssuer:
    """Serves metadata, keys, introspection and one status list. Replace `answers[url]` to be hostile."""

    def __init__(self, alg: str = "ES256") -> None:
        self.forge = Forge(alg)
        self.published = [self.forge]
        self.extra_keys: list[Any] = []
        self.etag = '"1"'
        self.cache_control = "public, max-age=300"
        self.active: dict[str, dict[str, Any]] = {}
        self.requests: list[Request] = []
        self.down = False
        self.gate: threading.Event | None = None
        self.answers: dict[str, Callable[[Request], Response]] = {
            METADATA: lambda _: ok({"issuer": ISSUER, "jwks_uri": JWKS_URI, "introspection_endpoint": INTROSPECT}),
            JWKS_URI: self._jwks,
            INTROSPECT: self._introspect,
            STATUS_LIST: self._status_list,
        }
        self.revoked: set[int] = set()
        self.clock = lambda: START
        self.list_changes: dict[str, Any] = {}
        self.sequence = 1

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.down:
            raise TransportError("ConnectTimeoutError")
        return self.answers.get(request.url, lambda _: Response(404, {}, b"{}"))(request)

    def fetches(self, url: str = JWKS_URI) -> int:
        return sum(request.url == url for request in self.requests)

    def rotate(self, *, keep: bool = True) -> None:
        """A new key signs; the old one stays published or goes."""
        old, self.forge = self.forge, Forge(self.forge.material.alg)
        self.published = [self.forge, old] if keep else [self.forge]
        self.etag = f'"{len(self.requests)}-{self.forge.material.kid}"'

    def status_token(self, idx: int, uri: str | None = None, **changes: Any) -> str:
        """A token that names its place in the list."""
        return self.forge.token(status={"status_list": {"idx": idx, "uri": uri or STATUS_LIST}}, **changes)

    def revoke(self, *indexes: int) -> None:
        self.revoked |= set(indexes)
        self.sequence += 1

    def list_claims(self) -> dict[str, Any]:
        array = bytearray(64)
        for idx in self.revoked:
            array[idx // 8] |= 1 << idx % 8
        kids = [forge.material.kid for forge in self.published]
        said = {
            "sub": STATUS_LIST, "iat": self.clock(), "exp": self.clock() + 600, "ttl": 10, "seq": self.sequence, "kids": kids,
            "status_list": written(bytes(array)),
        }  # fmt: skip
        return merged(said, self.list_changes)

    def _status_list(self, _: Request) -> Response:
        text = self.forge.token(header={**self.forge.header, "typ": "statuslist+jwt"}, claims=self.list_claims())
        return Response(200, {"content-type": "application/statuslist+jwt"}, text.encode())

    def _jwks(self, request: Request) -> Response:
        if request.headers.get("If-None-Match") == self.etag:
            return Response(304, {"etag": self.etag, "cache-control": self.cache_control}, b"")
        keys = [dict(forge.material.public_jwk) for forge in self.published] + self.extra_keys
        return ok({"keys": keys}, etag=self.etag, **{"cache-control": self.cache_control})

    def _introspect(self, request: Request) -> Response:
        assert request.body is not None
        for token, claims in self.active.items():
            if token.encode() in request.body:
                return ok({"active": True, **claims})
        return ok({"active": False})


def ok(document: Any, **headers: str) -> Response:
    return Response(200, headers, document if isinstance(document, bytes) else json.dumps(document).encode())
