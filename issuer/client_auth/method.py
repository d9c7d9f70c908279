"""What a client authentication method is, and what it may ask of the realm's clients."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

from issuer.clients import Client
from issuer.credentials import Proof
from issuer.outside.key_sources import KeysAt
from issuer.request import AuthenticatedClient, Request
from issuer.secrets import Secret
from realmint.protocol.jws import Unverified, VerificationKey


class Directory(Protocol):
    """Who the clients of the request's realm are."""

    def find_client(self, client_id: str) -> Client | None:
        """The client of this name, if there is one."""
        ...

    def verify_secret(self, client_id: str, client: Client | None, readings: Sequence[str], now: int) -> Secret | None:
        """The live secret of `client` that was presented, in one of its `readings`; raises TooManyAttempts."""
        ...

    def note_failure(self, client_id: str, now: int) -> None:
        """That something else than a secret was presented in this name, and was wrong; raises TooManyAttempts."""
        ...

    def find_keys(self, at: KeysAt, token: Unverified) -> Sequence[VerificationKey]:
        """The keys outside that may have signed a token; raises KeysOutOfReach when that cannot be told."""
        ...

    def find_keys_alike(self, at: KeysAt, thumbprint: str, alg: str) -> Sequence[VerificationKey]:
        """The keys outside that a key of this thumbprint may be among; raises KeysOutOfReach."""
        ...

    def use_first(self, what: str, whose: int, name: str, until: int) -> bool:
        """Whether nobody used this before, over all processes and nodes; nobody does after it.

        what: a kind of thing. whose: the id of a client. until: the first second at which it is over anyhow.
        """
        ...


class Method(ABC):
    """One way for a client to prove who it is."""

    NAME: str
    """Its registered name (RFC 7591 section 2, token_endpoint_auth_method)."""
    SCHEME: str | None = None
    """The scheme of the Authorization header that it reads, in lower case."""
    METADATA: Mapping[str, Sequence[str]] = {}
    """What the metadata document says of it, without the prefix `token_endpoint_` and its like."""
    PROOFS: tuple[type[Proof], ...] = ()
    """The kinds of credential that it takes; none where it takes secrets."""
    IMPLICIT = False
    """Whether it is a matter of the connection, and counts only where the request itself presents nothing."""
    BESIDE = False
    """Whether a client may use it beside the method that it is registered with, since such a credential says so by
    itself; its name is none that clients know, and not in the metadata document."""

    @abstractmethod
    def presented(self, request: Request) -> bool:
        """Whether the request holds what this method reads, good or bad."""

    @abstractmethod
    def authenticate(self, request: Request, directory: Directory, now: int) -> AuthenticatedClient:
        """The client that proved itself; whether it is enabled and may use this method is asked elsewhere, once.

        From where it knows which client is claimed, refusals are raised within ClaimedBy. Raises invalid_request for
        what cannot be read, invalid_client for everything else, and temporarily_unavailable when nobody can tell; the
        work done depends on what was presented, not on who is known.
        """
