"""What a token is bound to, so that it is of no use to who stole it (RFC 7800, `cnf`).

CONFIRMATIONS lists the ways; a new one is a file and a line here. confirmation: what one is. dpop: the key of a proof
(RFC 9449). certificate: that of the connection (RFC 8705). May import the issuer's values, tokens and
realmint.protocol; what may be used once, and nonces, are handed in.
"""

import re
from collections.abc import Mapping
from typing import Any

from issuer.confirmations.certificate import CertificateBound
from issuer.confirmations.confirmation import Around, ConfirmationMethod
from issuer.confirmations.dpop import DPoPBound
from issuer.plugins import by_name
from issuer.realms import Realm
from issuer.request import ClientRequest
from issuer.tokens import UNBOUND, Confirmation

CONFIRMATIONS: tuple[ConfirmationMethod, ...] = (DPoPBound(), CertificateBound())
BY_MEMBER = by_name(CONFIRMATIONS, "MEMBER")

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")

__all__ = ["CONFIRMATIONS", "Around", "confirm", "metadata", "of_claims"]


def confirm(request: ClientRequest, around: Around) -> Confirmation:
    """What the token will be bound to: everything that was proven.

    Raises invalid_request where the client has to prove something and did not, and what each way refuses.
    """
    bound: dict[str, str] | None = None
    for method in CONFIRMATIONS:
        if method.applies(request):
            bound = {**(bound or {}), method.MEMBER: method.bind(request, around)}
    return UNBOUND if bound is None else _confirmation(bound)


def of_claims(claims: Mapping[str, Any]) -> Confirmation | None:
    """What a token of ours says that it is bound to; None where that is nothing that any way here makes."""
    cnf = claims.get("cnf", {})
    if "cnf" in claims and (not isinstance(cnf, dict) or not cnf or not cnf.keys() <= BY_MEMBER.keys()):
        return None
    if not all(isinstance(value, str) and _THUMBPRINT.fullmatch(value) for value in cnf.values()):
        return None
    return _confirmation(cnf) if cnf else UNBOUND


def metadata(realm: Realm) -> Mapping[str, object]:
    """What the metadata document says of them."""
    return {name: value for method in CONFIRMATIONS for name, value in method.metadata(realm).items()}


def _confirmation(bound: Mapping[str, str]) -> Confirmation:
    types = [method.TOKEN_TYPE for method in CONFIRMATIONS if method.MEMBER in bound and method.TOKEN_TYPE is not None]
    return Confirmation(bound, types[0] if types else UNBOUND.token_type)
