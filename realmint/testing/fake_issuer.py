"""An issuer without a database: in memory, as the transport of a ResourceServer, or on loopback."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from secrets import randbelow, token_bytes, token_hex
from typing import Any
from urllib.parse import parse_qs

from realmint.messages import Request, Response, TransportError
from realmint.protocol import checksummed, jws
from realmint.protocol.names import ACCESS_TOKEN_TYP, BEARER, DPOP, STATUS_LIST_MEDIA_TYPE, STATUS_LIST_TYP
from realmint.protocol.status_list import written
from realmint.resource_server import ResourceServer
from realmint.testing.assertions import KeyClient
from realmint.testing.clock import TestClock
from realmint.testing.prover import Prover, confirmation
from realmint.testing.served import served
from realmint.testing.signing import SigningKey

ISSUER = "https://issuer.test/oauth2/realms/root"
LIST_BYTES = 1024
Bound = Prover | bytes | Sequence[Prover | bytes]


@dataclass
class Faults:
    """What is wrong with an endpoint. status: it answers with that. garbage: 200, and nothing that can be read."""

    status: int | None = None
    garbage: bool = False

    def fail(self, status: int = 503) -> None:
        self.status = status

    def mend(self) -> None:
        self.status, self.garbage = None, False


@dataclass
class FakeIssuer:
    """Issues tokens, publishes keys and a status list, answers introspection; and can be down, slow or full of rubbish.

    Hand it to ResourceServer as `transport`, or take resource_server(); serving() has it listen on loopback. `requests`
    holds what it was asked. For tests alone: it asks nobody who they are, but for demand_key().
    """

    issuer: str = ISSUER
    alg: str = "ES256"
    clock: TestClock = field(default_factory=TestClock)
    jwks: Faults = field(default_factory=Faults)
    status_list: Faults = field(default_factory=Faults)
    metadata: Faults = field(default_factory=Faults)
    introspection: Faults = field(default_factory=Faults)
    requests: list[Request] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.keys = [SigningKey(self.alg)]
        self._revoked: set[int] = set()
        self._issued: dict[str, dict[str, Any]] = {}
        self._sequence = 1
        self._down = False
        self._seconds = 0.0
        self._listening = False
        self._key_client: KeyClient | None = None

    @classmethod
    @contextmanager
    def serving(cls, alg: str = "ES256") -> Iterator["FakeIssuer"]:
        """One that listens on a free port of loopback until the block ends, on the time of the machine."""
        fake = cls(alg=alg)
        with served(fake) as port:
            fake.issuer = f"http://127.0.0.1:{port}/oauth2/realms/root"
            fake._listening = True
            yield fake

    def resource_server(self, audience: str | Sequence[str], **options: Any) -> ResourceServer:
        """A ResourceServer that trusts this issuer; in memory, it is on the issuer's clock and starts no thread."""
        if not self._listening:
            options = {
                "transport": self,
                "clock": self.clock.wall,
                "monotonic": self.clock.monotonic,
                "background": False,
                **options,
            }
        return ResourceServer(self.issuer, audience, **options)

    def issue(
        self,
        *,
        audience: str | Sequence[str],
        scope: str | None = "",
        client_id: str = "test-client",
        lifetime: int = 600,
        bound_to: Bound = (),
        **claims: Any,
    ) -> str:
        """A good token. bound_to: a Prover, a certificate (DER), or both. claims: more or other ones; None: without."""
        said = self.claims(audience=audience, scope=scope, client_id=client_id, lifetime=lifetime) | _cnf(bound_to)
        said = {name: value for name, value in {**said, **claims}.items() if value is not None}
        token = self.keys[0].token(self.header(), said)
        self._issued[token] = said
        return token

    def issue_opaque(
        self,
        *,
        audience: str | Sequence[str],
        scope: str | None = "",
        client_id: str = "test-client",
        bound_to: Bound = (),
        **claims: Any,
    ) -> str:
        """A good token of the format `opaque`, which only introspection knows."""
        token = checksummed.written(checksummed.OPAQUE_TOKEN, token_bytes(checksummed.RANDOM_BYTES))
        said = self.claims(audience=audience, scope=scope, client_id=client_id)
        self._issued[token] = {**said, **_cnf(bound_to), **claims}
        return token

    def prover(self, alg: str = "ES256") -> Prover:
        """A client with a key of its own, on this issuer's clock."""
        return Prover(alg, self._now)

    def header(self) -> dict[str, Any]:
        return {"alg": self.keys[0].alg, "kid": self.keys[0].kid, "typ": ACCESS_TOKEN_TYP}

    def claims(
        self, *, audience: str | Sequence[str], scope: str | None, client_id: str = "test-client", lifetime: int = 600
    ) -> dict[str, Any]:
        """What a good token says."""
        now, idx = self._now(), randbelow(8 * LIST_BYTES)
        return {
            "iss": self.issuer,
            "sub": client_id,
            "aud": audience if isinstance(audience, str) else list(audience),
            "client_id": client_id,
            "iat": now,
            "nbf": now,
            "exp": now + lifetime,
            "jti": f"{token_hex(12)}{idx:04x}",
            "scope": scope,
            "realm": "/",
            "status": {"status_list": {"idx": idx, "uri": f"{self.issuer}/status/0"}},
        }

    def revoke(self, token: str) -> None:
        """From the next look at the list on, and at introspection at once, this token does not count."""
        self._revoke([token])

    def revoke_client(self, client_id: str) -> None:
        """All tokens of a client."""
        self._revoke([token for token, said in self._issued.items() if said.get("client_id") == client_id])

    def rotate(self, *, overlap: bool = True) -> None:
        """A new key signs. overlap: the old ones stay published."""
        self.keys = [SigningKey(self.alg), *(self.keys if overlap else [])]
        self._sequence += 1

    def remove_key(self, kid: str) -> None:
        """A key is published no more. Raises ValueError for the one that signs."""
        if kid == self.keys[0].kid:
            raise ValueError("the key that signs stays published: rotate() first")
        self.keys = [key for key in self.keys if key.kid != kid]
        self._sequence += 1

    def demand_key(self, client_id: str, public_jwk: Mapping[str, Any]) -> KeyClient:
        """From now on introspection answers this client alone, by assertions under its key, each once; others are 401.

        public_jwk: as ClientKey.public_jwk has it. What is returned knows why it `refused` others. Raises ValueError.
        """
        self._key_client = KeyClient(client_id, public_jwk)
        return self._key_client

    def down(self) -> None:
        """Nothing listens any more."""
        self._down = True

    def up(self) -> None:
        """All is well again."""
        self._down, self._seconds = False, 0.0
        for faults in (self.jwks, self.status_list, self.metadata, self.introspection):
            faults.mend()

    def slow(self, seconds: float) -> None:
        """Every answer takes so long; in memory, where no time passes, one of three seconds or more is a time-out."""
        self._seconds = seconds

    def garbage(self) -> None:
        """Every answer is 200 and rubbish."""
        for faults in (self.jwks, self.status_list, self.metadata, self.introspection):
            faults.garbage = True

    def fetches(self, ending: str) -> int:
        """How often an address that ends so was asked for: `jwk_uri`, `/status/0`, `introspect`."""
        return sum(request.url.endswith(ending) for request in self.requests)

    def __call__(self, request: Request) -> Response:
        """Answers as the transport of a ResourceServer. Raises TransportError."""
        self.requests.append(request)
        if self._down:
            raise TransportError("refused")
        if self._listening:
            time.sleep(self._seconds)
        elif self._seconds:
            self.clock.advance(min(self._seconds, 3))
            if self._seconds >= 3:
                raise TransportError("timed out")
        for ending, (faults, answer) in self._endpoints().items():
            if request.url.endswith(ending):
                if faults.status is not None:
                    return Response(faults.status, {}, b"{}")
                return Response(200, {}, b"\xff<html>") if faults.garbage else answer(request)
        return Response(404, {}, b"{}")

    def _endpoints(self) -> dict[str, tuple[Faults, Callable[[Request], Response]]]:
        return {
            "/connect/jwk_uri": (self.jwks, self._jwks),
            "/status": (self.status_list, self._lists),
            "/status/0": (self.status_list, self._statuses),
            "/introspect": (self.introspection, self._introspect),
            self.issuer.partition("://")[2].partition("/")[2]: (self.metadata, self._metadata),
        }

    def _metadata(self, _: Request) -> Response:
        return _json(
            {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/connect/jwk_uri",
                "introspection_endpoint": f"{self.issuer}/introspect",
                "status_list_aggregation_endpoint": f"{self.issuer}/status",
            }
        )

    def _jwks(self, _: Request) -> Response:
        return _json({"keys": [dict(key.jwk) for key in self.keys]}, **{"cache-control": "max-age=300"})

    def _lists(self, _: Request) -> Response:
        return _json({"status_lists": [f"{self.issuer}/status/0"]})

    def _statuses(self, _: Request) -> Response:
        array, now, uri = bytearray(LIST_BYTES), self._now(), f"{self.issuer}/status/0"
        for idx in self._revoked:
            array[idx // 8] |= 1 << idx % 8
        kids = [key.kid for key in self.keys]
        claims = {"sub": uri, "iat": now, "exp": now + 600, "ttl": 10, "seq": self._sequence, "kids": kids}
        text = self.keys[0].token(
            {**self.header(), "typ": STATUS_LIST_TYP}, {**claims, "status_list": written(bytes(array))}
        )
        return Response(200, {"content-type": STATUS_LIST_MEDIA_TYPE}, text.encode())

    def _introspect(self, request: Request) -> Response:
        form = parse_qs((request.body or b"").decode("ascii", "replace"))
        if self._key_client is not None and not self._key_client.takes(request, form, self.issuer, self._now()):
            return _json({"error": "invalid_client"})._replace(status=401)
        token = form.get("token", [""])[0]
        said = self._issued.get(token)
        if said is None or said["status"]["status_list"]["idx"] in self._revoked or said["exp"] <= self._now():
            return _json({"active": False})
        return _json({"active": True, "token_type": DPOP if "jkt" in said.get("cnf", {}) else BEARER, **said})

    def _revoke(self, tokens: list[str]) -> None:
        for token in tokens:
            said = self._issued.get(token) or jws.peek(token).claims
            self._revoked.add(said["status"]["status_list"]["idx"])
        self._sequence += 1

    def _now(self) -> int:
        return int(time.time()) if self._listening else self.clock.wall()  # noqa: TID251 - on the machine's, where it listens


def _cnf(bound_to: Bound) -> dict[str, Any]:
    each = (bound_to,) if isinstance(bound_to, Prover | bytes) else tuple(bound_to)
    return {"cnf": confirmation(*each)} if each else {}


def _json(document: Any, **headers: str) -> Response:
    return Response(200, {"content-type": "application/json", **headers}, json.dumps(document).encode())
