"""One decision of the library, from its cache and without one, beside PyJWT, Authlib, joserfc and the bare signature.

The tokens and the keys are a real issuer's, in processes of its own.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jwt as pyjwt
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from bench.torment import AUDIENCE, Issuer
from bench.turns import Subject
from realmint import HTTPTransport, ResourceServer
from realmint.messages import Request
from realmint.protocol import jws
from tests.support.process import Deployment

PART = "decisions"
CACHED, UNCACHED, SIGNATURE = "realmint, cached", "realmint, no cache", "the signature alone"


@contextmanager
def subjects() -> Iterator[list[Subject]]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        deployment = Deployment(Path(folder))
        issuer = Issuer(deployment)
        realms = {"ES256": "/", "RS256": "/rs256"}
        for alg, realm in realms.items():
            issuer.prepare(realm, alg)
        stack.enter_context(deployment.gunicorn("--workers 1"))
        yield [
            Subject(PART, name, alg, call, (SIGNATURE, alg))
            for alg, realm in realms.items()
            for name, call in calls(issuer.name(realm), issuer.token(realm), alg, stack).items()
        ]


def calls(name: str, token: str, alg: str, stack: ExitStack) -> dict[str, Callable[[], Any]]:
    """The same decision by each: signature, issuer, audience, expiry and, where it knows of them, scope."""
    cached, uncached = ResourceServer(name, AUDIENCE), ResourceServer(name, AUDIENCE, token_cache=None)
    stack.callback(cached.close)
    stack.callback(uncached.close)
    jwks_uri = f"{name}/connect/jwk_uri"
    document = json.loads(HTTPTransport()(Request("GET", jwks_uri)).body)
    unverified = jws.peek(token)
    key = next(jws.verification_key(each) for each in document["keys"] if each["kid"] == unverified.kid)
    client, keys = pyjwt.PyJWKClient(jwks_uri), KeySet.import_key_set(document)

    class Validator(JWTBearerTokenValidator):
        def get_jwks(self) -> Any:
            return keys

    validator = Validator(issuer=name, resource_server=AUDIENCE)

    def with_pyjwt() -> Any:
        found = client.get_signing_key_from_jwt(token)
        return pyjwt.decode(token, found, algorithms=[alg], audience=AUDIENCE, issuer=name, leeway=30)

    def with_authlib() -> Any:
        found = validator.authenticate_token(token)
        validator.validate_token(found, ["orders:read"], None)
        return found

    def with_joserfc() -> Any:
        found = joserfc_jwt.decode(token, keys, algorithms=[alg])
        registry = joserfc_jwt.JWTClaimsRegistry(iss={"value": name}, aud={"value": AUDIENCE}, exp={"essential": True})
        registry.validate(found.claims)
        return found

    return {
        CACHED: lambda: cached.validate(token, "orders:read"),
        UNCACHED: lambda: uncached.validate(token, "orders:read"),
        SIGNATURE: lambda: key.checks[alg](unverified.signature, unverified.signing_input),
        "joserfc": with_joserfc,
        "PyJWT + PyJWKClient": with_pyjwt,
        "Authlib": with_authlib,
    }
