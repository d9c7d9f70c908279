"""What a client proves itself with when it shares no secret: a Credential, and the kinds of proof that one is.

PROOFS lists the kinds; a new one is a file and a line here. credential: what all have in common. public_key: keys that
a client signs with. trust_rule: tokens of an outside issuer that stand for a client. certificate: what it connects
with. Values, without I/O: may import
realmint.protocol.
"""

from issuer.credentials.certificate import NamedSubject, OwnCertificate
from issuer.credentials.credential import Credential, Proof, generate_id
from issuer.credentials.public_key import PublicKey, PublicKeySet
from issuer.credentials.trust_rule import TrustRule
from issuer.plugins import by_name

PROOFS: tuple[type[Proof], ...] = (PublicKey, PublicKeySet, TrustRule, OwnCertificate, NamedSubject)
PROOFS_BY_KIND = by_name(PROOFS, "KIND")

__all__ = [
    "PROOFS", "PROOFS_BY_KIND", "Credential", "NamedSubject", "OwnCertificate", "Proof", "PublicKey", "PublicKeySet",
    "TrustRule", "generate_id",
]  # fmt: skip
