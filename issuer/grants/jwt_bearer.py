"""The jwt-bearer grant (RFC 7523 section 2.1): the assertion of a workload is grant and credential in one."""

from issuer.grants.base import TokenGrant, Wanted
from issuer.grants.client_credentials import authorization
from issuer.refusals import GRANT_ASSERTION_MISSING, invalid_request
from issuer.request import ClientRequest
from issuer.tokens import Authorization
from realmint.protocol.names import JWT_BEARER_GRANT


class JWTBearer(TokenGrant):
    """For platforms that send their identity token so. It authenticates the client (issuer/client_auth), who then gets
    what client_credentials gives it: there is nobody that it could act for."""

    GRANT_TYPE = JWT_BEARER_GRANT

    def authorize(self, request: ClientRequest, wanted: Wanted) -> Authorization:
        """What is wanted. Raises invalid_request without the parameter `assertion`."""
        if request.request.one("assertion") is None:
            raise invalid_request("grant_assertion_missing", GRANT_ASSERTION_MISSING)
        return authorization(self.GRANT_TYPE, request, wanted)
