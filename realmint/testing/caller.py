"""Requests of a test that bring no token, and are taken to."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from realmint.access_token import AccessToken
from realmint.protocol import system_clock
from realmint.protocol.names import parse_scope
from realmint.resource_server import ResourceServer


@contextmanager
def as_caller(
    api: ResourceServer, client_id: str = "test-client", scopes: str | Iterable[str] = (), **claims: Any
) -> Iterator[AccessToken]:
    """Within the block, every request to an adapter of `api` is taken to bring a good token of this client.

    scopes: what it may, as a list or separated by spaces. claims: more of what the token says. No key, no issuer and no
    header is needed; the scope that a route needs is checked all the same. For tests alone, of one thread at a time.
    """
    values = parse_scope(scopes) if isinstance(scopes, str) and scopes else tuple(scopes)
    now = system_clock()
    said = {
        "iss": api.issuer, "sub": client_id, "client_id": client_id, "aud": api.audience[0], "scope": " ".join(values),
        "iat": now, "exp": now + 600, "jti": "test-token", "realm": "/", **claims,
    }  # fmt: skip
    token = AccessToken(
        client_id=client_id, subject=str(said["sub"]), scopes=frozenset(values), audience=(api.audience[0],),
        jti=str(said["jti"]), expires_at=int(said["exp"]), issuer=api.issuer, realm=said["realm"], source="local",
        claims=MappingProxyType(said),
    )  # fmt: skip
    before, api.assumed = api.assumed, token
    try:
        yield token
    finally:
        api.assumed = before
