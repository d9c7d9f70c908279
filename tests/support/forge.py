"""Hostile tokens: built piece by piece, so that each can be wrong in one place."""

import base64
import hashlib
import hmac
import json
from typing import Any

from keys.key import LocalSigner, Material, generate, signer

START = 1_795_400_000


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def encode(value: Any) -> str:
    """A segment: bytes as they are, anything else as JSON."""
    return b64(value if isinstance(value, bytes) else json.dumps(value).encode())


class Forge:
    """Signs whatever it is given with one real key."""

    def __init__(self, alg: str = "ES256", issuer: str = "https://issuer.example/oauth2/realms/root") -> None:
        self.material: Material = generate(alg)
        self.signer: LocalSigner = signer(self.material.kid, alg, self.material.pkcs8)
        self.issuer = issuer

    @property
    def header(self) -> dict[str, Any]:
        return {"alg": self.material.alg, "kid": self.material.kid, "typ": "at+jwt"}

    @property
    def claims(self) -> dict[str, Any]:
        return {
            "iss": self.issuer, "sub": "svc", "aud": "https://orders.example", "client_id": "svc", "iat": START,
            "nbf": START, "exp": START + 600, "jti": "0123456789abcdefghijklmnopq", "scope": "orders:read", "realm": "/",
        }  # fmt: skip

    def token(self, header: Any = None, claims: Any = None, **changes: Any) -> str:
        """A token with a right signature over these; `changes` alter claims, None takes one away."""
        body = claims if claims is not None else merged(self.claims, changes)
        signing_input = f"{encode(self.header if header is None else header)}.{encode(body)}"
        return f"{signing_input}.{b64(self.signer.sign(signing_input.encode()))}"

    def with_header(self, **changes: Any) -> str:
        return self.token(header=merged(self.header, changes))

    def hmac(self, secret: bytes, alg: str = "HS256") -> str:
        """Signed with a secret that an attacker knows, such as our public key."""
        signing_input = f"{encode({**self.header, 'alg': alg})}.{encode(self.claims)}"
        return f"{signing_input}.{b64(hmac.new(secret, signing_input.encode(), hashlib.sha256).digest())}"

    def with_signature(self, signature: bytes) -> str:
        return f"{self.token().rpartition('.')[0]}.{b64(signature)}"


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**values, **changes}.items() if value is not None}
