"""Reading a status list as its issuer sends it (Token Status List, sections 5.1 and 8.3). Pure."""

from typing import NamedTuple

from realmint.protocol import jws
from realmint.protocol.claims import ClaimError, numeric_date, string
from realmint.protocol.names import STATUS_LIST_TYP
from realmint.protocol.status_list import StatusListError
from realmint.protocol.status_list import read as read_statuses
from realmint.rules import Rules
from realmint.status_cache import Listed

UNUSABLE = (jws.JWSError, ClaimError, StatusListError)
"""What is raised for a list that is of no use; each has a `reason` from a closed list, and holds no input."""


class SignedList(NamedTuple):
    """A list whose signature nobody checked yet, and the name of the key that it says signed it."""

    token: jws.Unverified
    uri: str
    key_name: str


def read_signed(body: bytes, uri: str, rules: Rules, max_bytes: int) -> SignedList:
    """The list that was sent for `uri`. Raises one of UNUSABLE. Not checked: the signature, and every claim."""
    token = jws.peek(body.decode("ascii", "replace").strip(), max_bytes)
    alg, kid, typ = token.protected[1:]
    if typ != STATUS_LIST_TYP or alg not in rules.algorithms or kid is None:
        raise jws.JWSError("header")
    return SignedList(token, uri, kid)


def listed_by(signed: SignedList, key: jws.VerificationKey, rules: Rules, etag: str | None, wall: int) -> Listed:
    """The list that `key` signed, as of `wall`, in seconds since the epoch. Raises one of UNUSABLE."""
    jws.check_signature(signed.token, key)
    claims = signed.token.claims
    if string(claims, "sub") != signed.uri:  # section 8.3: whose list this is
        raise ClaimError("audience", "sub")
    if "iss" in claims and claims["iss"] != rules.issuer:
        raise ClaimError("issuer", "iss")
    issued_at = numeric_date(claims, "iat")
    if issued_at > wall + rules.leeway:
        raise ClaimError("not_yet_valid", "iat")
    expires_at = numeric_date(claims, "exp") if "exp" in claims else None
    if expires_at is not None and expires_at <= wall:
        raise ClaimError("expired", "exp")
    ttl = numeric_date(claims, "ttl") if "ttl" in claims else None
    sequence = numeric_date(claims, "seq") if "seq" in claims else issued_at
    kids = claims.get("kids")
    keys = frozenset(kids) if isinstance(kids, list) and all(isinstance(kid, str) for kid in kids) else None
    return Listed(read_statuses(claims.get("status_list")), sequence, ttl, expires_at, keys, etag)
