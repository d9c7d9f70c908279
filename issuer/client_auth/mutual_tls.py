"""tls_client_auth and self_signed_tls_client_auth: the connection's certificate is the credential (RFC 8705 section 2).

Which of the two a certificate is for it says itself: one whose issuer is its subject no authority gave to anybody.
"""

from abc import abstractmethod
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from issuer.certificate import Presented
from issuer.client_auth import proving
from issuer.client_auth.method import Directory, Method
from issuer.client_auth.proving import NotProven
from issuer.clients import Client
from issuer.credentials import Credential, NamedSubject, OwnCertificate, PublicKey, PublicKeySet
from issuer.outside.key_sources import KeysAt
from issuer.refusals import MISSING_CLIENT_ID, invalid_request
from issuer.request import SELF_SIGNED, TLS_CLIENT_AUTH, AuthenticatedClient, Request

if TYPE_CHECKING:
    from realmint.protocol.mtls import Certificate


class _ByCertificate(Method):
    """What both have in common: the client is the one that `client_id` names (section 2)."""

    IMPLICIT = True
    own: bool

    def presented(self, request: Request) -> bool:
        shown = request.certificate()
        if shown is None:
            return False
        certificate = _read(shown.der)
        return (certificate is not None and certificate.self_issued) == self.own

    def authenticate(self, request: Request, directory: Directory, now: int) -> AuthenticatedClient:
        """Raises invalid_request without a client_id (#86)."""
        client_id = request.one("client_id")
        if client_id is None:
            raise invalid_request("no_client_id", MISSING_CLIENT_ID)
        shown = request.certificate()
        assert shown is not None
        client = directory.find_client(client_id)
        try:
            certificate = _valid(shown, now)
            credential = self._proven(certificate, shown, client, directory, now)
        except NotProven as failed:
            proving.refuse(directory, client_id, failed.reason, now)
        assert client is not None
        return AuthenticatedClient(client, self.NAME, credential.credential_id)

    @abstractmethod
    def _proven(
        self, certificate: "Certificate", shown: Presented, client: Client | None, directory: Directory, now: int
    ) -> Credential:
        """The credential that the certificate is. Raises NotProven."""


class TLSClientAuth(_ByCertificate):
    """A certificate of an authority, in which one registered field names the client.

    Registered with its authorities, it has to be issued by one of them, in whose validity it is now. Without, whoever
    ended TLS has seen to that; a proxy has to be set up so. Not checked: whether the authority took it back.
    """

    NAME = TLS_CLIENT_AUTH
    PROOFS = (NamedSubject,)
    own = False

    def _proven(
        self, certificate: "Certificate", shown: Presented, client: Client | None, directory: Directory, now: int
    ) -> Credential:
        from realmint.protocol.mtls import is_issued_by, matches_subject

        del directory
        if not certificate.client_auth:
            raise NotProven("certificate_usage")
        named = [
            (one, proof)
            for one, proof in (client.proofs(NamedSubject, now) if client is not None else ())
            if matches_subject(certificate, f"tls_client_auth_{proof.kind}", proof.value)
        ]
        for one, proof in named:
            if not proof.authorities or is_issued_by(shown.der, proof.authorities, now):
                return one
        raise NotProven("certificate_issuer" if named else "certificate_subject")


class SelfSigned(_ByCertificate):
    """A certificate that nobody vouches for: registered itself, or its key among the client's keys."""

    NAME = SELF_SIGNED
    PROOFS = (OwnCertificate, PublicKey, PublicKeySet)
    own = True

    def _proven(
        self, certificate: "Certificate", shown: Presented, client: Client | None, directory: Directory, now: int
    ) -> Credential:
        if client is not None:
            for one, own in client.proofs(OwnCertificate, now):
                if own.der == shown.der:
                    return one
            for credential, thumbprints in _keys(client, certificate, directory, now):
                if certificate.public_key_thumbprint in thumbprints:
                    return credential
        raise NotProven("certificate_unknown")


def _keys(
    client: Client, certificate: "Certificate", directory: Directory, now: int
) -> Iterable[tuple[Credential, set[str]]]:
    """The client's keys, by credential (section 2.2.2). Raises temporarily_unavailable when nobody can tell."""
    wanted, alg = certificate.public_key_thumbprint, certificate.algorithm
    if wanted is None or alg is None:
        return
    for one, registered in client.proofs(PublicKey, now):
        yield one, {registered.key.thumbprint}
    for one, keyset in client.proofs(PublicKeySet, now):
        found = proving.find_keys_alike(directory, KeysAt(None, keyset.jwks_uri), wanted, alg)
        yield one, {key.thumbprint for key in found}


@lru_cache(maxsize=1024)
def _read(der: bytes) -> "Certificate | None":
    """A client shows the same one again and again."""
    from realmint.protocol.certificate_headers import CertificateError
    from realmint.protocol.mtls import certificate

    try:
        return certificate(der)
    except CertificateError:
        return None


def _valid(shown: Presented, now: int) -> "Certificate":
    """Raises NotProven."""
    found = _read(shown.der)
    if found is None:
        raise NotProven("certificate_malformed")
    if not found.not_before <= now <= found.not_after:
        raise NotProven("certificate_expired" if now > found.not_after else "certificate_not_yet_valid")
    return found
