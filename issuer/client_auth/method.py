"""What a client authentication method is, and what it may ask of the realm's clients."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from issuer.clients import Client
from issuer.request import AuthenticatedClient, Request
from issuer.secrets import Secret


class Directory(Protocol):
    """Who the clients of the request's realm are."""

    def find_client(self, client_id: str) -> Client | None:
        """The client of this name, if there is one."""
        ...

    def verify_secret(self, client_id: str, client: Client | None, readings: Sequence[str], now: int) -> Secret | None:
        """The live secret of `client` that was presented, in one of its `readings`; raises TooManyAttempts."""
        ...


class Method(Protocol):
    """One way for a client to prove who it is."""

    NAME: str
    """Its registered name (RFC 7591 section 2, token_endpoint_auth_method)."""
    SCHEME: str | None
    """The scheme of the Authorization header that it reads, in lower case."""
    METADATA: Mapping[str, object]
    """What the metadata document says of it, without the prefix `token_endpoint_` and its like."""

    def presented(self, request: Request) -> bool:
        """Whether the request holds what this method reads, good or bad."""
        ...

    def authenticate(self, request: Request, directory: Directory, now: int) -> AuthenticatedClient:
        """The client that proved itself; whether it is enabled and may use this method is asked elsewhere, once.

        From where it knows which client is claimed, refusals are raised within ClaimedBy. Raises invalid_request for
        what cannot be read and invalid_client for everything else; the work done depends on what was presented, not
        on who is known.
        """
        ...
