"""Authlib's AuthorizationServer over our realms, and the strict request object it works on.

Authlib dispatches to the grants and endpoints; the request is read here, because Authlib's own reads the
query, accepts repeats and raises outside its error handling (facts L1, L11). Refusals are raised, never
returned: issuer/errors.py turns them into responses.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import flask
from authlib.oauth2 import AuthorizationServer, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749.requests import OAuth2Payload
from werkzeug.exceptions import NotFound, RequestEntityTooLarge

from issuer import client_auth, log
from issuer.clients import Client
from issuer.form import check_content_type, parse_form
from issuer.grants import GRANTS, GRANTS_BY_NAME, TokenGrant
from issuer.peer import Network, client_address
from issuer.refusals import (
    BODY_MALFORMED,
    GRANT_TYPE_NOT_SET,
    GRANT_TYPE_NOT_SUPPORTED,
    QUERY_PARAMETERS,
    TOO_LARGE,
    RequestTooLargeError,
    because,
    invalid_request,
)
from issuer.registry import RealmView, Registry
from realmint.protocol import Clock

MAX_BODY = 64 * 1024
_dumps = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_REPEATABLE = frozenset(name for grant in GRANTS for name in grant.REPEATABLE)


class Parameters(OAuth2Payload):
    """The parameters of a request, as Authlib's grants and endpoints read them."""

    def __init__(self, parameters: Mapping[str, list[str]]) -> None:
        self._datalist = parameters
        self._data = {name: values[0] for name, values in parameters.items()}

    @property
    def data(self) -> Mapping[str, str]:
        return self._data

    @property
    def datalist(self) -> Mapping[str, list[str]]:
        return self._datalist


class Request(OAuth2Request):
    """What arrived, read strictly, and the realm it arrived at. `now` is one instant for all of it."""

    def __init__(self, request: flask.Request, view: RealmView, now: int, address: str | None) -> None:
        # Authlib checks the scheme of this string only; Settings has decided on the transport already.
        super().__init__(request.method, "https://issuer.invalid/", headers=request.headers)
        self.uri = view.addresses.issuer
        self.payload = Parameters(_parameters(request))
        self.view = view
        self.realm = view.realm
        self.addresses = view.addresses
        self.keys = view.keys
        self.now = now
        self.address = address
        self.authorization: str | None = request.environ.get("HTTP_AUTHORIZATION")
        self.claimed_client_id: str | None = None

    @property
    def form(self) -> Mapping[str, str]:
        return self.payload.data

    @property
    def args(self) -> Mapping[str, str]:
        return {}


class IssuerServer(AuthorizationServer):
    """One authorization server for all realms; the view passes the path of the realm."""

    def __init__(self, registry: Registry, clock: Clock, trusted: Sequence[Network]) -> None:
        super().__init__()
        self._trusted = trusted
        self._registry = registry
        self._clock = clock
        for grant in GRANTS:
            self.register_grant(grant)

    def create_oauth2_request(self, request: str | OAuth2Request) -> OAuth2Request:
        """The strict request at the realm of this path. Raises NotFound for an unknown realm."""
        if isinstance(request, OAuth2Request):
            return request
        # The request itself: through the proxy, each of some twenty look-ups costs a microsecond.
        arrived: flask.Request = flask.request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
        flask.g.client_address = client_address(arrived.environ, self._trusted)
        view = self._registry.realm(request)
        if view is None:
            raise NotFound
        flask.g.realm_path = view.realm.path
        made = Request(arrived, view, self._clock(), flask.g.client_address)
        flask.g.oauth_request = made
        return made

    def get_token_grant(self, request: OAuth2Request) -> TokenGrant:
        """The grant that the request names (RFC 6749 section 5.2)."""
        name = request.payload.grant_type
        if not name:
            raise invalid_request("no_grant_type", GRANT_TYPE_NOT_SET)
        if name not in GRANTS_BY_NAME:
            raise because(OAuth2Error(GRANT_TYPE_NOT_SUPPORTED, error="unsupported_grant_type"), "unknown_grant_type")
        grant: TokenGrant = super().get_token_grant(request)
        return grant

    def authenticate_client(self, request: Request, methods: object, endpoint: str = "token") -> Client:
        """The client that proved who it is; the same methods at every endpoint."""
        del methods, endpoint
        found = client_auth.authenticate(request, self._registry.directory(request.view, request.address), request.now)
        request.auth_method = found.method
        request.client = found.client
        self._registry.marks.used(found.secret_id, request.now)
        return found.client

    def save_token(self, token: object, request: Request) -> None:
        """No row per token (design decision 7); one line in the log."""
        del token
        issued = request.issued
        log.event(
            "token_issued",
            realm=request.realm.path,
            client_id=request.client.client_id,
            address=request.address,
            jti=issued.token_id,
            kid=issued.kid,
            expires_at=issued.expires_at,
        )

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nobody listens: the log is written where things happen."""

    def handle_response(self, status: int, body: Any, headers: Any) -> flask.Response:
        """JSON that nobody stores (RFC 6749 section 5.1); the headers are the endpoint's."""
        del headers
        return flask.Response(_dumps(body) + "\n", status, content_type="application/json")

    def handle_error_response(self, request: object, error: OAuth2Error) -> flask.Response:
        """Raised on, to the one translation in issuer/errors.py."""
        del request
        raise error


def _parameters(request: flask.Request) -> Mapping[str, list[str]]:
    if request.query_string:
        # Credentials do not belong in URLs (RFC 9700 section 4.3.2).
        raise invalid_request("query_parameters", QUERY_PARAMETERS)
    check_content_type(request.environ.get("CONTENT_TYPE"))
    # A body that comes in chunks is cut at the limit without a word: one byte more tells.
    request.max_content_length = MAX_BODY + 1
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        body = bytes(MAX_BODY + 1)
    except Exception:  # noqa: BLE001 - each server has its own for a chunk whose size is none (RFC 9112 section 7.1)
        raise invalid_request("body_malformed", BODY_MALFORMED) from None
    if len(body) > MAX_BODY:
        raise because(RequestTooLargeError(TOO_LARGE), "body_too_large")
    return parse_form(body, _REPEATABLE)
