"""The door on which tokens go out: an authorization becomes an access token."""

import json
import os
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from issuer import opaque, slots
from issuer.encoding import signed
from issuer.opaque import OpaqueToken
from issuer.refusals import TemporarilyUnavailableError, because, invalid_scope
from issuer.tokens.authorization import Authorization
from issuer.tokens.claims import MintedClaims
from issuer.tokens.formats import FORMATS_BY_NAME
from keys.jwks import Snapshot
from realmint.protocol import jws
from realmint.protocol.jws import MAX_TOKEN, Signer


@dataclass(slots=True)
class Issued:
    """An access token, and what the log may say of it.

    kid: of the key that signed it; None for one that is stored instead. stored: that row, which must be in the store
    before the token is answered.
    """

    token: str = field(repr=False)
    authorization: Authorization
    token_id: str
    expires_at: int
    kid: str | None = None
    stored: OpaqueToken | None = None


def mint(authorization: Authorization, keys: Snapshot, now: int, set_already: Container[int]) -> Issued:
    """The access token for `authorization`, issued at `now`, with an index of the credential that asked for it.

    set_already: the indexes of the realm that are known to be set, which no new token gets. Nothing is written here.
    What it says is decided here, once; its format only shapes that, and here is where it is signed. Raises
    TemporarilyUnavailableError when nothing signs or no index is left, invalid_scope when the token would be longer
    than any API accepts, and what the format refuses.
    """
    drawn_from = authorization.client.ranges[authorization.credential_id]
    if not slots.is_drawable(drawn_from):
        raise because(TemporarilyUnavailableError(), "out_of_indexes")
    random = os.urandom(slots.RANDOM_BYTES)
    index = slots.draw(drawn_from, set_already, random)
    minted = MintedClaims(
        issuer=authorization.addresses.issuer,
        realm=authorization.realm,
        client_id=authorization.client.client_id,
        grant_type=authorization.grant_type,
        scope=authorization.scope,
        audience=authorization.audience,
        issued_at=now,
        expires_at=now + authorization.lifetime,
        token_id=slots.token_id(index, random),
        slot=index,
        token_type=authorization.confirmation.token_type,
    )
    written = FORMATS_BY_NAME.get(authorization.client.token_format or authorization.realm.token_format)
    if written is None:  # a later version's, or somebody spoilt the row
        raise because(TemporarilyUnavailableError(), "unknown_token_format")
    claims = written.shape(minted)
    if authorization.confirmation.bound:
        claims["cnf"] = dict(authorization.confirmation.bound)  # the same in every format (RFC 7800 section 3.1)
    if written.TYP is None:
        return _unsigned(authorization, minted, claims)
    signer = _signer(authorization, keys)
    token = jws.sign_payload(signed(claims), signer, written.TYP)
    if len(token) > MAX_TOKEN:
        raise invalid_scope("token_too_large")
    return Issued(token, authorization, minted.token_id, minted.expires_at, signer.kid)


def _unsigned(authorization: Authorization, minted: MintedClaims, claims: dict[str, Any]) -> Issued:
    text = opaque.generate()
    row = OpaqueToken(
        digest=opaque.digest(text),
        realm_id=minted.realm.id,
        jti=minted.token_id,
        index=minted.slot,
        range_begin=authorization.client.ranges[authorization.credential_id].begin,
        client_pk=authorization.client.id,
        expires_at=minted.expires_at,
        claims=json.dumps(claims, separators=(",", ":")),
    )
    return Issued(text, authorization, minted.token_id, minted.expires_at, stored=row)


def _signer(authorization: Authorization, keys: Snapshot) -> Signer:
    """By the client's algorithm, else by the first of the realm's that has an active key, else by any that is active
    and published still: a realm that changes its algorithm goes on with the old one until the new key may sign."""
    for alg in (authorization.client.signing_alg, *authorization.realm.signing_algs, *keys.signers):
        signer = keys.signing_key(alg) if alg else None
        if signer is not None:
            return signer
    raise because(TemporarilyUnavailableError(), "no_signing_key")
