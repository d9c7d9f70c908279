"""Token revocation (RFC 7009): a client ends one of its own tokens; what is no live one of ours has ended already."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from authlib.oauth2.rfc7009 import RevocationEndpoint

from issuer import client_auth, log, slots
from issuer.answer import Answer
from issuer.clients import Client
from issuer.endpoints.endpoint import Endpoint, Services, presented_token
from issuer.oauth_server import AuthlibRequest
from issuer.realms import Addresses, Realm
from issuer.refusals import OTHER_CLIENTS_TOKEN, ClaimedBy, invalid_request, too_many_attempts
from issuer.request import Arrival, ClientRequest, Request
from issuer.revocation_limit import WAIT
from issuer.storage import revoked as revoked_store
from issuer.tokens import read
from issuer.tokens.read import NotActive, VerifiedToken

_SUFFIX = "/token/revoke"


class Revocation(RevocationEndpoint):
    """Authlib's endpoint with our verification and our store.

    Authlib's own refuses unknown hints and reads tokens from a table (facts L9).
    """

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._database = services.database
        self._opaque = services.registry.opaque
        self._limit = services.revocations
        self._leeway = services.policy.clock_error
        self._grace = slots.after_expiry(services.policy)

    def authenticate_token(self, request: AuthlibRequest, client: ClientRequest) -> VerifiedToken | None:
        """The token that is to end, or None for what is none of ours, or has ended by itself (RFC 7009 section 2.2).

        Raises invalid_request for another client's (section 2.1), and 429 for one too many.
        """
        del request  # the client's says it all
        asked, caller, text = client.request, client.client, presented_token(client)
        try:
            find = partial(self._opaque.find, asked.realm.id)
            token = read.verify(
                text, asked.keys.published, asked.addresses.issuer, asked.now, self._leeway, find, grace=self._grace
            )
        except NotActive as answer:
            _log(asked, caller, effect=False, reason=answer.reason)
            return None
        with ClaimedBy(caller.client_id):
            if token.client_id != caller.client_id:
                raise invalid_request("other_clients_token", OTHER_CLIENTS_TOKEN)
            if not self._limit.admits(asked.realm.id, caller.client_id, asked.now):
                raise too_many_attempts("revocations_over_limit", WAIT)
        return token

    def revoke_token(self, token: VerifiedToken, request: AuthlibRequest) -> None:
        """Dead from the commit on, at introspection by any process; again is no fault. Raises one of STORE_ERRORS."""
        asked, caller = request.ours, request.client.client
        with self._database.change() as connection:
            now = self._database.now(connection)
            drawn_from = revoked_store.revoke_in(
                connection, asked.realm.id, token.token_id, now, math.ceil(token.claims["exp"])
            )
        _log(asked, caller, effect=drawn_from is not None, jti=token.token_id)


def _log(asked: Request, caller: Client, **fields: Any) -> None:
    """No row of the audit: that is of what administrators do."""
    log.event("revocation", realm=asked.realm.path, client_id=caller.client_id, address=asked.address, **fields)


def _view(arrival: Arrival, services: Services) -> Answer:
    return services.server.at_endpoint(Revocation.ENDPOINT_NAME, arrival)


def _metadata(addresses: Addresses, _realm: Realm) -> Mapping[str, object]:
    return {"revocation_endpoint": addresses.endpoint(_SUFFIX), **client_auth.metadata("revocation")}


ENDPOINT = Endpoint("revocation", _SUFFIX, ("POST",), _view, _metadata, private=True, framed=Revocation, waits=True)
