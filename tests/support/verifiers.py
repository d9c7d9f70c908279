"""Verifiers as APIs run them, each with its own idea of when to fetch the JWKS again."""

import itertools
import threading
import time
from collections.abc import Sequence
from typing import Protocol

import jwt as pyjwt
import urllib3
from joserfc import jwt as joserfc_jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet

from realmint import KeyPolicy, ResourceServer

ALGS = ["ES256"]


class Verifier(Protocol):
    """`check` raises when it refuses."""

    NAME: str

    def check(self, token: str) -> None: ...


class WithPyJWT:
    """PyJWT and its own JWKS client: a copy for `cache` seconds, and a fetch on an unknown kid."""

    NAME = "PyJWT"

    def __init__(self, jwks: str, issuer: str, cache: int, leeway: int) -> None:
        self._client = pyjwt.PyJWKClient(jwks, lifespan=cache)
        self._issuer = issuer
        self._leeway = leeway

    def check(self, token: str) -> None:
        key = self._client.get_signing_key_from_jwt(token)
        pyjwt.decode(token, key, ALGS, issuer=self._issuer, audience=self._issuer, leeway=self._leeway)


class WithJoserfc:
    """joserfc over a copy that is fetched again every `cache` seconds, from `jwks` in turn.

    A stubborn one never fetches because of an unknown kid.
    """

    def __init__(self, jwks: Sequence[str], issuer: str, cache: float, leeway: int, *, stubborn: bool) -> None:
        self.NAME = "stubborn" if stubborn else "joserfc"
        self._addresses = itertools.cycle(jwks)
        self._cache = cache
        self._stubborn = stubborn
        self._claims = joserfc_jwt.JWTClaimsRegistry(
            leeway=leeway, iss={"essential": True, "value": issuer}, aud={"essential": True, "value": issuer}
        )
        self._lock = threading.Lock()
        self.fetch()

    def fetch(self) -> None:
        asked = time.monotonic()
        answer = urllib3.request("GET", next(self._addresses), retries=False, timeout=10)
        assert answer.status == 200, answer.data
        self._keys = KeySet.import_key_set(answer.json())
        self._fetched = asked

    def check(self, token: str) -> None:
        with self._lock:
            if time.monotonic() - self._fetched >= self._cache:
                self.fetch()
            keys = self._keys
        try:
            read = joserfc_jwt.decode(token, keys, algorithms=ALGS)
        except InvalidKeyIdError:
            if self._stubborn:
                raise
            with self._lock:
                self.fetch()
                keys = self._keys
            read = joserfc_jwt.decode(token, keys, algorithms=ALGS)
        self._claims.validate(read.claims)


class Ours:
    """realmint itself."""

    NAME = "realmint"

    def __init__(self, issuer: str, cache: int, leeway: int) -> None:
        policy = KeyPolicy(ttl=cache, min_ttl=min(cache, 1), max_ttl=cache)
        self._api = ResourceServer(issuer, audience=issuer, leeway=leeway, keys=policy)

    def check(self, token: str) -> None:
        self._api.validate(token)


def refetching(jwks: Sequence[str], issuer: str, cache: int, leeway: int) -> tuple[Verifier, ...]:
    """One of each kind that fetches when it meets an unknown kid; `issuer` lives at the first of `jwks`."""
    return (
        WithPyJWT(jwks[0], issuer, cache, leeway),
        WithJoserfc(jwks[::-1], issuer, cache, leeway, stubborn=False),
        Ours(issuer, cache, leeway),
    )
