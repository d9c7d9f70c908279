"""An API that asks an issuer about every token, as a client with a key of its own; what it sends, and what it hears."""

from typing import Any
from urllib.parse import parse_qs

import pytest

from realmint import ClientKey, Introspection, InvalidToken, ResourceServer, Unavailable
from realmint.messages import Request
from realmint.testing import FakeIssuer
from tests.support.client_keys import CURVED, pem

AUDIENCE = "https://orders.example"
CLIENT = "orders-api"
KEY = ClientKey(pem(CURVED))


def asking(issuer: FakeIssuer, mode: Any = "live", *, stale_if_error: float = 0, **shows: Any) -> ResourceServer:
    """shows: what it shows in place of KEY."""
    shows = shows or {"client_key": KEY}
    introspection = Introspection(CLIENT, mode=mode, stale_if_error=stale_if_error, **shows)
    return issuer.resource_server(AUDIENCE, introspection=introspection)


def sent(issuer: FakeIssuer) -> list[Request]:
    """The questions about tokens."""
    return [request for request in issuer.requests if request.url.endswith("/introspect")]


def form(request: Request) -> dict[str, list[str]]:
    """What it holds."""
    return parse_qs((request.body or b"").decode("ascii"), strict_parsing=True)


def reason(api: ResourceServer, token: str) -> str:
    """Why the token is refused."""
    with pytest.raises((InvalidToken, Unavailable)) as refused:
        api.validate(token)
    return refused.value.reason
