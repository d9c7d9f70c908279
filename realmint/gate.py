"""What every adapter asks: who is let in, and what the others are answered."""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import NamedTuple

from realmint import answers
from realmint.access_token import AccessToken
from realmint.answers import Answer
from realmint.arrivals import Arrival
from realmint.bearer import InsufficientScope, TokenError, parse_authorization, parse_proven
from realmint.presented import Presented
from realmint.protected_resource import METADATA_PATH, Resource, resource_of
from realmint.protocol.names import BEARER, DPOP, ScopeError, parse_scope
from realmint.protocol.urls import normalised
from realmint.resource_server import ResourceServer
from realmint.schemes import TokenMissing

Url = str | Callable[[str], str]
"""Where clients reach an API: what stands before the path of a request, or what makes its URL of that path."""


class Need(NamedTuple):
    """What is asked of a token: every value of `scope`; live: that the issuer is asked about it as well."""

    scope: str | None = None
    values: tuple[str, ...] = ()
    live: bool = False


@dataclass(frozen=True)
class Held:
    """A token that was accepted in this request, and what it came in and with, which no repr shows."""

    authorization: tuple[str, ...] = field(repr=False)
    token: AccessToken
    live: bool
    presented: Presented | None = field(default=None, repr=False)


class _Asked(NamedTuple):
    """What is to be looked at. presented: None for a token alone."""

    authorization: tuple[str, ...]
    token: str
    presented: Presented | None

    def __repr__(self) -> str:
        return f"_Asked(presented={self.presented!r})"  # and nothing of the token


ANY = Need()
"""Any good token."""


class Gate:
    """One API's guard, whatever stands around it.

    resource: the API's own URL, where no audience is one. url: as Url says; without, the origin of the API's own URL.
    Raises ValueError for what is no such URL, and where proofs are taken and nothing says for which addresses.
    """

    def __init__(self, api: ResourceServer, resource: str | None, url: Url | None = None) -> None:
        self._api = api
        self._resource = resource_of(api.audience, resource)
        self._url = _address(self._resource, url)
        if api.schemes.algorithms and self._url is None:
            raise ValueError(
                "a proof is for an address: dpop=DPoPPolicy(...) needs an audience that is a URL, or Guard(api,"
                ' resource="https://...") or Guard(api, url="https://...")'
            )
        self._scopes: set[str] = set()
        self.path = self._resource.path if self._resource is not None else None
        """The path of the API's own URL: empty for `/`; None where it has no URL."""

    def need(self, scope: str | None, *, live: bool = False, learn: bool = True) -> Need:
        """What a route asks. learn: its scope is named in the metadata. Raises TypeError, ValueError."""
        if callable(scope):
            raise TypeError("@guard.require is called: @guard.require() or @guard.require('orders:read')")
        try:
            values = parse_scope(scope) if scope is not None else ()
        except ScopeError:
            raise ValueError(f"{scope!r} is not a list of scope values separated by single spaces") from None
        if learn:
            self._scopes.update(values)
        return Need(scope, tuple(values), live)

    def admit(self, arrival: Arrival, need: Need, held: Held | None = None) -> Held:
        """The accepted token of a request. held: what it was let in with before. Raises TokenError."""
        found = self._at_hand(arrival, need, held)
        if isinstance(found, Held):
            return found
        if found.presented is None:
            token = self._api.validate(found.token, need.scope, live=need.live)
        else:
            token = self._api.validate(found.token, need.scope, live=need.live, presented=found.presented)
        return Held(found.authorization, token, need.live, found.presented)

    async def aadmit(self, arrival: Arrival, need: Need, held: Held | None = None) -> Held:
        """As admit(), on an event loop."""
        found = self._at_hand(arrival, need, held)
        if isinstance(found, Held):
            return found
        if found.presented is None:
            token = await self._api.avalidate(found.token, need.scope, live=need.live)
        else:
            token = await self._api.avalidate(found.token, need.scope, live=need.live, presented=found.presented)
        return Held(found.authorization, token, need.live, found.presented)

    def refusal(self, refused: TokenError) -> Answer:
        """What a request is answered that is not let in."""
        return answers.refusal(refused, self._resource, self._api.schemes)

    def metadata(self) -> Answer:
        """The API's metadata (RFC 9728)."""
        api = self._api
        return answers.metadata(self._resource, api.audience, api.issuers, self._scopes.copy(), api.schemes)

    def _at_hand(self, arrival: Arrival, need: Need, held: Held | None) -> Held | _Asked:
        """What is accepted without looking, else what to look at."""
        authorization = tuple(arrival.header("Authorization"))
        assumed = self._api.assumed
        if assumed is not None:  # a test's: as_caller()
            if not assumed.scopes.issuperset(need.values):
                raise InsufficientScope(need.values)
            return Held(authorization, assumed, need.live)
        asked = self._asked(authorization, arrival, need)
        # Not by what the request is: a program may send another one inside it that has its context.
        if held is None or held.authorization != authorization or held.presented != asked.presented:
            return asked
        if held.live >= need.live and held.token.scopes.issuperset(need.values):
            return held
        return asked._replace(presented=held.presented)  # whose proof was this request's already

    def _asked(self, authorization: tuple[str, ...], arrival: Arrival, need: Need) -> _Asked:
        """Raises TokenError."""
        token = parse_proven(authorization) if self._api.schemes.algorithms else None
        if token is not None:
            if arrival.among_processes():
                self._api.among_processes()
            url = self._url(arrival.path()) if self._url is not None else ""
            proofs = tuple(arrival.header(DPOP))
            shown = Presented(DPOP, proofs, arrival.method(), url, self._certificate(arrival))
            return _Asked(authorization, token, shown)
        token = parse_authorization(authorization)
        if token is None:
            raise TokenMissing(need.scope)
        certificate = self._certificate(arrival)
        return _Asked(authorization, token, None if certificate is None else Presented(BEARER, certificate=certificate))

    def _certificate(self, arrival: Arrival) -> bytes | None:
        certificates = self._api.certificates
        return certificates.of(arrival) if certificates is not None else None


def _address(resource: Resource | None, url: Url | None) -> Callable[[str], str] | None:
    """What makes of the path of a request its URL. Raises ValueError."""
    if callable(url):
        return url
    if url is not None and (normalised(url) is None or {"?", "#"} & set(url)):
        raise ValueError("url must be an http or https URL without query and fragment, or a function")
    if url is None and resource is None:
        return None
    base = url.rstrip("/") if url is not None else resource.origin if resource is not None else ""
    # What does not begin so would go on with the name of the host.
    return lambda path: base + path if path.startswith("/") else ""


def take_paths(taken: MutableMapping[str, Gate], gate: Gate) -> list[str]:
    """The paths at which an application has to answer with a gate's metadata, and does not yet (RFC 9728 section 3.1).

    `taken` says whose metadata is where. The first gate's is at the root path, unless its API's URL has a path and
    another one's has none: that one's challenges point there.
    """
    paths = [METADATA_PATH] + ([METADATA_PATH + gate.path] if gate.path else [])
    new = [path for path in paths if path not in taken]
    if gate.path == "" and taken.get(METADATA_PATH, gate).path != "":
        taken[METADATA_PATH] = gate
    taken.update(dict.fromkeys(new, gate))
    return new


def only_there(found: Held | None) -> AccessToken:
    """The token of what was held. Raises RuntimeError where nothing is."""
    if found is None:
        raise RuntimeError("a guard's token is there only inside a route that is marked with guard.require(...)")
    return found.token
