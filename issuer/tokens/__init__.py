"""What was decided about a token request, and how it becomes an access token.

FORMATS lists the formats; a new one is a file with a NAME and serialize(), and a line here.
"""

from typing import Protocol

from issuer.plugins import by_name
from issuer.refusals import TemporarilyUnavailableError, because, invalid_scope
from issuer.tokens.am import AM
from issuer.tokens.authorization import Authorization, Issued, new_token_id
from issuer.tokens.jwt import JWT, RFC9068
from keys.jwks import KeySet
from realmint.protocol.jws import MAX_TOKEN, Signer


class Format(Protocol):
    """How an authorization is written down."""

    NAME: str

    def serialize(self, authorization: Authorization, signer: Signer, now: int, token_id: str) -> str: ...


FORMATS: tuple[Format, ...] = (RFC9068(), JWT(), AM())
FORMATS_BY_NAME = by_name(FORMATS)


def issue(authorization: Authorization, keys: KeySet, now: int, token_id: str) -> Issued:
    """The access token for `authorization`, issued at `now` under the identifier `token_id`.

    Signed by the client's algorithm, else by the first of the realm's that has an active key, else by any that is
    active and published still: a realm that changes its algorithm goes on with the old one until the new key may
    sign. Raises TemporarilyUnavailableError when nothing signs, and invalid_scope when the token would be longer than
    any API accepts.
    """
    wanted = (authorization.client.signing_alg, *authorization.realm.signing_algs, *keys.signers)
    signer = next(filter(None, (keys.signing_key(alg) for alg in wanted if alg)), None)
    if signer is None:
        raise because(TemporarilyUnavailableError(), "no_signing_key")
    name = authorization.client.token_format or authorization.realm.token_format
    token = FORMATS_BY_NAME[name].serialize(authorization, signer, now, token_id)
    if len(token) > MAX_TOKEN:
        raise invalid_scope("token_too_large")
    return Issued(token, authorization, token_id, signer.kid, now + authorization.lifetime)


__all__ = ["FORMATS", "FORMATS_BY_NAME", "Authorization", "Issued", "issue", "new_token_id"]
