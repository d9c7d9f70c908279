"""A realm: an isolated issuer with its own clients, keys and token policy (RFC 8414 section 2, `issuer`)."""

import re
from dataclasses import dataclass, field

from issuer.setting import Kind, defaults_of, setting

MAX_DEPTH = 8
RESERVED = frozenset({
    "root", "realms", "access_token", "introspect", "token", "connect", "status", "authorize", ".well-known",
})  # fmt: skip
"""What no part of a path may be called: the words of the address itself and the first part of every endpoint's. A test
holds it against ENDPOINTS, which stands on a higher floor."""
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class RealmPathError(ValueError):
    """The text is not the path of a realm."""


@dataclass(frozen=True, kw_only=True)
class RealmSettings:
    """What an administrator may set of a realm: a line for each. Durations are in seconds."""

    signing_algs: tuple[str, ...] = setting(
        ("ES256",), Kind.CHOICES, "--alg", "The first signs.", choices="signing algorithms"
    )
    rsa_bits: int = setting(2048, Kind.SIZE, "--rsa-bits", "Size of RSA keys.", choices="RSA sizes")
    access_token_lifetime: int = setting(600, Kind.DURATION, "--access-token-lifetime")
    max_access_token_lifetime: int = setting(
        3600, Kind.DURATION, "--max-access-token-lifetime", "No client may have longer."
    )
    default_audience: tuple[str, ...] = setting(
        (), Kind.AUDIENCES, "--default-audience", "The aud when nothing else names one."
    )
    scopes: tuple[str, ...] = setting((), Kind.SCOPES, "--scope", "Listed in the metadata.")
    default_scopes: tuple[str, ...] = setting((), Kind.SCOPES, "--default-scope", "Granted when a request names none.")
    token_format: str = setting("rfc9068", Kind.CHOICE, "--token-format", choices="token formats")
    am_sub_prefix: bool = setting(False, Kind.FLAG, "--am-sub-prefix", "sub as (age!client) in format am.")
    grant_types: tuple[str, ...] = setting(("client_credentials",), Kind.CHOICES, "--grant-type", choices="grants")
    dpop_nonce: bool = setting(False, Kind.FLAG, "--dpop-nonce", "DPoP proofs need a nonce of ours.")


@dataclass(frozen=True, kw_only=True)
class Realm(RealmSettings):
    """A realm as it is stored; a token whose index is below `status_floor` is dead."""

    id: int
    path: str
    enabled: bool
    has_imported_secrets: bool
    status_floor: int
    created_at: int


@dataclass(frozen=True)
class Addresses:
    """Where a realm lives: everything derives from the configured base, nothing from a request.

    mtls_base: the base under which the same endpoints ask for certificates (RFC 8705 section 5).
    """

    base: str
    realm_path: str
    mtls_base: str | None = None
    issuer: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "issuer", f"{self.base}/oauth2/realms/root{nested(self.realm_path)}")

    def endpoint(self, suffix: str) -> str:
        """The canonical address of an endpoint, `suffix` with its leading slash."""
        return self.issuer + suffix

    def every(self, suffix: str) -> tuple[str, ...]:
        """Every address of an endpoint, the canonical one first (interface section 1)."""
        older = "" if self.realm_path == "/" else self.realm_path
        paths = (f"/oauth2/realms/root{nested(self.realm_path)}{suffix}", f"/oauth2{older}{suffix}")
        return tuple(base + path for base in (self.base, self.mtls_base) if base is not None for path in paths)

    def mtls_endpoint(self, address: str) -> str | None:
        """What an endpoint is called where certificates are asked for; None where that is nowhere by itself."""
        return None if self.mtls_base is None else self.mtls_base + address.removeprefix(self.base)


def parse_path(text: str) -> str:
    """The canonical path of a realm, `/` or `/customers/eu`. Raises RealmPathError."""
    if text == "/":
        return text
    segments = text.split("/")
    if segments[0] != "" or not 1 <= len(segments) - 1 <= MAX_DEPTH:
        raise RealmPathError(f"a realm's path starts with / and is at most {MAX_DEPTH} deep")
    for segment in segments[1:]:
        if not _SEGMENT.fullmatch(segment):
            raise RealmPathError("each part of a realm's path is [A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
        if segment.lower() in RESERVED:
            raise RealmPathError(f"{segment!r} is reserved in a realm's path")
    return text


def nested(path: str) -> str:
    """The full form of a realm's path below the root realm: /realms/customers/realms/eu."""
    return "" if path == "/" else path.replace("/", "/realms/")


def path_of_address(text: str) -> str:
    """The realm that the part of an address between `/oauth2/` and the endpoint names.

    Accepts `realms/root[/realms/x...]` and the older `x/y`. Raises RealmPathError for anything else.
    """
    if text == "realms/root":
        return "/"
    if text.startswith("realms/"):
        head, *segments = text.split("/realms/")
        if head != "realms/root" or any(not segment or "/" in segment for segment in segments):
            raise RealmPathError("not the address of a realm")
        return parse_path("/" + "/".join(segments))
    return parse_path("/" + text)


REALM_DEFAULTS = defaults_of(RealmSettings)
"""What a realm is created with when nothing is said."""
