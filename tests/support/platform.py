"""A platform that gives workloads tokens of its own, and publishes its keys on loopback (OpenID Connect Discovery)."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from keys.key import generate, signer
from realmint.messages import Request, Response
from realmint.testing.served import served
from tests.support.forge import b64, encode


class Platform:
    """One. Its `issuer` is where it listens, unless another name is given to token()."""

    def __init__(self, port: int, alg: str = "RS256") -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.material = generate(alg)
        self._signer = signer(self.material.kid, alg, self.material.pkcs8)

    @property
    def jwks(self) -> dict[str, Any]:
        return {"keys": [dict(self.material.public_jwk)]}

    def token(self, **claims: Any) -> str:
        """As platforms write them: without `typ`, for five minutes from now."""
        now = int(time.time())
        said = {"iss": self.issuer, "iat": now, "nbf": now, "exp": now + 300, **claims}
        said = {name: value for name, value in said.items() if value is not None}
        signing_input = f"{encode({'alg': self.material.alg, 'kid': self.material.kid})}.{encode(said)}"
        return f"{signing_input}.{b64(self._signer.sign(signing_input.encode()))}"

    def answer(self, target: str, authorization: str | None) -> Any:
        """What a GET gets, as JSON; None where there is nothing."""
        parts = urlsplit(target)
        if parts.path == "/.well-known/openid-configuration":
            return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks.json"}
        if parts.path == "/jwks.json":
            return self.jwks
        if parts.path == "/identity" and authorization == "Bearer of-the-job":
            (audience,) = parse_qs(parts.query)["audience"]
            sub = "repo:acme/shop:ref:refs/heads/main"
            return {"value": self.token(aud=audience, sub=sub, repository_owner_id="65")}
        return None


@contextmanager
def listening(alg: str = "RS256") -> Iterator[Platform]:
    """Until the block ends. `/identity?audience=` hands out the token of a job, as GitHub does."""

    def answer(request: Request) -> Response:
        said = platform.answer(request.url, (request.headers or {}).get("authorization"))
        return Response(404 if said is None else 200, {"content-type": "application/json"}, json.dumps(said).encode())

    with served(answer) as port:
        platform = Platform(port, alg)
        yield platform
