"""Tokens that are bound to the key of a DPoP proof (RFC 9449 section 5)."""

from collections.abc import Mapping
from functools import partial

from issuer.confirmations.confirmation import Around, ConfirmationMethod
from issuer.realms import Realm
from issuer.refusals import DPOP_REQUIRED, invalid_dpop_proof, invalid_request, use_dpop_nonce
from issuer.request import ClientRequest, Request
from issuer.waiting import about_to_wait
from realmint.protocol.dpop import Nonces, Proof, ProofError, check_proof, replay_key
from realmint.protocol.names import DPOP, OTHER_NAMES

ALGORITHMS = ("ES256", "ES384", "EdDSA", "PS256")
"""What a proof may be signed with; RS256 is for verifiers of old, and no proof is that old."""
SUFFIX = "/access_token"
_HEADER = "DPoP"


class DPoPBound(ConfirmationMethod):
    """A proof binds; a client that is registered so gets no token without. Each is taken once.

    Its `htu` is the address of the token endpoint under any name that the realm has, of the configured base alone.
    """

    MEMBER = "jkt"
    TOKEN_TYPE = DPOP

    def applies(self, request: ClientRequest) -> bool:
        return request.authenticated.client.dpop or request.request.header(_HEADER) is not None

    def bind(self, request: ClientRequest, around: Around) -> str:
        """Raises invalid_request without a proof, invalid_dpop_proof, and use_dpop_nonce where the realm wants one."""
        asked = request.request
        shown = asked.header(_HEADER)
        if shown is None:
            raise invalid_request("dpop_required", DPOP_REQUIRED)
        about_to_wait()  # for the mark of its use: nothing is to be computed twice
        nonces = around.nonces() if asked.realm.dpop_nonce else None
        try:
            proof = _checked(asked, shown, None if nonces is None else partial(_accepts, nonces, asked.now))
        except ProofError as error:
            if error.reason == "nonce" and nonces is not None:
                raise use_dpop_nonce(nonces.issue(asked.now)) from None
            raise invalid_dpop_proof(f"dpop_{error.reason}") from None
        if not around.use_first(_HEADER, asked.realm.id, replay_key(proof).hex(), proof.until):
            raise invalid_dpop_proof("dpop_replayed")
        return proof.jkt

    def metadata(self, realm: Realm) -> Mapping[str, object]:
        del realm
        return {"dpop_signing_alg_values_supported": [*ALGORITHMS, *OTHER_NAMES]}


def _checked(asked: Request, shown: str, accepts_nonce: "partial[bool] | None") -> Proof:
    """Raises ProofError."""
    wrong: ProofError | None = None
    for url in asked.addresses.every(SUFFIX):
        try:
            return check_proof(shown, asked.method, url, asked.now, algorithms=ALGORITHMS, accepts_nonce=accepts_nonce)
        except ProofError as error:
            if error.reason != "htu":
                raise
            wrong = error
    assert wrong is not None
    raise wrong


def _accepts(nonces: Nonces, now: int, text: str) -> bool:
    return nonces.accepts(text, now)
