"""Tokens that are bound to the certificate of the connection (RFC 8705 section 3)."""

import hashlib
from collections.abc import Mapping

from issuer.confirmations.confirmation import Around, ConfirmationMethod
from issuer.realms import Realm
from issuer.refusals import CERTIFICATE_REQUIRED, invalid_request
from issuer.request import CERTIFICATE_METHODS, ClientRequest
from realmint.protocol import base64url


class CertificateBound(ConfirmationMethod):
    """Of a client that authenticates by its certificate, and of any that is registered so; of others a certificate
    binds nothing: in a mesh each connection has one."""

    MEMBER = "x5t#S256"

    def applies(self, request: ClientRequest) -> bool:
        return request.authenticated.client.bound_certificate or request.authenticated.method in CERTIFICATE_METHODS

    def bind(self, request: ClientRequest, around: Around) -> str:
        """Raises invalid_request without a certificate."""
        del around
        shown = request.request.certificate()
        if shown is None:
            raise invalid_request("certificate_required", CERTIFICATE_REQUIRED)
        return base64url.encode(hashlib.sha256(shown.der).digest()).decode("ascii")

    def metadata(self, realm: Realm) -> Mapping[str, object]:
        del realm
        return {"tls_client_certificate_bound_access_tokens": True}
