"""An issuer's metadata (RFC 8414): where its keys are, and where it is asked about a token. Pure.

What is held was checked before it was kept, and is let go when it proves wrong: addresses move.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from realmint.bearer import Unavailable
from realmint.fetching import Absorbed, Answer, Fetch, FetchError, Fetching, Flight, Have, Refuse, Step, Tried
from realmint.messages import TransportError
from realmint.protocol.addresses import is_url
from realmint.protocol.jws import JWSError, parse_object
from realmint.reach import Reach

MAX_AGE = 86400.0
"""Seconds after which the metadata is fetched again."""
DOUBT_AFTER = 60.0
"""Least age in seconds at which a refusal at an address is taken for a sign that it moved."""
LONGEST_NAME = 256
"""Longest identifier of another issuer in characters that is repeated to an operator."""
KEPT_FOR = 600.0
"""Seconds for which addresses are used on that could not be asked for anew."""
_NONE_KNOWN: Mapping[str, str] = MappingProxyType({})


class Metadata(NamedTuple):
    """The addresses of one issuer, on its own host: those of one good document that may be used, or none yet.

    fetching: the fetches for callers of endpoint(); those for the keys count with the keys.
    """

    reach: Reach
    fetching: Fetching
    addresses: Mapping[str, str] = _NONE_KNOWN
    fetched_at: float = float("-inf")

    def address(self, name: str, now: float) -> str | None:
        """What is held and not too old; where the keys are may be said once and for all."""
        if name == "jwks_uri" and self.reach.jwks_url is not None:
            return self.reach.jwks_url
        return self.addresses.get(name) if now - self.fetched_at < MAX_AGE else None

    def endpoint(self, name: str, now: float, tried: Tried) -> tuple["Metadata", Step[str]]:
        """What to do for the address of this name. Refused with Unavailable."""
        known = self.address(name, now)
        if known is not None:
            return self, Have(known)
        if tried.fetched or not self.fetching.due(now):
            return self, Refuse(Unavailable("metadata_unreachable", self.fetching.retry_after(now)))
        if self.fetching.under_way is not None:
            return self, self.fetching.wait(Tried(fetched=True))
        fetching, flight = self.fetching.begin()
        return self._replace(fetching=fetching), self.ask(flight, name, Tried(fetched=True), self.fetching.patience)

    def absorb(self, fetch: Fetch, answer: Answer, now: float) -> "Absorbed[Metadata]":
        """After what came of a fetch of endpoint()."""
        if self.fetching.under_way != fetch.flight:
            return Absorbed(self)
        try:
            read = self.read(answer, now)
        except FetchError:
            return Absorbed(self._replace(fetching=self.fetching.failed(now)))
        # A document that lacks what was looked for is good, and no reason to ask again at once.
        found = fetch.part in read.addresses
        return Absorbed(read._replace(fetching=self.fetching.succeeded() if found else self.fetching.failed(now)))

    def ask(self, flight: Flight, part: str, tried: Tried, seconds: float, *, anew: bool = False) -> Fetch:
        """Fetches the document; anew: past the caches on the way."""
        headers = {"Accept": "application/json"} | ({"Cache-Control": "no-cache"} if anew else {})
        asked = self.reach.request("GET", self.reach.metadata_url(), headers)
        return Fetch(asked, flight, part, tried, seconds)

    def read(self, answer: Answer, now: float) -> "Metadata":
        """With the addresses of a good document. Raises FetchError for anything else."""
        if isinstance(answer, TransportError):
            raise FetchError(f"metadata {answer}")
        if answer.status != 200:
            raise FetchError(f"metadata status {answer.status}")
        try:
            document = parse_object(answer.body)
        except JWSError:
            raise FetchError("metadata is not JSON") from None
        if document.get("issuer") != self.reach.issuer:  # RFC 8414 section 3.3
            raise FetchError(f"metadata names another issuer{_named(document.get('issuer'))}")
        addresses = {name: value for name, value in document.items() if self.reach.names(value)}
        if "jwks_uri" not in addresses:
            raise FetchError("metadata has no jwks_uri on the issuer's host")
        return self._replace(addresses=addresses, fetched_at=now)

    def outdated(self) -> "Metadata":
        """What is held may be wrong: the next caller fetches, and falls back on it where that fails."""
        return self._replace(fetched_at=float("-inf"))

    def doubted(self, now: float) -> "Metadata":
        """An address did not answer as it should: outdated, unless it was fetched only just now."""
        return self.outdated() if now - self.fetched_at >= DOUBT_AFTER else self

    def kept(self, now: float) -> "Metadata":
        """What is held could not be had anew, and is used for a while."""
        return self._replace(fetched_at=now - MAX_AGE + KEPT_FOR)

    def abandoned(self, flight: Flight) -> "Metadata":
        """That flight will have no answer."""
        return self._replace(fetching=self.fetching.abandoned(flight))

    def forked(self) -> "Metadata":
        """For a child of this process."""
        return self._replace(fetching=self.fetching.forked())


def _named(issuer: object) -> str:
    """Which, where that is an address and no longer than one: an operator compares it with what he wrote."""
    return f", {issuer}" if isinstance(issuer, str) and len(issuer) <= LONGEST_NAME and is_url(issuer) else ""
