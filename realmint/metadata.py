"""An issuer's metadata (RFC 8414): where its keys are, and where it is asked about a token.

What is held was checked before it was kept, and is let go when it proves wrong: addresses move.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from realmint.bearer import Unavailable
from realmint.protocol import Monotonic
from realmint.protocol.jws import JWSError, parse_object
from realmint.single_flight import FetchError, SingleFlight
from realmint.transport import Request, Transport, TransportError, is_secure

MAX_AGE = 86400.0
"""Seconds after which the metadata is fetched again."""
DOUBT_AFTER = 60.0
"""Least age in seconds at which a refusal at an address is taken for a sign that it moved."""
MAX_DOCUMENT = 65536


@dataclass(frozen=True)
class _Held:
    """The addresses of one good document; those that may not be used are left out."""

    addresses: Mapping[str, str]
    fetched_at: float


class Metadata:
    """The addresses of one issuer. Safe to use from several threads and across a fork."""

    def __init__(self, issuer: str, transport: Transport, flight: SingleFlight, monotonic: Monotonic) -> None:
        self._issuer = issuer
        self._transport = transport
        self._flight = flight
        self._monotonic = monotonic
        self._held: _Held | None = None

    def address(self, name: str) -> str:
        """The address of this name, on the issuer's own host; fetched where it is not held.

        Raises FetchError or TransportError. For callers that let one fetch at a time through and pause after failures.
        """
        known = self._known(name)
        if known is not None:
            return known
        held = self._held = self._fetch()
        if name not in held.addresses:
            raise FetchError(f"metadata has no {name} on the issuer's host")
        return held.addresses[name]

    def shared_address(self, name: str, wait: float) -> str:
        """As address(), but one caller fetches, the others wait at most `wait` seconds, and failures are followed by a
        pause. Raises Unavailable.
        """
        known = self._known(name)
        if known is None and self._flight.due:
            self._flight.fetch(lambda: self._look_up(name), wait)
            known = self._known(name)
        if known is None:
            raise Unavailable("metadata_unreachable", self._flight.retry_after)
        return known

    def forget(self) -> None:
        """What is held proved wrong, or is not wanted: the next caller fetches."""
        self._held = None

    def doubt(self) -> None:
        """An address did not answer as it should: forgets what is held unless it was fetched only just now."""
        held = self._held
        if held is not None and self._monotonic() - held.fetched_at >= DOUBT_AFTER:
            self._held = None

    def _known(self, name: str) -> str | None:
        held = self._held
        if held is None or self._monotonic() - held.fetched_at >= MAX_AGE:
            return None
        return held.addresses.get(name)

    def _look_up(self, name: str) -> None:
        self.address(name)

    def _fetch(self) -> _Held:
        parts = urlsplit(self._issuer)
        # RFC 8414 section 3.1: the well-known part goes between host and path.
        url = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path.rstrip('/')}"
        try:
            answer = self._transport(Request("GET", url, {"Accept": "application/json"}, max_bytes=MAX_DOCUMENT))
        except TransportError as error:
            raise TransportError(f"metadata {error}") from None
        if answer.status != 200:
            raise FetchError(f"metadata status {answer.status}")
        try:
            document = parse_object(answer.body)
        except JWSError:
            raise FetchError("metadata is not JSON") from None
        if document.get("issuer") != self._issuer:  # RFC 8414 section 3.3
            raise FetchError("metadata names another issuer")
        addresses = {name: value for name, value in document.items() if self._may_be_used(value)}
        if "jwks_uri" not in addresses:
            raise FetchError("metadata has no jwks_uri on the issuer's host")
        return _Held(addresses, self._monotonic())

    def _may_be_used(self, value: object) -> bool:
        # Split only once it is known to be a URL: the parser raises for what is not.
        on_host = isinstance(value, str) and is_secure(value)
        return on_host and urlsplit(str(value)).netloc == urlsplit(self._issuer).netloc
