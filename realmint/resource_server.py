"""ResourceServer: the door of an API to the decision about a token."""

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any

from realmint.access_token import AccessToken
from realmint.bearer import InsufficientScope, TokenError, Unavailable
from realmint.engine import Engine, Surroundings
from realmint.introspection_policy import Introspection
from realmint.issuer_rule import IssuerRule
from realmint.key_policy import KeyPolicy
from realmint.messages import Transport
from realmint.notices import Notices
from realmint.protocol import Clock, Monotonic, monotonic, system_clock
from realmint.protocol.names import BEARER, SIGNING_ALGORITHMS, parse_scope
from realmint.rules import Legacy, Profile
from realmint.schemes import Schemes, TokenMissing
from realmint.single_flight import Listener, beside, here, tell
from realmint.status_cache import StatusPolicy
from realmint.token_cache import TokenCache
from realmint.transport import HTTPTransport
from realmint.upkeep import Upkeep

if TYPE_CHECKING:
    from realmint.checkup import Checkup
    from realmint.client_certificates import ClientCertificates
    from realmint.dpop_policy import DPoPPolicy
    from realmint.presented import Presented
    from realmint.proofs import Proofs

LOGGER = logging.getLogger("realmint")

_needed = lru_cache(maxsize=1024)(parse_scope)


class ResourceServer:
    """Checks access tokens for one API.

    issuer: the issuer identifier, compared exactly. audience: this API's own identifier, or several. issuers: in place
    of both, a rule for each of several issuers.

    algorithms: what a token may be signed with. leeway: tolerated clock difference in seconds. profile: `default` is
    RFC 9068 to the letter, `strict` shortens what an outage is survived for, Legacy(...) forgives what it names.
    keys: how keys are cached. status: how status lists (Token Status List) are used, None for not at all.
    introspection: when to ask the issuer as well, None for never. dpop: how proofs that a key is held are taken.
    certificates: where an adapter finds those of clients. Without these two, a token that is bound to one is refused.
    reach_at: scheme, host and port at which the issuer is reached, where that is not its name. jwks_url: where its keys
    are, if it has no metadata. allow_insecure_http: http is used though it leaves this machine. token_cache: how many
    verified tokens are kept, None for none. on_event: called with a name and fields, such as keys.refreshed; never
    with a token. background: whether threads fetch what will be needed before a call has to wait for it; without, each
    call makes the fetches that it needs.

    Nothing is fetched before the first token. Raises ValueError for an option that would skip a check.
    Safe to use from several threads and event loops, and across a fork.
    """

    def __init__(
        self,
        issuer: str | None = None,
        audience: str | Sequence[str] | None = None,
        *,
        issuers: Sequence[IssuerRule] | None = None,
        algorithms: Collection[str] = SIGNING_ALGORITHMS,
        leeway: int = 30,
        profile: Profile = "default",
        keys: KeyPolicy | None = None,
        status: StatusPolicy | None = StatusPolicy(),  # noqa: B008 - it cannot be changed
        introspection: Introspection | None = None,
        dpop: "DPoPPolicy | None" = None,
        certificates: "ClientCertificates | None" = None,
        reach_at: str | None = None,
        jwks_url: str | None = None,
        allow_insecure_http: bool = False,
        token_cache: TokenCache | None = TokenCache(),  # noqa: B008 - it cannot be changed
        transport: Transport | None = None,
        clock: Clock = system_clock,
        monotonic: Monotonic = monotonic,
        on_event: Listener | None = None,
        background: bool = True,
    ) -> None:
        if issuers is None:
            if not issuer or not audience:
                raise ValueError(
                    f"{'audience' if issuer else 'issuer'} is needed: issuer=... and audience=..., or issuers=[...]"
                )
            rule = IssuerRule(
                issuer, audience, algorithms, leeway, profile, keys or KeyPolicy(), status, introspection,
                reach_at, jwks_url, allow_insecure_http,
            )  # fmt: skip
            issuers = (rule,)
        elif issuer or audience or not issuers:
            raise ValueError(
                "issuers=[IssuerRule(...), ...] stands in place of issuer and audience, and holds one or more"
            )
        for name, policy, parts in (("dpop", dpop, "nonces"), ("certificates", certificates, "of")):
            if policy is not None and not hasattr(policy, parts):
                raise ValueError(f"{name} must be {'DPoPPolicy' if name == 'dpop' else 'ClientCertificates'}(...)")
        self.issuers = tuple(rule.issuer for rule in issuers)
        self.issuer = self.issuers[0]
        self.audience = tuple(dict.fromkeys(value for rule in issuers for value in rule.audiences()))
        self.assumed: AccessToken | None = None
        """Tests alone set it: the token that every request is taken to bring."""
        self._listener: Listener = Notices(on_event, monotonic)
        self._transport = transport or HTTPTransport()
        self._background = background
        self._upkeep = Upkeep(self._look_after)
        start = beside if background else here
        around = Surroundings(self._transport, clock, monotonic, self._listener, start, self._upkeep.wake)
        self._engine = Engine(issuers, token_cache, around, proofs=dpop is not None and dpop.required)
        self._dpop, self._clock, self._monotonic = dpop, clock, monotonic
        self.certificates = certificates
        self.schemes = Schemes(
            tuple(dpop.algorithms) if dpop is not None else (),
            required=dpop is not None and dpop.required,
            certificates=certificates is not None,
        )
        """How tokens may be sent."""
        self._look = partial(_checkup, tuple(issuers), self._transport, clock)
        self._asks = all(rule.introspection is not None for rule in issuers)
        for rule in issuers:
            _say_what_is_forgiven(rule)

    def validate(
        self, access_token: str, scope: str | None = None, *, live: bool = False, presented: "Presented | None" = None
    ) -> AccessToken:
        """The accepted token.

        scope: values that are all needed, separated by spaces. live: ask the issuer as well, about this one.
        presented: what the request shows beside its token; without it, as with nothing but the token, one that is
        bound to a key or a certificate (`cnf`) is refused.

        Raises InvalidToken (401), InvalidProof (401), InsufficientScope (403) or Unavailable (503), all of them
        TokenError. Implements RFC 9068 section 4, Token Status List section 8.3, RFC 8705 section 3, and RFC 9449
        section 7.
        """
        needed = self._prepared(scope, live=live)
        try:
            if presented is not None:
                return _sufficient(self._proofs.decide(access_token, presented, live=live), needed)
            token = None if live else self._engine.at_hand(access_token)
            return _sufficient(token or self._engine.decide(access_token, live=live), needed)
        except TokenError as error:
            self._denied(error, presented)
            raise

    async def avalidate(
        self, access_token: str, scope: str | None = None, *, live: bool = False, presented: "Presented | None" = None
    ) -> AccessToken:
        """As validate, on an event loop, which goes on while something is fetched."""
        needed = self._prepared(scope, live=live)
        try:
            if presented is not None:
                return _sufficient(await self._proofs.adecide(access_token, presented, live=live), needed)
            token = None if live else self._engine.at_hand(access_token)
            return _sufficient(token or await self._engine.adecide(access_token, live=live), needed)
        except TokenError as error:
            self._denied(error, presented)
            raise

    def challenge_missing(self) -> str:
        """The WWW-Authenticate value for a request without a token: no error code (RFC 6750 section 3.1)."""
        return self.schemes.challenges(TokenMissing()) or BEARER

    def refresh_keys(self) -> None:
        """Fetches the keys now, of every issuer. Raises Unavailable where that failed for one."""
        failed: list[Unavailable] = []
        for served in self._engine.served.values():
            try:
                served.keys.refresh()
            except Unavailable as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def check(self) -> "Checkup":
        """Fetches now whatever will be needed, and says what an operator should mend. Raises nothing for that."""
        return self._look()

    def among_processes(self) -> None:
        """What an adapter says that its server told it: a proof is to count once for all processes of the API."""
        store = self._dpop.replay if self._dpop is not None else None
        if getattr(store, "shared", True) is False:
            tell(self._listener, "replays.unshared", {})

    def health(self) -> Mapping[str, Any]:
        """`ready`: whether tokens can be decided; and the state of keys and status lists, of each issuer."""
        return self._engine.health()

    def close(self) -> None:
        """Lets go of connections, and of the thread."""
        self._upkeep.close()
        if isinstance(self._transport, HTTPTransport):
            self._transport.close()

    def _prepared(self, scope: str | None, *, live: bool) -> tuple[str, ...]:
        if live and not self._asks:
            raise ValueError("live=True needs introspection=Introspection(...), for each issuer")
        if self._background and not self._upkeep.running:
            self._upkeep.start()
        return _needed(scope) if scope is not None else ()

    @cached_property
    def _proofs(self) -> "Proofs":
        from realmint.proofs import Proofs  # an API whose tokens are bound to nothing does without

        return Proofs(self._engine, self._dpop, self._clock, self._monotonic, self._listener)

    def _look_after(self) -> float:
        return self._engine.upkeep()

    def _denied(self, error: TokenError, presented: "Presented | None") -> None:
        self.schemes.tell(error, presented.scheme if presented is not None else BEARER)
        tell(self._listener, "token.denied", {"status": error.status, "reason": error.reason})


def _sufficient(token: AccessToken, needed: tuple[str, ...]) -> AccessToken:
    if not token.scopes.issuperset(needed):
        raise InsufficientScope(needed)
    return token


def _checkup(issuers: Sequence[IssuerRule], transport: Transport, clock: Clock) -> "Checkup":
    from realmint.checkup import Checkup, checkup  # before the first token, or never

    return Checkup(tuple(finding for rule in issuers for finding in checkup(rule, transport, clock).findings))


def _say_what_is_forgiven(rule: IssuerRule) -> None:
    if isinstance(rule.profile, Legacy) and rule.profile.allowed():
        LOGGER.info("tokens of %s: forgiven is %s", rule.issuer, ", ".join(rule.profile.allowed()))
