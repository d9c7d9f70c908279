"""What every adapter asks: who is let in, and what the others are answered."""

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from realmint import answers
from realmint.answers import Answer, TokenMissing
from realmint.bearer import InsufficientScope, TokenError, parse_authorization
from realmint.decision import AccessToken
from realmint.protected_resource import METADATA_PATH, resource_of
from realmint.protocol.names import ScopeError, parse_scope
from realmint.resource_server import ResourceServer


class Need(NamedTuple):
    """What is asked of a token: every value of `scope`; live: that the issuer is asked about it as well."""

    scope: str | None = None
    values: tuple[str, ...] = ()
    live: bool = False


@dataclass(frozen=True)
class Held:
    """A token that was accepted in this request, and the headers that it came in, which no repr shows."""

    authorization: tuple[str, ...] = field(repr=False)
    token: AccessToken
    live: bool


ANY = Need()
"""Any good token."""


class Gate:
    """One API's guard, whatever stands around it. Raises ValueError for a `resource` that is no URL of an API."""

    def __init__(self, api: ResourceServer, resource: str | None) -> None:
        self._api = api
        self._resource = resource_of(api.audience, resource)
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

    def admit(self, authorization: Sequence[str], need: Need, held: Held | None = None) -> Held:
        """The accepted token of these Authorization headers. held: what this request was let in with before.

        Raises TokenError.
        """
        found = self._at_hand(authorization, need, held)
        if isinstance(found, Held):
            return found
        return Held(tuple(authorization), self._api.validate(found, need.scope, live=need.live), need.live)

    async def aadmit(self, authorization: Sequence[str], need: Need, held: Held | None = None) -> Held:
        """As admit(), on an event loop."""
        found = self._at_hand(authorization, need, held)
        if isinstance(found, Held):
            return found
        return Held(tuple(authorization), await self._api.avalidate(found, need.scope, live=need.live), need.live)

    def refusal(self, refused: TokenError) -> Answer:
        """What a request is answered that is not let in."""
        return answers.refusal(refused, self._resource)

    def metadata(self) -> Answer:
        """The API's metadata (RFC 9728)."""
        return answers.metadata(self._resource, self._api.audience, self._api.issuers, self._scopes.copy())

    def _at_hand(self, authorization: Sequence[str], need: Need, held: Held | None) -> Held | str:
        """What is accepted without looking, else the token to look at."""
        assumed = self._api.assumed
        if assumed is not None:  # a test's: as_caller()
            if not assumed.scopes.issuperset(need.values):
                raise InsufficientScope(need.values)
            return Held(tuple(authorization), assumed, need.live)
        token = parse_authorization(authorization)
        if token is None:
            raise TokenMissing(need.scope)
        # Not by what the request is: a program may send another one inside it that has its context.
        same = held is not None and held.authorization == tuple(authorization) and held.live >= need.live
        if held is not None and same and held.token.scopes.issuperset(need.values):
            return held
        return token


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
