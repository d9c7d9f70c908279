"""What a way of binding tokens is, and what it may ask for."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from issuer.realms import Realm
from issuer.request import ClientRequest
from realmint.protocol.dpop import Nonces


class Around(Protocol):
    """What proofs are held against."""

    def use_first(self, what: str, whose: int, name: str, until: int) -> bool:
        """Whether nobody used this before, over all processes and nodes; nobody does after it."""
        ...

    def nonces(self) -> Nonces:
        """Those of all nodes that share the key-encryption key."""
        ...


class ConfirmationMethod(ABC):
    """One way to bind a token."""

    MEMBER: str
    """Its member of `cnf` (RFC 7800 section 3)."""
    TOKEN_TYPE: str | None = None
    """The token_type of what it binds; None for Bearer."""

    @abstractmethod
    def applies(self, request: ClientRequest) -> bool:
        """Whether this request proves something in this way, or its client has to."""

    @abstractmethod
    def bind(self, request: ClientRequest, around: Around) -> str:
        """What the token is bound to. Raises an OAuth2Error for a proof that is missing or not good."""

    def metadata(self, realm: Realm) -> Mapping[str, object]:
        """What the metadata document says of it."""
        del realm
        return {}
