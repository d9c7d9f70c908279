"""Where an issuer is reached: which addresses of its may be fetched, and under which other ones. Pure.

Names are compared as they are written; only what is fetched may be somewhere else.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from realmint.messages import Request
from realmint.protocol.addresses import is_secure, is_url

MAX_DOCUMENT = 65536
"""Longest answer in bytes."""


class Reach:
    """How one issuer is reached.

    issuer: its identifier. reach_at: scheme, host and port that take the place of the issuer's own in every address
    that is fetched. jwks_url: where its keys are, for an issuer without metadata. allow_insecure_http: http is used
    though it leaves this machine, as inside one host or pod. openid: its metadata is where OpenID Connect Discovery has
    it, and its identifier may end with a slash. Raises ValueError, which says what is wrong.
    """

    def __init__(
        self,
        issuer: str,
        reach_at: str | None = None,
        jwks_url: str | None = None,
        allow_insecure_http: bool = False,
        openid: bool = False,
    ) -> None:
        self.openid = openid
        self.issuer, self.reach_at, self.jwks_url = issuer, reach_at, jwks_url
        self.allow_insecure_http = allow_insecure_http
        plain = "?" not in issuer and "#" not in issuer and (openid or not issuer.endswith("/"))
        at_issuer = reach_at is not None or jwks_url is not None
        # Where it is never asked under its own name, that is a name and nothing else.
        if not plain or not (is_url(issuer) if at_issuer else self._may_be_asked(issuer)):
            raise ValueError(
                f"issuer must be an https URL (http on loopback, or with allow_insecure_http=True) without a trailing"
                f" slash, query or fragment, not {issuer!r}"
            )
        if reach_at is not None and (not self._may_be_asked(reach_at) or _origin(reach_at) != reach_at):
            raise ValueError(
                f"reach_at must be scheme, host and port, https (http on loopback, or with allow_insecure_http=True),"
                f" such as https://issuer.internal:8443, not {reach_at!r}"
            )
        if jwks_url is not None and not self._may_be_asked(jwks_url):
            raise ValueError(
                f"jwks_url must be https (http on loopback, or with allow_insecure_http=True), not {jwks_url!r}"
            )

    def metadata_url(self) -> str:
        """The name of the metadata document: the well-known part goes between host and path (RFC 8414 section 3.1), or
        behind the path (OpenID Connect Discovery 1.0 section 4.1)."""
        if self.openid:
            return f"{self.issuer.removesuffix('/')}/.well-known/openid-configuration"
        parts = urlsplit(self.issuer)
        return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path}"

    def names(self, address: object) -> bool:
        """Whether `address`, from a document of the issuer's, is an address of its own that may be fetched."""
        if not isinstance(address, str) or not is_url(address) or _origin(address) != _origin(self.issuer):
            return False
        return self._may_be_asked(self.fetched(address))

    def fetched(self, address: str) -> str:
        """Where what the issuer calls `address` is fetched."""
        if self.reach_at is None or _origin(address) != _origin(self.issuer):
            return address
        return self.reach_at + address[len(_origin(address)) :]

    def request(
        self,
        method: str,
        address: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
        max_bytes: int = MAX_DOCUMENT,
        seconds: float | None = None,
    ) -> Request:
        """Asks what the issuer calls `address`. Not checked: that it is one of its own."""
        return Request(method, self.fetched(address), headers, body, max_bytes, self.allow_insecure_http, seconds)

    def _may_be_asked(self, address: str) -> bool:
        return is_url(address) if self.allow_insecure_http else is_secure(address)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
