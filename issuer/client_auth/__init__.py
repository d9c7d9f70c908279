"""Client authentication (RFC 6749 section 2.3): exactly one method presented, one answer for every failure.

METHODS lists the methods; a new one is a file with a NAME, presented() and authenticate(), and a line here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from issuer.client_auth.client_secret import ClientSecretBasic, ClientSecretPost
from issuer.clients import Client
from issuer.plugins import by_name
from issuer.refusals import SEVERAL_METHODS, invalid_client, invalid_request
from issuer.secrets import Secret

METHODS = (ClientSecretBasic(), ClientSecretPost())
METHODS_BY_NAME = by_name(METHODS)

CLIENT_SECRET = "client_secret"  # noqa: S105 - the name of a choice
AUTH_METHODS = (CLIENT_SECRET, *METHODS_BY_NAME)
"""What a client can be registered with; `client_secret` is either of the two, as AM accepts them."""


class Directory(Protocol):
    """Who the clients of the request's realm are."""

    def find_client(self, client_id: str) -> Client | None: ...

    def verify_secret(
        self, client_id: str, client: Client | None, readings: Sequence[str], now: int
    ) -> Secret | None: ...


@dataclass(frozen=True)
class AuthenticatedClient:
    """A client that proved who it is, by which method and with which of its secrets."""

    client: Client
    method: str
    secret_id: str


def authenticate(request: Any, directory: Directory, now: int) -> AuthenticatedClient:
    """The client that sent `request`.

    Raises invalid_request when more than one method is presented or one is malformed, and the one
    invalid_client for everything else. Work done depends on what was presented, not on who is known.
    """
    authorization = request.authorization
    presented = [method for method in METHODS if method.presented(request)]
    unknown_scheme = authorization is not None and not any(method.uses_header(authorization) for method in METHODS)
    if len(presented) + unknown_scheme > 1:
        raise invalid_request("several_auth_methods", SEVERAL_METHODS)
    if not presented:
        raise invalid_client("unknown_auth_scheme" if unknown_scheme else "no_credentials")
    method = presented[0]
    client, secret = method.authenticate(request, directory, now)
    if client is None or secret is None:
        raise invalid_client("unknown_client" if client is None else "wrong_secret")
    if client.auth_method not in (CLIENT_SECRET, method.NAME):
        raise invalid_client("wrong_auth_method")
    if not client.enabled:
        raise invalid_client("client_disabled")
    return AuthenticatedClient(client, method.NAME, secret.secret_id)
