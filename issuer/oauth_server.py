"""The Authlib adapter: its AuthorizationServer dispatches, its grant and endpoint classes are the frame, and what they
frame is ours.

The request is read by issuer/request.py, because Authlib's own reads the query, accepts repeats and raises outside its
error handling (facts L1, L11). The phases of a token request stand in issuer/grants/base.py. Refusals are raised, never
returned: issuer/errors.py turns them into answers.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from authlib.oauth2 import AuthorizationServer, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749.grants import BaseGrant, ClientCredentialsGrant
from authlib.oauth2.rfc6749.requests import OAuth2Payload

from issuer import client_auth, log
from issuer.answer import Answer, document
from issuer.counts import Counts
from issuer.grants import GRANTS, GRANTS_BY_NAME, TokenGrant, issue
from issuer.opaque import OpaqueToken
from issuer.refusals import (
    GRANT_TYPE_NOT_SET,
    GRANT_TYPE_NOT_SUPPORTED,
    UnknownRealm,
    because,
    invalid_request,
)
from issuer.registry.view import Registry
from issuer.request import Arrival, ClientRequest, Request, read
from issuer.tokens import Issued
from realmint.protocol import Clock
from realmint.protocol.dpop import Nonces
from realmint.protocol.names import DPOP_NONCE, format_scope

NONCE_LIFETIME = 300
"""Seconds for which a DPoP nonce is given out; it is taken for as long again."""
_REPEATABLE = frozenset(name for grant in GRANTS for name in grant.REPEATABLE)


# Authlib checks the scheme of this string only; Settings has decided on the transport already. Once, for all requests.
_BLANK = {**vars(OAuth2Request("POST", "https://issuer.invalid/")), "headers": MappingProxyType({})}


class AuthlibRequest(OAuth2Request):
    """`ours`, a request, in the shape that Authlib passes around."""

    def __init__(self, ours: Request) -> None:  # not the base class's, whose work is in _BLANK
        self.__dict__.update(_BLANK, method=ours.method, ours=ours, payload=_Payload(ours.parameters))


class _Payload(OAuth2Payload):
    """The parameters, as Authlib's classes read them."""

    __slots__ = ("data", "datalist", "grant_type", "scope")  # in the place of the base class's properties

    def __init__(self, parameters: Mapping[str, Sequence[str]]) -> None:
        self.datalist = parameters
        self.data = {name: values[0] for name, values in parameters.items()}
        self.grant_type = self.data.get("grant_type")
        self.scope = self.data.get("scope")


class IssuerServer(AuthorizationServer):
    """One authorization server for all realms."""

    def __init__(self, registry: Registry, clock: Clock, tokens: Counts, nonce_secret: Callable[[], bytes]) -> None:
        """tokens: where each token is counted, under the path of its realm. nonce_secret: what all nodes make nonces
        from."""
        super().__init__()
        self._nonce_secret = nonce_secret
        self._registry = registry
        self._clock = clock
        self._tokens = tokens
        for grant in GRANTS:
            self.register_grant(_framed(grant))

    def token(self, arrival: Arrival) -> Answer:
        """The answer of the token endpoint (RFC 6749 section 5.1). Raises an OAuth2Error, or UnknownRealm."""
        answer: Answer = self.create_token_response(arrival)
        return answer

    def at_endpoint(self, name: str, arrival: Arrival) -> Answer:
        """The answer of the endpoint that was registered under `name`. Raises as token() does."""
        answer: Answer = self.create_endpoint_response(name, arrival)
        return answer

    def authenticate(self, request: Request) -> ClientRequest:
        """The request of the client that proved who it is; the same methods at every endpoint."""
        found = client_auth.authenticate(request, self._registry.directory(request.realm, request.address))
        self._registry.marks.used(found.authenticated.credential_id, request.now)
        return found

    def keep(self, token: OpaqueToken, now: int) -> None:
        """Puts a token that is not signed into the store. Raises temporarily_unavailable, or one of STORE_ERRORS."""
        self._registry.opaque.keep(token, now)

    def use_first(self, what: str, whose: int, name: str, until: int) -> bool:
        """Whether nobody used this before, over all processes and nodes. Raises as keep() does."""
        return self._registry.use_first(what, whose, name, until)

    def nonces(self) -> Nonces:
        """Those of all nodes that share the key-encryption key. Raises SealingError where there is none."""
        return Nonces(self._nonce_secret(), NONCE_LIFETIME)

    # What Authlib calls.

    def create_oauth2_request(self, request: Arrival | AuthlibRequest) -> AuthlibRequest:
        """The strict request at the realm it arrived at. Raises UnknownRealm, or invalid_request."""
        if isinstance(request, AuthlibRequest):
            return request
        view = self._registry.realm(request.realm_path)
        if view is None:
            raise UnknownRealm
        return AuthlibRequest(
            read(request, view.realm, view.addresses, view.keys, view.set_indexes, self._clock(), _REPEATABLE)
        )

    def get_token_grant(self, request: AuthlibRequest) -> BaseGrant:
        """The grant that the request names (RFC 6749 section 5.2)."""
        name = request.payload.grant_type
        if not name:
            raise invalid_request("no_grant_type", GRANT_TYPE_NOT_SET)
        if name not in GRANTS_BY_NAME:
            raise because(OAuth2Error(GRANT_TYPE_NOT_SUPPORTED, error="unsupported_grant_type"), "unknown_grant_type")
        return super().get_token_grant(request)

    def authenticate_client(self, request: AuthlibRequest, methods: object, endpoint: str = "token") -> Any:
        """What Authlib hands on as the client: who the phases of a token request found, else the ClientRequest."""
        del methods, endpoint
        return request.client or self.authenticate(request.ours)

    def save_token(self, token: "_TokenResponse", request: AuthlibRequest) -> None:
        """No row per token (design decision 7) but for what grants/base.py had kept; a mark, and a line in the log."""
        issued, realm_path = token.issued, request.ours.realm.path
        self._tokens.add(realm_path)
        authorization = issued.authorization
        self._registry.marks.requested(authorization.client.id, authorization.scope, request.ours.now)
        log.event(
            "token_issued",
            realm=realm_path,
            client_id=authorization.client.client_id,
            credential_id=authorization.credential_id,
            address=request.ours.address,
            jti=issued.token_id,
            kid=issued.kid,
            expires_at=issued.expires_at,
        )

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nobody listens: the log is written where things happen."""

    def handle_response(self, status: int, body: Mapping[str, object], headers: object) -> Answer:
        """JSON; that nobody stores it is the endpoint's to say."""
        del headers
        issued = body.issued if isinstance(body, _TokenResponse) else None
        if (
            issued is not None
            and issued.authorization.realm.dpop_nonce
            and "jkt" in issued.authorization.confirmation.bound
        ):
            return document(status, body, {DPOP_NONCE: self.nonces().issue(self._clock())})  # RFC 9449 section 8.2
        return document(status, body)

    def handle_error_response(self, request: object, error: OAuth2Error) -> Answer:
        """Raised on, to the one translation in issuer/errors.py."""
        del request
        raise error


class _Frame(ClientCredentialsGrant):
    """Authlib's grant around one token request: it asks for the client, whether it may use the grant, and the scope.

    The phases answer all of that at once, before it asks; their answer waits here, since Authlib hands nothing on
    between its two steps.
    """

    grant: TokenGrant

    def validate_token_request(self) -> None:
        """Every phase, signing or storing too. Raises an OAuth2Error at the first that refuses."""
        self._issued: Issued = issue(self.grant, self.request.ours, self.server)
        self.request.client = self._issued.authorization.client
        super().validate_token_request()

    def validate_requested_scope(self) -> None:
        """Nothing: granted_scope(), in grants/base.py, has decided it."""

    def generate_token(self, **_: object) -> "_TokenResponse":
        """The token response, called by Authlib's create_token_response."""
        return _TokenResponse(self._issued)


def _framed(member: TokenGrant) -> type[_Frame]:
    class Framed(_Frame):
        GRANT_TYPE = member.GRANT_TYPE
        grant = member

    return Framed


class _TokenResponse(dict[str, object]):
    """A token response (RFC 6749 section 5.1) whose repr shows nothing: Authlib writes it to the debug log (#208)."""

    def __init__(self, issued: Issued) -> None:
        super().__init__(
            access_token=issued.token,
            token_type=issued.authorization.confirmation.token_type,
            expires_in=issued.authorization.lifetime,
            scope=format_scope(issued.authorization.scope),
        )
        self.issued = issued

    def __repr__(self) -> str:
        return "<token response>"

    __str__ = __repr__
