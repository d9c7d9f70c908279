"""What a token is bound to (`cnf`, RFC 7800), and whether a request shows that. Pure; the proof itself is `proofs`'."""

import re
from typing import NamedTuple

from realmint.access_token import Claims
from realmint.bearer import InvalidToken
from realmint.presented import Presented
from realmint.protocol.mtls import thumbprint
from realmint.protocol.names import DPOP

JKT, X5T = "jkt", "x5t#S256"
_MEMBERS = frozenset({JKT, X5T})
_SHA256 = re.compile(r"[A-Za-z0-9_-]{43}")


class Confirmation(NamedTuple):
    """jkt: thumbprint of a key (RFC 9449 section 6.1). x5t: of a certificate (RFC 8705 section 3.1)."""

    jkt: str | None = None
    x5t: str | None = None


def confirmation(claims: Claims) -> Confirmation:
    """What the token that says `claims` is bound to.

    Raises InvalidToken("cnf") for whatever is not understood, as it may bind the token to anything.
    """
    if "cnf" not in claims:
        return Confirmation()
    said = claims["cnf"]
    if not isinstance(said, dict) or not said or not said.keys() <= _MEMBERS:
        raise InvalidToken("cnf")
    if not all(isinstance(value, str) and _SHA256.fullmatch(value) for value in said.values()):
        raise InvalidToken("cnf")
    return Confirmation(said.get(JKT), said.get(X5T))


def check_shown(claims: Claims, presented: Presented, *, dpop: bool, required: bool) -> str | None:
    """The thumbprint of the key that a proof must be of, where one must be; all else that `cnf` asks for is shown.

    dpop: whether the API takes proofs. required: whether it takes nothing else. Raises InvalidToken: `cnf` for a token
    whose binding is not met or not understood, `unbound` for one that is bound to no key and was to be (RFC 9449
    section 7.1). Not checked: the proof.
    """
    bound, keyed = confirmation(claims), presented.scheme == DPOP
    if bound.jkt is None and (keyed or required):
        raise InvalidToken("unbound")
    if bound.jkt is not None and not (keyed and dpop):  # RFC 9449 section 7.2
        raise InvalidToken("cnf")
    if bound.x5t is not None:
        shown = presented.certificate
        if shown is None or thumbprint(shown) != bound.x5t:
            raise InvalidToken("cnf")
    return bound.jkt
