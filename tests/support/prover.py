"""DPoP proofs, right ones and such as are wrong in one place; made by hand, and by libraries of others."""

import json
import warnings
from functools import cache
from typing import Any

import jwt as pyjwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from tests.support.clock import START
from tests.support.forge import b64, encode, merged

METHOD, URL = "POST", "https://issuer.example/oauth2/access_token"
# By what they sign with, and how long an RSA key is.
KINDS = ("ES256", "ES384", "EdDSA", "PS256", "RS256", "PS256-4096", "RS256-4096")


class Prover:
    """The holder of one key."""

    def __init__(self, kind: str = "ES256") -> None:
        self.alg, _, bits = kind.partition("-")
        self.private = made(self.alg, int(bits or 2048))
        holder = {"ES": ECKey, "Ed": OKPKey}.get(self.alg[:2], RSAKey)
        pem = self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.key: Any = holder.import_key(pem)
        self.jwk: dict[str, Any] = self.key.as_dict(private=False)
        self.jkt = str(self.key.thumbprint())

    @property
    def header(self) -> dict[str, Any]:
        return {"typ": "dpop+jwt", "alg": self.alg, "jwk": self.jwk}

    @property
    def claims(self) -> dict[str, Any]:
        return {"jti": "-BwC3ESc6acc2lTc", "htm": METHOD, "htu": URL, "iat": START}

    def proof(self, header: Any = None, claims: Any = None, **changes: Any) -> str:
        """A right signature over these; `changes` alter claims, None takes one away."""
        body = claims if claims is not None else merged(self.claims, changes)
        signed = f"{encode(self.header if header is None else header)}.{encode(body)}"
        return f"{signed}.{b64(self.sign(signed.encode()))}"

    def with_header(self, **changes: Any) -> str:
        return self.proof(header=merged(self.header, changes))

    def sign(self, signed: bytes) -> bytes:
        algorithm = pyjwt.get_algorithm_by_name(self.alg)
        return bytes(algorithm.sign(signed, self.private))

    def by_pyjwt(self, **changes: Any) -> str:
        claims = merged(self.claims, changes)
        return pyjwt.encode(claims, self.private, self.alg, headers={"typ": "dpop+jwt", "jwk": self.jwk})

    def by_joserfc(self, **changes: Any) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the name EdDSA
            return joserfc_jwt.encode(self.header, merged(self.claims, changes), self.key, algorithms=[self.alg])

    def with_text(self, claims: str) -> str:
        """Claims that are not what json.dumps writes."""
        return self.proof(claims=claims.encode())

    def text(self, **changes: Any) -> str:
        return json.dumps(merged(self.claims, changes))


@cache
def made(alg: str, bits: int) -> Any:
    if alg == "EdDSA":
        return Ed25519PrivateKey.generate()
    if alg.startswith("ES"):
        return ec.generate_private_key(ec.SECP256R1() if alg == "ES256" else ec.SECP384R1())
    return rsa.generate_private_key(65537, bits)
