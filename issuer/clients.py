"""A client: a machine that authenticates (RFC 6749 section 2). Its repr shows names, never secrets."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from issuer.credentials import Credential, Proof
from issuer.secrets import Secret
from issuer.setting import Kind, defaults_of, setting
from issuer.slots import SlotRange

AnyProof = TypeVar("AnyProof", bound=Proof)

INTROSPECT_ALL = "am-introspect-all-tokens"
MARKERS = frozenset({INTROSPECT_ALL})
"""Scope values that mark a client's profile and are never granted in a token (interface section 4)."""

MAX_CLIENT_ID = 255
_CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.~@:/+-]{0,254}")


class ClientIdError(ValueError):
    """The text is not a client identifier we register."""


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """What an administrator may set of a client: a line for each. Seconds; None means: as the realm has it."""

    name: str | None = setting(None, Kind.TEXT, "--name", "For people.")
    scopes: frozenset[str] = setting(
        frozenset(), Kind.SCOPES, "--scope", "What it may ask for; repeats, or a space-separated list."
    )
    default_scopes: tuple[str, ...] = setting((), Kind.SCOPES, "--default-scope", "Granted when a request names none.")
    audiences: tuple[str, ...] = setting(
        (), Kind.AUDIENCES, "--audience", "What `resource` or `audience` may name: a URI or a plain name."
    )
    default_audience: tuple[str, ...] = setting(
        (), Kind.AUDIENCES, "--default-audience", "The aud when a request names none."
    )
    resource_identifiers: tuple[str, ...] = setting(
        (), Kind.AUDIENCES, "--resource-identifier", "It is this API, and may introspect."
    )
    grant_types: tuple[str, ...] = setting(("client_credentials",), Kind.CHOICES, "--grant-type", choices="grants")
    auth_method: str = setting("client_secret", Kind.CHOICE, "--auth-method", choices="client authentication methods")
    dpop: bool = setting(False, Kind.FLAG, "--dpop", "It gets no token without a DPoP proof.")
    bound_certificate: bool = setting(
        False, Kind.FLAG, "--bound-certificate", "Its tokens are bound to the certificate that it has to show."
    )
    access_token_lifetime: int | None = setting(None, Kind.DURATION, "--access-token-lifetime")
    signing_alg: str | None = setting(None, Kind.CHOICE, "--signing-alg", choices="signing algorithms")
    token_format: str | None = setting(None, Kind.CHOICE, "--token-format", choices="token formats")


CLIENT_DEFAULTS = defaults_of(ClientSettings)
"""What a client is created with when nothing is said."""


@dataclass(frozen=True, kw_only=True)
class Client(ClientSettings):
    """A client as it is stored.

    `secret_salt` is for its imported secrets. `credentials`: those that are no secrets. `ranges`: what each of its
    credentials draws from, secrets and others; one without is of no use.
    """

    id: int
    realm_id: int
    client_id: str
    enabled: bool
    created_at: int
    last_used_at: int | None
    secret_salt: bytes = field(repr=False, default=b"")
    secrets: tuple[Secret, ...] = field(repr=False, default=())
    credentials: tuple[Credential, ...] = field(repr=False, default=())
    ranges: Mapping[str, SlotRange] = field(repr=False, default_factory=dict)

    def proofs(self, kind: type[AnyProof], now: int) -> Iterator[tuple[Credential, AnyProof]]:
        """Its credentials of one kind that may be used at `now`, each with what it is about."""
        for credential in self.credentials:
            if isinstance(credential.proof, kind) and credential.live(now):
                yield credential, credential.proof

    def check_grant_type(self, grant_type: str) -> bool:
        """Whether this client may use a grant; Authlib's ClientCredentialsGrant asks (RFC 6749 section 5.2)."""
        return grant_type in self.grant_types

    @property
    def may_introspect_all(self) -> bool:
        """Whether the profile carries the marker that opens every token of the realm."""
        return INTROSPECT_ALL in self.scopes

    def grantable(self, values: Collection[str]) -> bool:
        """Whether every scope value may stand in a token of this client."""
        return self.scopes.issuperset(values) and MARKERS.isdisjoint(values)


def parse_client_id(text: str) -> str:
    """A client identifier fit for registration. Raises ClientIdError.

    Narrower than RFC 6749 appendix A.1: no spaces or quotes, so that it survives shells, logs and headers.
    """
    if not _CLIENT_ID.fullmatch(text):
        raise ClientIdError(
            "a client_id is 1 to 255 of A-Z a-z 0-9 and _ . ~ @ : / + -, starting with a letter or digit"
        )
    return text
